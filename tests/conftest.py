"""A corpus so small that a run takes a moment, a model trained on it, and the command line in two ways."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Pairs = list[tuple[str, str]]

TINY = """\
[data]
tokenizer = "word"

[model]
architecture = "recurrent"
embedding = 16
width = 16

[training]
steps = 30
warmup = 5
batch_tokens = 256
learning_rate = 0.01
validate_every = 10
average = 2
"""

WELL_TAUGHT = {
    "model": {"dropout": 0.0, "embedding_dropout": 0.0},
    "training": {"steps": 150, "validate_every": 50, "batch_tokens": 512, "label_smoothing": 0.0},
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    """200 different strings of two to four digits, and the same backwards."""
    generator = random.Random(0)
    sources: dict[str, None] = {}
    while len(sources) < 200:
        sources[" ".join(generator.choices("0123456789", k=generator.randint(2, 4)))] = None
    return [(source, source[::-1]) for source in sources]


@pytest.fixture(scope="session")
def write_tsv() -> Callable[[Path, Iterable[tuple[str, str]]], Path]:
    """Write pairs to a TSV file."""

    def write(path: Path, pairs: Iterable[tuple[str, str]]) -> Path:
        path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def corpus(pairs: Pairs, write_tsv: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pairs as a TSV file."""
    return write_tsv(tmp_path_factory.mktemp("corpus") / "digits.tsv", pairs)


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose run takes a moment, as a file."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def recipe(config: Path) -> Any:
    """The same as an object."""
    from regard.training.recipe import Recipe

    return Recipe.load(config)


@pytest.fixture(scope="session")
def trained(corpus: Path, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose model has learned something, in a folder whose name wants to be quoted."""
    import regard

    folder = tmp_path_factory.mktemp("runs") / "zwei Läufe"
    regard.fit(corpus, recipe=recipe.changed(WELL_TAUGHT), out=folder)
    return folder


@pytest.fixture(scope="session")
def cli() -> Callable[..., Ended]:
    """Run the command line in this process: ``cli("predict", run, stdin="a text")``."""
    from typer.testing import CliRunner

    from regard.cli.main import app

    def invoke(*arguments: Any, stdin: str | bytes = b"") -> Ended:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of a process of its own: warnings are errors there too, and one thread is enough."""
    return os.environ | {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def command(environment: dict[str, str]) -> Callable[..., Ended]:
    """Run the command line in a process of its own."""

    def run(*arguments: Any, stdin: str = "", cwd: Path | None = None) -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "regard", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            cwd=cwd,
            timeout=120,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run

"""A corpus too large for memory trains as one that is in memory, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

import regard
from regard.data.shards import Shards
from regard.errors import CorpusError, Interrupted, RecipeError, RunError
from regard.training.fit import resume
from regard.training.large import large_files
from regard.training.loop import Training
from regard.training.material import ShardedPairs
from regard.training.origin import PairFiles
from regard.training.recipe import Recipe

SETTINGS = {
    "data": {"vocabulary": 70, "in_memory": 100, "bpe_dropout": 0.2, "validation": 12},
    "model": {"width": 8, "heads": 2, "feed_forward": 16, "encoder_layers": 1, "decoder_layers": 1},
    "training": {
        "steps": 24,
        "batch_tokens": 128,
        "validate_every": 12,
        "precision": "float32",
        "warmup": 4,
        "learning_rate": 0.01,
    },
}
WORDS = ["one", "two", "three", "four", "five", "six"]


@pytest.fixture
def recipe() -> Recipe:
    return Recipe().changed(SETTINGS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.tsv"
    lines = [
        f"{number} {' '.join(WORDS[number % 6 :])}\t{' '.join(WORDS[: 1 + number % 5])}"
        for number in range(300)
    ]
    path.write_text("\n".join([*lines[:40], "\tno source", *lines[40:]]) + "\n")
    return path


def test_more_pairs_than_are_to_be_in_memory_are_cut_on_disk_once(
    file, recipe, tmp_path, listener, lines_of, monkeypatch
):
    told = listener()
    regard.fit(file, recipe=recipe, out=tmp_path / "run", reporter=told)
    assert any("288 training pairs, 12 for validation; 1 with an empty side skipped" in n for n in told.notes)
    assert any("reading them one by one" in note for note in told.notes)
    assert [step for step, _, _ in told.validations] == [12, 24]
    shards = Shards.open(tmp_path / "run.shards")
    assert len(shards) == 288
    monkeypatch.setattr(Shards, "write", None)  # cut already: the next run finds what it needs
    (tmp_path / "run").rename(tmp_path / "first-run")
    regard.fit(file, recipe=recipe, out=tmp_path / "run")
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "first-run")


def test_a_large_run_that_stopped_goes_on_as_if_it_had_not(
    file, recipe, tmp_path, listener, lines_of, monkeypatch
):
    regard.fit(file, recipe=recipe, out=tmp_path / "unbroken")
    stop = listener({7: lambda: (_ for _ in ()).throw(Interrupted("here"))})
    monkeypatch.setattr(Training, "_checkpoint_due", lambda self: self.progress.step == 5)
    with pytest.raises(Interrupted):
        regard.fit(file, recipe=recipe, out=tmp_path / "broken", reporter=stop)
    monkeypatch.setattr("regard.training.large.survey", None)  # what was found out is known
    told = listener()
    resume(tmp_path / "broken", reporter=told)
    assert told.steps[0] == 6
    assert lines_of(tmp_path / "broken") == lines_of(tmp_path / "unbroken")


def test_files_that_changed_are_not_gone_on_with(file, recipe, tmp_path, listener, monkeypatch):
    monkeypatch.setattr(Training, "_checkpoint_due", lambda self: self.progress.step == 5)
    stop = listener({7: lambda: (_ for _ in ()).throw(Interrupted("here"))})
    with pytest.raises(Interrupted):
        regard.fit(file, recipe=recipe, out=tmp_path / "run", reporter=stop)
    file.write_text(file.read_text() + "one more\tpair\n")
    with pytest.raises(RunError, match="the training pairs are not those"):
        resume(tmp_path / "run")


def test_few_pairs_and_pairs_without_files_stay_in_memory(file, recipe):
    assert large_files([("a", "b")] * 200, recipe) is None
    assert large_files(file, recipe.changed({"data": {"in_memory": 301}})) is None
    assert large_files(file, recipe.changed({"data": {"in_memory": 300}})) == PairFiles(file)
    assert large_files("there is no such file.tsv", recipe) is None


def test_a_validation_file_takes_nothing_from_training(file, recipe, tmp_path, monkeypatch):
    valid = tmp_path / "valid.tsv"
    valid.write_text("7 one two\tone two\n8 two three\ttwo\n")
    seen = []
    write = ShardedPairs.batches
    monkeypatch.setattr(ShardedPairs, "batches", lambda self, *a: seen.append(len(self)) or write(self, *a))
    regard.fit(file, valid=valid, recipe=recipe.changed({"training": {"steps": 2}}), out=tmp_path / "run")
    assert set(seen) == {300}


def test_what_needs_all_pairs_in_memory_is_refused(file, recipe):
    guided = recipe.changed({"training": {"guided_alignment": 0.5}})
    with pytest.raises(RecipeError, match=r"guided_alignment is 0\.5.* data\.in_memory, 100"):
        large_files(file, guided)


def test_a_fault_deep_in_a_large_file_names_its_line(file, recipe, tmp_path):
    file.write_text(file.read_text() + "no tab here\n")
    with pytest.raises(CorpusError, match=r"corpus\.tsv:302"):
        regard.fit(file, recipe=recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""A run that begins with the weights of another goes on where that one ended."""

from __future__ import annotations

import json
import shutil

import pytest

import regard
from regard.errors import RecipeError, RunError
from regard.training.run import RunFolder

SHORT = {"training": {"steps": 2, "validate_every": 2}}


@pytest.fixture
def first(recipe, corpus, tmp_path):
    """A run that has ended."""
    regard.fit(corpus, recipe=recipe.changed(SHORT), out=tmp_path / "first")
    return tmp_path / "first"


def validations(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if any(name.startswith("validation") for name in line)]


def test_with_a_rate_of_nearly_nothing_the_weights_are_those_of_the_first_run(first, corpus, tmp_path):
    from safetensors.numpy import load_file

    settings = ["training.learning_rate=1e-12", "training.weight_decay=0.0", "training.steps=2"]
    regard.fit(corpus, start=first, settings=[*settings, "training.seed=9"], out=tmp_path / "second")
    before, after = (load_file(run / "model.safetensors") for run in (first, tmp_path / "second"))
    for name, weight in before.items():
        assert abs(weight - after[name]).max() < 1e-6, name


def test_sizes_and_vocabulary_are_those_of_the_first_run_where_nobody_says(first, pairs, tmp_path):
    others = [(f"{source} again", f"{target} noch") for source, target in pairs]
    regard.fit(others, start=first, settings=["training.steps=2"], out=tmp_path / "second")
    one, other = (RunFolder.open(run) for run in (first, tmp_path / "second"))
    assert one.recipe.model == other.recipe.model
    assert (first / "tokenizer.json").read_bytes() == (tmp_path / "second" / "tokenizer.json").read_bytes()
    assert other.about["corpus"]["first_run"] == str(first.resolve())


def test_what_fits_no_shape_may_be_changed(first, corpus, tmp_path):
    settings = ["training.steps=2", "model.dropout=0.5"]
    regard.fit(corpus, start=first, settings=settings, out=tmp_path / "second")
    assert RunFolder.open(tmp_path / "second").recipe.model.dropout == 0.5


def test_settings_that_the_weights_do_not_fit_are_refused_before_any_work(first, corpus, tmp_path):
    with pytest.raises(RecipeError, match="these sizes are not those of"):
        regard.fit(corpus, start=first, settings=["model.width=24"], out=tmp_path / "second")
    with pytest.raises(RecipeError, match=r"data\.tokenizer is .*, but .*first, whose vocabulary"):
        other = "word" if RunFolder.open(first).recipe.data.tokenizer != "word" else "character"
        regard.fit(corpus, start=first, settings=[f"data.tokenizer={other}"], out=tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_run_that_has_not_ended_is_no_beginning(first, corpus, tmp_path):
    (first / "model.safetensors").unlink()
    with pytest.raises(RunError, match="training has not ended, so there are no weights to begin with"):
        regard.fit(corpus, start=first, out=tmp_path / "second")


def test_resumed_before_its_first_checkpoint_it_begins_with_the_same_weights(first, corpus, tmp_path):
    settings = ["training.steps=4", "training.validate_every=2"]
    regard.fit(corpus, start=first, settings=settings, out=tmp_path / "whole")
    regard.fit(corpus, start=first, settings=settings, out=tmp_path / "again")
    for name in ("model.safetensors", "metrics.jsonl"):
        (tmp_path / "again" / name).unlink()
    shutil.rmtree(tmp_path / "again" / "checkpoints")
    regard.fit(corpus, out=tmp_path / "again", resume=True)
    whole, again = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again"))
    assert whole == again
    (tmp_path / "again" / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "again" / "checkpoints")
    shutil.rmtree(first)
    with pytest.raises(RunError, match="are gone or changed"):
        regard.fit(corpus, out=tmp_path / "again", resume=True)

"""A run's folder: opened when it is whole, refused with the file that is not."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import regard
from regard.errors import InputError, RunError
from regard.training.files import part
from regard.training.recipe import Recipe
from regard.training.run import RunFolder, check_free, how_to_resume


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of a finished run, to be spoilt."""
    return Path(shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))


def refused(run: Path) -> str:
    with pytest.raises(RunError) as error:
        regard.load(run)
    assert isinstance(error.value, InputError)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_holds_what_the_plan_says(trained):
    names = {re.sub(r"(?<=tfevents).*", "", path.name) for path in trained.iterdir()}
    assert names == {
        "regard.toml",
        "tokenizer.json",
        "training-pairs.safetensors",
        "model.safetensors",
        "metrics.jsonl",
        "events.out.tfevents",
        "checkpoints",
    }
    assert {p.name for p in (trained / "checkpoints" / "step-150").iterdir()} == {
        "weights.safetensors",
        "optimizer.safetensors",
        "progress.json",
    }


def test_a_run_says_all_that_is_needed_to_repeat_it(trained, corpus):
    about = tomllib.loads((trained / "regard.toml").read_text())
    assert about["format"] == 1
    assert about["versions"]["torch"] == torch.__version__
    assert about["corpus"]["training_files"] == {"path": str(corpus)}
    assert about["corpus"]["training_pairs"] + about["corpus"]["validation_pairs"] == 200
    assert len(about["corpus"]["training_digest"]) == 64
    recipe = Recipe().changed(about["recipe"])
    assert recipe == RunFolder.open(trained).recipe
    assert recipe.data.vocabulary == 14
    assert 0 not in (recipe.training.steps, recipe.training.validate_every)


def test_a_run_can_be_moved_and_read_by_everybody_who_may_read_its_folder(run):
    assert regard.load(run).predict(["1 2"])[0].text
    modes = {path.stat().st_mode & 0o777 for path in run.iterdir()}
    assert len(modes) == 1, "the weights are as open as the other files"


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "none").startswith(f"{tmp_path / 'none'}: no such run.")
    assert refused(tmp_path / "file").startswith(f"{tmp_path / 'file'}: a file, not a run.")
    assert refused(tmp_path / "empty") == f"{tmp_path / 'empty'}: not a run: it has no regard.toml."


def test_a_regard_toml_cut_anywhere_is_refused(run):
    path = run / "regard.toml"
    whole = path.read_bytes()
    for size in range(len(whole) - 1):  # the last byte is the end of the line, which may be missing
        path.write_bytes(whole[:size])
        assert refused(run).startswith(f"{path}: ")
    path.write_bytes(whole[:-1])
    regard.load(run)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_a_file_that_is_cut_short_is_named(run, name):
    path = run / name
    whole = path.read_bytes()
    for size in (0, 1, 8, 100, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:size])
        assert refused(run).startswith(f"{path}: ")
    path.write_bytes(bytes(1000))
    assert refused(run).startswith(f"{path}: ")
    path.unlink()
    path.mkdir()
    assert refused(run).startswith(f"{path}: ")


def test_a_tokenizer_that_is_missing_is_named(run):
    (run / "tokenizer.json").unlink()
    assert refused(run).startswith(f"{run / 'tokenizer.json'}: ")


def test_a_run_of_another_format_is_refused(run):
    path = run / "regard.toml"
    text = path.read_text()
    path.write_text(text.replace("format = 1", "format = 2"))
    assert refused(run) == (
        f"{path}: the run has format 2; this version of regard reads format 1. Open it with the version that "
        "wrote it, or train again."
    )
    path.write_text(text.replace("format = 1", ""))
    assert refused(run) == f"{path}: not of a run, or cut short: it names no format."
    path.write_text("format = 1\nrecipe = 3\n")
    assert refused(run).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width = 16", "widht = 16", "model.widht is not a setting. Did you mean width?"),
        ("width = 16", 'width = "16"', "model.width is a whole number; got '16'."),
        ("width = 16\n", "", "cut short, or from another version: model.width is missing."),
        ("[recipe.decoding]", "[recipe.decodings]", "[decodings] is not a table of a recipe."),
    ],
)
def test_a_setting_that_this_version_does_not_know_is_named(run, old, new, message):
    path = run / "regard.toml"
    path.write_text(path.read_text().replace(old, new))
    assert refused(run).startswith(f"{path}: {message}")


def test_weights_of_another_model_are_refused(run):
    path = run / "regard.toml"
    path.write_text(path.read_text().replace("width = 16", "width = 18"))
    assert refused(run) == (
        f"{run / 'model.safetensors'}: these are the weights of another model than regard.toml describes."
    )
    save_file({"a": torch.zeros(1)}, run / "model.safetensors")
    assert "the weights of another model" in refused(run)


def test_a_run_that_has_not_ended_says_how_to_go_on(run):
    (run / "model.safetensors").unlink()
    assert refused(run) == f"{run}: training has not ended. Go on with: regard fit --resume {run}"


def test_the_command_to_go_on_can_be_pasted_into_a_shell():
    assert how_to_resume(Path("my run's")) == """regard fit --resume 'my run'"'"'s'"""


def test_nothing_is_ever_written_over(run, tmp_path, pairs):
    with pytest.raises(
        RunError, match=r"there is a run already\. Choose another --out, or go on with: regard fit --re"
    ):
        regard.fit(pairs, out=run)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="the folder is not empty"):
        regard.fit(pairs, out=tmp_path / "notes")
    with pytest.raises(RunError, match="a file; --out is a folder that does not exist yet"):
        regard.fit(pairs, out=tmp_path / "notes" / "mine.txt")
    with pytest.raises(RunError, match=re.escape("mine.txt is not a folder that may be written to")):
        regard.fit(pairs, out=tmp_path / "notes" / "mine.txt" / "run")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_an_empty_folder_and_one_of_a_start_that_was_cut_off_are_free(tmp_path):
    check_free(tmp_path)
    check_free(tmp_path / "a" / "b")
    part(tmp_path / "regard.toml").write_text("form")
    (tmp_path / "tokenizer.json").write_text("{}")
    check_free(tmp_path)


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RunError, match=re.escape(f"{tmp_path} is not a folder that may be written to")):
        check_free(tmp_path / "run")

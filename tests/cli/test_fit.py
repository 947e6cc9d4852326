"""`regard fit`: train on pairs of texts."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

import regard

SHORT = ["--set", "training.steps=2", "--set", "training.validate_every=2"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fit_tells_how_it_goes_and_how_to_try_it(corpus, config, place, cli):
    ended = cli("fit", corpus, "--config", config, "--out", "my run")
    assert (ended.status, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("190 training pairs, 10 for validation; 14 tokens, ")
    assert [line.split("  ")[0] for line in lines if "validation bleu" in line][:3] == [
        "step 10",
        "step 20",
        "step 30",
    ]
    assert lines[-2].startswith("all 30 steps are done: 30 steps, best validation bleu ")
    assert lines[-1] == "Try it:  regard predict 'my run' FILE     regard look 'my run' \"a text\""
    assert regard.load("my run").predict(["1 2"])


def test_with_json_stdout_is_one_object_and_progress_goes_to_stderr(corpus, config, place, cli):
    ended = cli("fit", corpus, "--config", config, "--out", "run", "--json")
    found = json.loads(ended.stdout)
    assert set(found) == {
        "run",
        "training_pairs",
        "validation_pairs",
        "skipped_empty",
        "skipped_too_long",
        "steps",
        "seconds",
        "metric",
        "best_validation",
    }
    assert (found["run"], found["steps"], found["metric"]) == ("run", 30, "bleu")
    assert "190 training pairs" in ended.stderr
    assert "step 20  validation bleu" in ended.stderr


def test_settings_of_the_command_line_count_more_than_those_of_the_recipe(corpus, config, place, cli):
    ended = cli(
        "fit", corpus, "--config", config, *SHORT, "--set", 'model.cell="lstm"', "--set", "model.width=8"
    )
    assert ended.status == 0
    recipe = tomllib.loads(Path("runs/digits/regard.toml").read_text())["recipe"]
    assert recipe["model"]["cell"] == "lstm"
    assert recipe["model"]["width"] == 8
    assert recipe["model"]["embedding"] == 16, "the recipe's"
    assert recipe["training"]["steps"] == 2


def test_two_plain_files_and_a_validation_of_two_plain_files(pairs, config, place, cli):
    for name, part in (("train", pairs[:150]), ("valid", pairs[150:])):
        Path(f"{name}.en").write_text("".join(f"{source}\n" for source, _ in part))
        Path(f"{name}.de").write_text("".join(f"{target}\n" for _, target in part))
    files = ["--source", "train.en", "--target", "train.de"]
    files += ["--valid-source", "valid.en", "--valid-target", "valid.de"]
    assert cli("fit", *files, "--config", config, *SHORT).status == 0
    corpus = tomllib.loads(Path("runs/train/regard.toml").read_text())["corpus"]
    assert (corpus["training_pairs"], corpus["validation_pairs"]) == (150, 50)
    assert corpus["validation_files"] == {
        "path": str(place / "valid.en"),
        "target_path": str(place / "valid.de"),
    }


def test_columns_are_chosen_by_name_or_number_for_training_and_validation(pairs, config, place, cli):
    rows = "".join(f"{target},x,{source}\n" for source, target in pairs)
    Path("a.csv").write_text("back,other,forth\n" + rows)
    Path("b.csv").write_text(rows)
    names = ["--source-column", "forth", "--target-column", "back"]
    numbers = ["--source-column", "3", "--target-column", "1"]
    assert (
        cli("fit", "a.csv", "--valid", "a.csv", *names, "--config", config, *SHORT, "--out", "a").status == 0
    )
    assert (
        cli("fit", "b.csv", "--valid", "b.csv", *numbers, "--config", config, *SHORT, "--out", "b").status
        == 0
    )
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()


def test_missing_folders_above_the_run_are_made(corpus, config, place, cli):
    assert cli("fit", corpus, "--config", config, *SHORT, "--out", "neue/Läufe/erster").status == 0
    assert Path("neue/Läufe/erster/model.safetensors").is_file()


def test_the_run_may_go_to_the_empty_folder_one_is_in(corpus, config, place, cli):
    assert cli("fit", corpus, "--config", config, *SHORT, "--out", ".").status == 0
    assert cli("predict", ".", stdin="1 2\n").status == 0


def test_empty_and_too_long_pairs_are_counted(pairs, config, write_tsv, place, cli, answer):
    write_tsv(place / "a.tsv", [*pairs, ("", "1"), ("1", ""), ("8 " * 300, "8"), ("9", "9 " * 300)])
    found = answer("fit", "a.tsv", "--config", config, *SHORT, "--out", "a")
    assert (found["skipped_empty"], found["skipped_too_long"]) == (2, 2)
    assert found["training_pairs"] + found["validation_pairs"] == 200
    ended = cli("fit", "a.tsv", "--config", config, *SHORT, "--out", "b")
    assert "; 2 with an empty side skipped; 2 too long skipped; " in ended.stdout


def test_a_loss_that_is_not_a_number_has_status_1_and_one_line(corpus, config, place, cli):
    ended = cli("fit", corpus, "--config", config, "--set", "training.learning_rate=1e30", "--out", "run")
    assert ended.status == 1
    assert ended.stderr.startswith("regard: the loss of step 2 is not a number")
    assert ended.stderr.count("\n") == 1


def test_a_validation_of_1_mb_a_line_is_left_out_like_any_text_that_is_too_long(
    pairs, config, write_tsv, place, answer
):
    write_tsv(place / "v.tsv", [*pairs[:5], ("1 " * 500_000, "1")])
    write_tsv(place / "a.tsv", pairs)
    found = answer("fit", "a.tsv", "--valid", "v.tsv", "--config", config, *SHORT)
    assert (found["validation_pairs"], found["skipped_too_long"]) == (5, 1)

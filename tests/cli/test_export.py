"""`regard export`: a folder for other engines, or a sentence that says why not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

import regard
from regard.export import huggingface

TRANSFORMER = {
    "model": {"architecture": "transformer", "width": 16, "heads": 2, "feed_forward": 32, "encoder_layers": 1}
    | {"decoder_layers": 1, "dropout": 0.0},
    "training": {"steps": 60, "validate_every": 30, "batch_tokens": 512},
    "decoding": {"length_penalty": 0.0},
}
LINES = "1 2 3\n\n4 5\n"


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A finished run of a Transformer."""
    from regard.training.recipe import Recipe

    folder = tmp_path_factory.mktemp("runs") / "transformer"
    regard.fit(corpus, recipe=Recipe().changed({"data": {"tokenizer": "word"}} | TRANSFORMER), out=folder)
    return folder


def test_a_run_goes_to_transformers_and_back(run, cli, answer, tmp_path):
    found = answer("export", run, "--to", "huggingface", "--out", tmp_path / "out")
    assert found["out"] == str(tmp_path / "out")
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    again = cli("predict", tmp_path / "out", "--length-penalty", "0", stdin=LINES)
    assert again.stdout == cli("predict", run, stdin=LINES).stdout


def test_ctranslate2_predicts_for_a_run_and_for_its_export(run, cli, tmp_path):
    ended = cli("export", run, "--to", "ctranslate2", "--out", tmp_path / "out", "--quantization", "int8")
    assert ended.status == 0
    assert "MB for ctranslate2" in ended.stdout
    expected = cli("predict", run, "--alignments", tmp_path / "own", stdin=LINES)
    found = cli("predict", run, "--engine", "ctranslate2", "--alignments", tmp_path / "links", stdin=LINES)
    assert found.stdout == expected.stdout
    assert (tmp_path / "links").read_text() == (tmp_path / "own").read_text()
    assert cli("predict", tmp_path / "out", "--engine", "ctranslate2", stdin=LINES).stdout.count("\n") == 3


def test_what_cannot_be_is_one_sentence(run, trained, said, tmp_path):
    out = tmp_path / "out"
    assert "architecture is 'recurrent'" in said("export", trained, "--to", "ctranslate2", "--out", out)
    assert "--to is one of huggingface" in said("export", run, "--to", "tensorflow", "--out", out)
    assert "goes with --to ctranslate2" in said(
        "export", run, "--to", "onnx", "--out", out, "--quantization", "int8"
    )
    assert "quantization is one of" in said(
        "export", run, "--to", "ctranslate2", "--out", out, "--quantization", "int4"
    )
    assert "not empty" in said("export", run, "--to", "huggingface", "--out", run)
    assert "--engine is one of" in said("predict", run, "--engine", "marian", stdin=LINES)
    assert "has no samples" in said("predict", run, "--engine", "ctranslate2", "--samples", 2, stdin=LINES)
    assert "--with decides" in said("predict", run, "--engine", "ctranslate2", "--with", run, stdin=LINES)
    assert not out.exists()


def test_a_folder_of_ctranslate2_without_the_engine_says_what_to_do(run, cli, said, tmp_path):
    cli("export", run, "--to", "ctranslate2", "--out", tmp_path / "out")
    assert "Predict with --engine ctranslate2" in said("predict", tmp_path / "out", stdin=LINES)


def test_an_export_keeps_how_to_search_and_says_what_others_do_not_know(run, cli, said, tmp_path):
    kept = regard.load(run)
    kept.search = replace(kept.search, min_length=4, longest_extra=3, block_ngrams=2, beam=2)
    huggingface.write(kept, tmp_path / "theirs")
    assert regard.load(tmp_path / "theirs").search == kept.search
    asked = json.loads((tmp_path / "theirs" / "generation_config.json").read_text(encoding="utf-8"))
    assert asked["min_length"] == 5  # the start is counted

    blocking = tmp_path / "blocking"
    shutil.copytree(run, blocking)
    recipe = (blocking / "regard.toml").read_text(encoding="utf-8")
    assert "block_ngrams = 0" in recipe
    changed = recipe.replace("block_ngrams = 0", "block_ngrams = 2")
    (blocking / "regard.toml").write_text(changed, encoding="utf-8")
    ended = cli("export", blocking, "--to", "ctranslate2", "--out", tmp_path / "out")
    assert "decoding.block_ngrams is 2" in ended.stderr
    command = ("predict", tmp_path / "out", "--engine", "ctranslate2")
    assert "decoding.block_ngrams of the model is 2" in said(*command, stdin=LINES)
    assert "has no block_ngrams" in said(*command, "--block-ngrams", 3, stdin=LINES)
    assert cli(*command, "--block-ngrams", 0, stdin=LINES).stdout == cli("predict", run, stdin=LINES).stdout

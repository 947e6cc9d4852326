"""`regard look`: which input words each output word looks at."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from regard.record import load_records


def test_the_alignment_is_drawn_in_the_terminal(trained, cli):
    ended = cli("look", trained, "1 2 3")
    assert (ended.status, ended.stderr) == (0, "")
    prediction = regard.load(trained).predict(["1 2 3"])[0]
    drawn = ended.stdout.split()
    assert {"1", "2", "3", *prediction.text.split()} <= {*drawn}


def test_texts_come_from_the_command_line_or_from_stdin(trained, answer):
    given = answer("look", trained, "1 2", "3 4")["records"]
    assert [record["input_words"] for record in given] == [["1", "2"], ["3", "4"]]
    assert answer("look", trained, stdin="1 2\n\n3 4\n")["records"] == given


def test_with_json_stdout_is_one_object_with_the_weights(trained, answer):
    found = answer("look", trained, "1 2 3")
    (record,) = found["records"]
    weights = np.array(record["weights"])
    assert weights.shape == (len(record["output_words"]), 3)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-4)
    assert (found["run"], found["saved"]) == (str(trained), None)


def test_the_model_can_be_made_to_say_something(trained, answer):
    (record,) = answer("look", trained, "1 2 3", "--target", " 7 7 ")["records"]
    assert record["output_words"] == ["7", "7"]
    assert len(record["weights"]) == 2


def test_several_outputs_of_a_text_are_shown(trained, answer):
    assert len(answer("look", trained, "1 2 3", "--nbest", 3)["records"]) == 3


@pytest.mark.parametrize("suffix", ["html", "png", "svg", "safetensors"])
def test_what_is_shown_is_saved(suffix, trained, cli, tmp_path):
    path = tmp_path / f"x.{suffix}"
    ended = cli("look", trained, "1 2 3", "--save", path)
    assert (ended.status, ended.stdout) == (0, f"saved {path}\n")
    beginning = {"html": b"<!doctype html>", "png": b"\x89PNG", "svg": b"<?xml"}.get(suffix, b"")
    assert path.read_bytes().lower().startswith(beginning.lower())
    if suffix == "safetensors":
        assert load_records(path)[0].key_tokens == ("1", "2", "3")


def test_saving_and_drawing_go_together(trained, cli, answer, tmp_path):
    ended = cli("look", trained, "1 2 3", "--save", tmp_path / "x.html", "--terminal")
    assert ended.stdout.count("\n") > 3
    assert ended.stdout.endswith(f"saved {tmp_path / 'x.html'}\n")
    assert answer("look", trained, "1 2 3", "--save", tmp_path / "y.html")["saved"] == str(
        tmp_path / "y.html"
    )
    assert (tmp_path / "y.html").is_file()


def test_a_model_without_heads_says_so(trained, cli):
    ended = cli("look", trained, "1 2 3", "--head", 1)
    assert ended.status == 2
    assert "no layers of heads" in ended.stderr


def test_single_heads_of_a_transformer_are_shown_with_their_names(pairs, answer, tmp_path):
    from regard.training.fit import fit
    from regard.training.recipe import Recipe

    small = {"width": 16, "heads": 2, "feed_forward": 16, "encoder_layers": 2, "decoder_layers": 1}
    training = {"steps": 2, "validate_every": 2, "batch_tokens": 256}
    recipe = Recipe().changed({"data": {"tokenizer": "word"}, "model": small, "training": training})
    fit(pairs, recipe=recipe, out=tmp_path / "run")
    asked = ("look", tmp_path / "run", "1 2 3", "--target", "3 2 1")
    (record,) = answer(*asked, "--kind", "encoder")["records"]
    assert record["kind"] == "encoder" and len(record["weights"]) == len(record["weights"][0]) == 2
    assert record["output_words"] == record["input_words"] == ["1", "2", "3"]
    assert len(record["statistics"]["entropy"]) == 2
    (record,) = answer(*asked, "--layer", 0, "--head", 1)["records"]
    assert (record["kind"], record["output_words"]) == ("cross", ["3", "2", "1"])
    assert len(record["weights"]) == len(record["weights"][0]) == 1

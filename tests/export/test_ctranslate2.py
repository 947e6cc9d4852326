"""A model says the same in CTranslate2, and predicts through it as it does by itself."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from regard.data.tokenization import END
from regard.decoding.translator import Search
from regard.errors import InputError, RunError
from regard.export import ctranslate2 as exported
from regard.export.ctranslate2 import Engine

ctranslate2 = pytest.importorskip("ctranslate2")

KINDS: list[dict[str, Any]] = [
    {},
    {"norm": "pre", "activation": "gelu"},
    {"norm": "pre", "positions": "rotary", "activation": "swiglu", "bias": False, "tied": "target"},
    {"positions": "learned", "longest": 40, "tied": "none"},
    {"positions": "relative", "activation": "silu"},
    {"score": "dot", "key_heads": 2},
    {"positions": "rotary", "key_heads": 1},
]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_an_exported_model_gives_the_same_probabilities(settings, tiny, forced, tmp_path):
    model = tiny(**settings)
    exported.write(model, tmp_path / "out")
    translator = ctranslate2.Translator(str(tmp_path / "out"), intra_threads=1)
    names = exported.vocabulary(model.tokenizer)
    source, lengths, given = forced(model.tokenizer)
    spelt = [[names[i] for i in row[:n]] for row, n in zip(source.tolist(), lengths.tolist(), strict=True)]
    found = translator.score_batch(spelt, spelt[::-1])
    with torch.no_grad():
        expected = model.network.log_probabilities(*model.network(source, lengths, given))
    for row, (score, target) in enumerate(zip(found, spelt[::-1], strict=True)):
        wanted = [*(names.index(token) for token in target), END]
        mine = [float(expected[row, step, token]) for step, token in enumerate(wanted)]
        np.testing.assert_allclose(score.log_probs, mine, atol=1e-4)


@pytest.mark.parametrize("settings", KINDS[:5], ids=str)
@pytest.mark.parametrize("beam", [1, 4])
def test_the_engine_predicts_as_the_model_does(beam, settings, tiny, texts):
    search = Search(beam=beam, length_penalty=0.0, longest_extra=30, replace_unknown=False)
    model = tiny(**settings, search=search, taught=True)
    engine = Engine.of(model, threads=1)
    said = [*texts, "", "a man rides é horse"]
    for found, expected in zip(engine.predict(said), model.predict(said), strict=True):
        assert (found.text, found.unknown) == (expected.text, expected.unknown)
        assert found.score == pytest.approx(expected.score, abs=1e-4)
        assert found.alignment.query_tokens == expected.alignment.query_tokens
        assert found.alignment.key_tokens == expected.alignment.key_tokens
        np.testing.assert_allclose(found.alignment.weights, expected.alignment.weights, atol=1e-4)


def test_the_engine_ranks_by_the_length_penalty_of_regard(tiny, texts):
    model = tiny(search=Search(beam=4, length_penalty=1.0, longest_extra=30), taught=True)
    engine = Engine.of(model, threads=1)
    found = engine.predict(texts, nbest=4)
    for prediction in found:
        scores = [option.score for option in prediction.alternatives]
        assert scores == sorted(scores, reverse=True)
        assert prediction.text == prediction.alternatives[0].text
    both = {
        (place, option.text): option.score
        for place, prediction in enumerate(model.predict(texts, nbest=4))
        for option in prediction.alternatives
    }
    shared = [
        (option.score, both[place, option.text])
        for place, prediction in enumerate(found)
        for option in prediction.alternatives
        if (place, option.text) in both
    ]
    assert len(shared) > len(texts)
    np.testing.assert_allclose(*zip(*shared, strict=True), atol=1e-4)


@pytest.mark.parametrize("quantization", ["int8", "int16", "bfloat16", "float16"])
def test_quantised_models_are_smaller_and_still_speak(quantization, tiny, texts, tmp_path):
    model = tiny(width=64)
    exported.write(model, tmp_path / "whole")
    exported.write(model, tmp_path / "small", quantization)
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("small", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    assert len(Engine(tmp_path / "small", threads=1).predict(texts)) == len(texts)


def test_an_unknown_quantization_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"quantization is one of int8, .*got 'int4'"):
        exported.write(tiny(), tmp_path / "out", "int4")  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("positions", "alibi"),
        ("normalizer", "sink"),
        ("score", "cosine"),
        ("encoder_window", 3),
        ("copy", True),
    ],
)
def test_what_ctranslate2_cannot_hold_is_refused_with_the_setting(name, value, tiny, tmp_path):
    with pytest.raises(InputError, match=rf"model\.{name} is .* which CTranslate2 cannot hold.*onnx"):
        exported.write(tiny(**{name: value}), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_the_engine_cannot_be_asked_is_refused(tiny):
    engine = Engine.of(tiny(), threads=1)
    with pytest.raises(InputError, match="the engine ctranslate2 has no forbid, samples"):
        engine.predict(["a"], forbid=["b"], samples=2)
    with pytest.raises(InputError, match="nbest is from 1 to beam"):
        engine.predict(["a"], nbest=9)
    with pytest.raises(InputError, match="cannot be made to say a target"):
        engine.align(["a"], ["b"])


def test_a_text_longer_than_the_positions_is_refused(tiny):
    engine = Engine.of(tiny(positions="learned", longest=20), threads=1)
    with pytest.raises(InputError, match=r"text 2 of 2 has .* at most 20 are read"):
        engine.predict(["a horse", "a horse " * 30])


def test_a_folder_that_is_no_export_is_refused(tiny, tmp_path):
    with pytest.raises(RunError, match=r"regard\.json: cannot be read"):
        Engine(tmp_path)
    exported.write(tiny(), tmp_path / "out")
    (tmp_path / "out" / "model.bin").write_bytes(b"damaged")
    with pytest.raises(RunError, match="CTranslate2 cannot read it"):
        Engine(tmp_path / "out")


def test_the_folder_says_what_it_is(tiny, tmp_path):
    model = tiny(search=Search(beam=7))
    exported.write(model, tmp_path / "out")
    engine = Engine(tmp_path / "out", threads=1)
    assert engine.search == model.search
    assert engine.name == "tiny"
    assert "CTranslate2" in repr(engine)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["add_source_eos"] is False

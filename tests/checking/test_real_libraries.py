"""Attention of well-known libraries: called as it is meant, and never reported wrong."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from typing import Any

import numpy as np
import pytest

import regard
from regard.checking.calling import examine
from regard.checking.problems import Problem
from regard.checking.verify import verify

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a library, or skip; Keras on PyTorch."""
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")

    def load(name: str) -> Any:
        pytest.importorskip(name.partition(".")[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)

    return load


def problem(*, width: int = 8, heads: int = 1, **changes: Any) -> Problem:
    rng = np.random.default_rng(4)
    query, keys = rng.normal(size=(2, heads, 3, width)), rng.normal(size=(2, heads, 5, width))
    return Problem(query, keys, rng.normal(size=keys.shape), **changes)


MASK = np.ones((2, 1, 3, 5), dtype=bool)
MASK[0, 0, 1, 2:] = MASK[1, 0, :, 0] = False


def test_torchs_attention_is_called_with_its_own_masks():
    asked = problem(heads=2, mask=MASK)
    tensors = [torch.tensor(each) for each in (asked.query, asked.keys, asked.values)]
    subject = examine(F.scaled_dot_product_attention)
    assert (subject.axes, subject.takes_mask, subject.causal, subject.grouped) == ("BHQD", True, "flag", True)
    direct = F.scaled_dot_product_attention(*tensors, attn_mask=torch.tensor(MASK))
    np.testing.assert_allclose(subject.ask(asked).context, direct.numpy())


@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_module_is_handed_masks_that_hide(batch_first):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=batch_first, dropout=0.3)
    there = np.array([[True] * 5, [True] * 3 + [False] * 2])
    asked = problem(key_mask=there)
    subject = examine(module)
    assert (subject.axes, subject.heads, subject.width, subject.gives_weights) == ("BQD", 2, 8, True)
    assert subject.takes_mask and subject.takes_key_mask and subject.projected
    answer = subject.ask(asked)
    tensors = [torch.tensor(each[:, 0]) for each in (asked.query, asked.keys, asked.values)]
    if not batch_first:
        tensors = [each.transpose(0, 1) for each in tensors]
    with torch.no_grad():
        found, weights = module.double().eval()(*tensors, key_padding_mask=torch.tensor(~there))
    found = found if batch_first else found.transpose(0, 1)
    np.testing.assert_allclose(answer.context[:, 0], found.numpy())
    np.testing.assert_allclose(answer.weights[:, 0], weights.numpy())
    masked = subject.ask(problem(mask=MASK)).weights
    assert (masked[:, 0][~MASK[:, 0]] == 0).all() and (masked[:, 0][MASK[:, 0]] > 0).all()


def of_torch(needed):
    yield "scaled_dot_product_attention", F.scaled_dot_product_attention, {}
    yield "causal", functools.partial(F.scaled_dot_product_attention, is_causal=True), {}
    for batch_first in (True, False):
        yield f"MultiheadAttention {batch_first}", nn.MultiheadAttention(8, 2, batch_first=batch_first), {}
    yield "MultiheadAttention the class", nn.MultiheadAttention, {"width": 8, "heads": 2}


def of_keras(needed):
    layers = needed("keras").layers
    yield "MultiHeadAttention", layers.MultiHeadAttention(2, 4), {}
    yield "GroupQueryAttention", layers.GroupQueryAttention(4, 4, 2), {}
    yield "Attention", layers.Attention(), {"score": "dot"}
    yield "AdditiveAttention", layers.AdditiveAttention(use_scale=False), {"score": "additive"}


def of_x_transformers(needed):
    library, attend = needed("x_transformers"), needed("x_transformers.attend")
    yield "Attention", library.Attention(dim=16, heads=4, dim_head=4), {}
    yield "causal", library.Attention(dim=16, heads=4, dim_head=4, causal=True), {}
    yield "Attend", attend.Attend(), {}
    yield "Attend causal", attend.Attend(causal=True), {}


def of_transformers(needed):
    library = needed("transformers")
    names = {"hidden_size": 16, "num_attention_heads": 2}
    models = "transformers.models"
    configuration = library.BertConfig(**names)
    configuration._attn_implementation = "eager"
    yield "BERT", needed(f"{models}.bert.modeling_bert").BertSelfAttention(configuration), {}
    llama = needed(f"{models}.llama.modeling_llama")
    configuration = library.LlamaConfig(**names, num_key_value_heads=2)
    configuration._attn_implementation = "eager"
    yield "LLaMA", llama.LlamaAttention(configuration, 0), {}
    yield "LLaMA's function", llama.eager_attention_forward, {}
    configuration = library.GPT2Config(n_embd=16, n_head=2)
    configuration._attn_implementation = "eager"
    yield "GPT-2", needed(f"{models}.gpt2.modeling_gpt2").GPT2Attention(configuration, layer_idx=0), {}
    configuration = library.T5Config(d_model=16, d_kv=8, num_heads=2)
    configuration._attn_implementation = "eager"
    yield "T5", needed(f"{models}.t5.modeling_t5").T5Attention(configuration), {"score": "dot"}


def of_regard(needed):
    yield "attend", regard.attend, {}
    yield "attention", regard.attention, {}
    yield "MultiheadAttention", needed("regard.nn.multihead").MultiheadAttention, {}


@pytest.mark.parametrize("library", [of_torch, of_keras, of_x_transformers, of_transformers, of_regard])
def test_nothing_in_a_library_is_reported_wrong(library, needed):
    for name, thing, options in library(needed):
        report = verify(thing, **options)
        assert report.passed, f"{name}\n{report}"
        assert not [mistake for mistake in report.mistakes if mistake.severity == "wrong"], (
            f"{name}\n{report}"
        )
        applied = [law for law in report.laws if law.held is not None]
        assert len(applied) > 8, f"{name}: too little could be judged\n{report}"


def test_nothing_of_regard_is_fragile(needed):
    for name, thing, options in of_regard(needed):
        assert verify(thing, **options).robust, name


def test_jaxs_attention_is_right(needed):
    jax = needed("jax")
    subject = examine(jax.nn.dot_product_attention)
    assert (subject.framework, subject.axes) == ("jax", "BQHD")
    asked = problem(heads=2, dtype="float32")
    arrays = [
        jax.numpy.asarray(each.swapaxes(1, 2), "float32") for each in (asked.query, asked.keys, asked.values)
    ]
    direct = np.asarray(jax.nn.dot_product_attention(*arrays)).swapaxes(1, 2)
    np.testing.assert_allclose(subject.ask(asked).context, direct, atol=1e-6)

"""Positions are those of `transformers`, and the same on JAX and on arrays with nothing but the standard."""

import numpy as np
import pytest

from regard.core import masks, positions, scores
from regard.core.attention import attend

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.parametrize("offset", [0, 7])
@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_rotary_in_halves_is_that_of_llama(base, offset):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": base}
    )
    query, keys = torch.randn(2, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0)).unbind()
    angles = LlamaRotaryEmbedding(config)(query, torch.arange(offset, offset + 9)[None])
    for x, expected in zip((query, keys), apply_rotary_pos_emb(query, keys, *angles), strict=True):
        found = positions.rotary(x, base=base, offset=offset, interleaved=False)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_rotary_in_pairs_is_that_of_gpt_j():
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb, create_sinusoidal_positions

    x = torch.randn(2, 9, 4, 16, generator=torch.Generator().manual_seed(0))  # B, L, H, D
    sin, cos = create_sinusoidal_positions(9, 8)[None].chunk(2, dim=-1)
    expected = torch.cat([apply_rotary_pos_emb(x[..., :8], sin, cos), x[..., 8:]], dim=-1)
    found = positions.rotary(x.transpose(1, 2), features=8).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_sinusoidal_in_halves_is_that_of_gpt_j():
    from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions

    found = positions.sinusoidal(50, 12, interleaved=False, like=torch.ones(1))
    torch.testing.assert_close(found, create_sinusoidal_positions(50, 12), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 4, 6, 12, 20])
def test_alibi_gives_the_attention_of_bloom_and_mpt(heads):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    generator = torch.Generator().manual_seed(0)
    query, keys, values = torch.randn(3, 2, heads, 5, 8, generator=generator).unbind()
    found = attend(query, keys, values, bias=positions.alibi(heads, 5, 5, like=query), causal=True)
    bloom = build_alibi_tensor(torch.ones(2, 5), heads, torch.float32).reshape(2, heads, 1, 5)
    mpt = build_mpt_alibi_tensor(heads, 5)
    for bias in (bloom, mpt):
        torch.testing.assert_close(found, attend(query, keys, values, bias=bias, causal=True))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 16), (64, 1000), (20, 33)])
def test_buckets_are_those_of_t5(bidirectional, buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = torch.arange(-1100, 1101)
    expected = T5Attention._relative_position_bucket(distances, bidirectional, buckets, max_distance)
    settings = {"bidirectional": bidirectional, "buckets": buckets, "max_distance": max_distance}
    assert torch.equal(positions.t5_buckets(distances, **settings), expected)
    np.testing.assert_array_equal(positions.t5_buckets(distances.numpy(), **settings), expected.numpy())


@pytest.mark.parametrize("decoder", [False, True])
def test_t5_bias_and_attention_are_those_of_t5(decoder):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    torch.manual_seed(0)
    config = T5Config(d_model=32, d_kv=8, num_heads=4, is_decoder=decoder, dropout_rate=0.0)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).eval()
    table = theirs.relative_attention_bias.weight
    found = positions.t5_bias(table, 3, 7, bidirectional=not decoder)
    torch.testing.assert_close(found[None], theirs.compute_bias(3, 7, past_seen_tokens=4))

    x = torch.randn(2, 7, 32)
    query, keys, values = (
        project(x).unflatten(-1, (4, 8)).transpose(1, 2) for project in (theirs.q, theirs.k, theirs.v)
    )
    bias = positions.t5_bias(table, 7, 7, bidirectional=not decoder)
    context = attend(query, keys, values, score=scores.dot, bias=bias)
    torch.testing.assert_close(theirs.o(context.transpose(1, 2).flatten(2)), theirs(x)[0])


def by_every_kind(xp, make, numbers):
    """What each kind of position gives from arrays of this library, as NumPy's."""
    x, weights = make(numbers.normal(size=(2, 4, 6))), make(numbers.random(size=(2, 4, 4)))
    table = make(numbers.normal(size=(9, 6)))
    ids, places = xp.asarray([3, 0, 5, 1]), make(np.array([3.0, 0.0, 5.0, 1.0]))
    found = {
        "sinusoidal": positions.sinusoidal(places, 6),
        "sinusoidal like": positions.sinusoidal(4, 6, like=x),
        "learned": positions.learned(table, ids),
        "rotary": positions.rotary(x, offset=2),
        "rotary in halves": positions.rotary(x, places, interleaved=False, features=4),
        "alibi": positions.alibi(3, 2, 4, like=x),
        "buckets": positions.t5_buckets(ids - 2, buckets=4, max_distance=3),
        "t5": positions.t5_bias(make(numbers.normal(size=(8, 3))), 2, 4),
        "shaw bias": positions.shaw_bias(x, 5, table),
        "shaw context": positions.shaw_context(weights, table),
        "dilated": masks.dilated(2, 5, 2, 2, like=x),
        "block": masks.block(2, 5, 2, previous=1, like=x),
        "document": masks.document(ids, xp.asarray([0, 0, 5, -1])),
        "prefix": masks.prefix(2, 5, ids, like=x),
    }
    return {name: np.asarray(array) for name, array in found.items()}


@pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")
@pytest.mark.parametrize("library", ["array_api_strict", "jax.numpy", "torch"])
def test_positions_and_masks_are_the_same_on_every_library(library):
    xp = torch if library == "torch" else pytest.importorskip(library)
    found = by_every_kind(xp, xp.asarray, np.random.default_rng(0))
    expected = by_every_kind(np, np.asarray, np.random.default_rng(0))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-5, atol=2e-5, err_msg=name)


def test_positions_go_through_jit_and_grad():
    jax = pytest.importorskip("jax")
    numbers = np.random.default_rng(0)
    x, table = (numbers.normal(size=size).astype("float32") for size in ((5, 6), (7, 6)))

    def loss(x, table, ids):
        turned = positions.rotary(x, ids) + positions.learned(table, ids)
        turned = turned + positions.sinusoidal(ids, 6, like=x)
        bias = positions.t5_bias(table[:4, :1], 5, 5, max_distance=9)[0] + positions.alibi(1, 5, 5, like=x)[0]
        mask = masks.document(ids % 2) | masks.prefix(5, 5, ids[0], like=x)
        bias = bias + positions.shaw_bias(turned, 5, table)
        looked = attend(turned, turned, x, bias=bias, mask=mask)
        return (looked + positions.shaw_context(bias, table)).sum() ** 2

    ids = np.array([1, 4, 2, 0, 3])
    found = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, table, ids)
    tensors = [torch.tensor(array, requires_grad=True) for array in (x, table)]
    loss(*tensors, torch.tensor(ids)).backward()
    for gradient, tensor in zip(found, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("interleaved", [True, False])
def test_the_gradients_are_those_of_finite_differences(interleaved):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    table = torch.randn(5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda x: positions.rotary(x, features=4, interleaved=interleaved), (x,))
    assert check(lambda x, table: positions.shaw_bias(x, 5, table), (x, table))
    assert check(positions.shaw_context, (weights, table))
    assert check(lambda table: positions.learned(table, [3, 0, 3]), (table,))
    assert check(lambda table: positions.t5_bias(table[:4], 3, 4, max_distance=5), (table,))

"""`attend` agrees with PyTorch's own attention, gradients included, and with itself on NumPy's arrays."""

import numpy as np
import pytest

from regard.core import masks, scores
from regard.core.attention import attend, attention

torch = pytest.importorskip("torch")
from torch.nn.functional import scaled_dot_product_attention as sdpa  # noqa: E402

B, H, Q, K, D = 2, 4, 5, 7, 8


def inputs(*, key_heads=H, queries=Q, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, H, queries, D), (B, key_heads, K, D), (B, key_heads, K, D)]
    return [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def mask(queries=Q):
    found = torch.rand(B, 1, queries, K, generator=torch.Generator().manual_seed(1)) < 0.7
    found[..., 0] = True
    return found


WAYS = {
    "plain": ({}, {}, {}),
    "mask": ({}, {"mask": mask()}, {"attn_mask": mask()}),
    "bias": ({}, {"bias": mask().double()}, {"attn_mask": mask().double()}),
    "causal": ({"queries": K}, {"causal": True}, {"is_causal": True}),
    "causal from the upper left": ({}, {"causal": True, "query_offset": 0}, {"is_causal": True}),
    "grouped": ({"key_heads": 2}, {"grouped": True}, {"enable_gqa": True}),
    "grouped with a mask": (
        {"key_heads": 2},
        {"grouped": True, "mask": mask()},
        {"enable_gqa": True, "attn_mask": mask()},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_attend_agrees_with_sdpa_and_its_gradients(way):
    shapes, ours, theirs = WAYS[way]
    results, gradients = [], []
    for function, options in ((attend, ours), (sdpa, theirs)):
        arrays = inputs(**shapes)
        results.append(function(*arrays, **options))
        results[-1].square().sum().backward()
        gradients.append([array.grad for array in arrays])
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)
    for mine, torchs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_attend_agrees_with_sdpa_in_half_precision(dtype, tolerance):
    arrays = inputs(dtype=dtype)
    torch.testing.assert_close(attend(*arrays), sdpa(*arrays), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_agrees_with_a_multihead_attention_through_its_inverted_masks(padded, masked):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(H * D, H, batch_first=True, dtype=torch.float64)
    query = torch.randn(B, Q, H * D, generator=generator, dtype=torch.float64)
    memory = torch.randn(B, K, H * D, generator=generator, dtype=torch.float64)
    padding = torch.tensor([[False] * K, [False] * (K - 2) + [True] * 2]) if padded else None
    hidden = ~mask().expand(B, H, Q, K).reshape(B * H, Q, K) if masked else None
    expected, weights = layer(
        query, memory, memory, key_padding_mask=padding, attn_mask=hidden, average_attn_weights=False
    )

    projected = [
        (array @ w.T + b).reshape(B, -1, H, D).transpose(1, 2)
        for array, w, b in zip(
            (query, memory, memory), layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), strict=True
        )
    ]
    looked = attention(
        *projected,
        key_mask=None if padding is None else masks.from_torch_mha(padding),
        mask=None if hidden is None else masks.from_torch_mha(hidden, heads=H),
    )
    torch.testing.assert_close(looked.weights, weights)
    torch.testing.assert_close(layer.out_proj(looked.context.transpose(1, 2).flatten(2)), expected)


OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": 2},
    "mask": {"mask": mask().numpy()},
    "key mask with a text that is empty": {"key_mask": np.array([[True] * 5 + [False] * 2, [False] * K])},
    "bias": {"bias": np.linspace(-1, 1, K)[None, :]},
    "grouped": {"grouped": True},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numpy_and_pytorch_give_the_same_numbers(option, dtype):
    arrays = [array.detach() for array in inputs(key_heads=2 if option == "grouped" else H, dtype=dtype)]
    names = ["entropy", "max_weight", "argmax"]
    ours = attention(*(array.numpy() for array in arrays), **OPTIONS[option], statistics=names)
    theirs = attention(*arrays, **OPTIONS[option], statistics=names)
    rtol, atol = (1e-4, 1e-6) if dtype == torch.float32 else (1e-12, 1e-14)
    for name in ("context", "weights", "log_normalizer"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name).numpy(), rtol=rtol, atol=atol)
    for name in names:
        np.testing.assert_allclose(
            ours.statistics[name], theirs.statistics[name].numpy(), rtol=rtol, atol=atol
        )


LIMITS = {
    "none": {},
    "causal": {"causal": True},
    "an empty row": {"mask": torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])},
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kind", ["dot", "scaled_dot", "general", "additive"])
def test_gradients_are_those_of_finite_differences(limit, kind):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    shapes = {"dot": [], "scaled_dot": [], "general": [(2, 2)], "additive": [(3, 2), (3, 2), (3,)]}

    def look(query, keys, values, bias, *parameters):
        score = getattr(scores, kind)(*parameters) if parameters else getattr(scores, kind)
        looked = attention(
            query, keys, values, score=score, bias=bias, **LIMITS[limit], statistics=["entropy"]
        )
        finite = looked.log_normalizer[looked.log_normalizer.isfinite()]
        return looked.context, looked.weights, finite, looked.statistics["entropy"]

    arrays = [random(3, 2), random(4, 2), random(4, 2), random(3, 4), *(random(*s) for s in shapes[kind])]
    assert torch.autograd.gradcheck(look, arrays)


def test_attend_goes_through_vmap():
    arrays = [array.detach() for array in inputs()]
    found = torch.vmap(lambda *item: attend(*item, causal=True))(*arrays)
    torch.testing.assert_close(found, attend(*arrays, causal=True))

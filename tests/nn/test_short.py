"""Attention for short texts is `regard.attend` on each head, with its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from regard.core.attention import attend
from regard.errors import InputError, ShapeError
from regard.nn.dropout import dropout_seed
from regard.nn.heads import merge, split
from regard.nn.short import attend_short

B, H, D = 3, 4, 8


def example(
    queries: int, keys: int, *, key_heads: int = H, value_width: int = D, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, keys and values as views of one projection where they fit into one, all with a gradient."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((queries, H * D), (keys, key_heads * D), (keys, key_heads * value_width))
    found = (torch.randn(B, *size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes)
    a, b, c = found
    return a.requires_grad_(), b.requires_grad_(), c.requires_grad_()


def some(*shape: int) -> Tensor:
    """A mask of which each row has at least one key."""
    found = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.6
    found[..., 0] = True
    return found


def specified(query: Tensor, keys: Tensor, values: Tensor, key_heads: int = H, **options) -> Tensor:
    """The same by `regard.attend`, in float64."""
    heads = zip((query, keys, values), (H, key_heads, key_heads), strict=True)
    mask = options.pop("mask", None)
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]
    return merge(attend(*(split(x.double(), n) for x, n in heads), grouped=True, mask=mask, **options))


def both(inputs: tuple[Tensor, ...], key_heads: int = H, **options) -> list[tuple[Tensor, ...]]:
    """Context and gradients of both ways."""
    results = []
    for way in (attend_short, specified):
        given = (*inputs, H) if way is attend_short else inputs
        context = way(*given, key_heads=key_heads, **options)
        slope = torch.linspace(-1, 1, context.numel(), dtype=context.dtype).view_as(context)
        results.append((context.detach(), *torch.autograd.grad(context, inputs, slope)))
    return results


WAYS = {
    "everywhere": lambda q, k: {},
    "a mask for all": lambda q, k: {"mask": some(q, k)},
    "a mask for each text": lambda q, k: {"mask": some(B, q, k)},
    "a mask for each head": lambda q, k: {"mask": some(B, H, q, k)},
    "keys that are there": lambda q, k: {"key_mask": some(B, k)},
    "causal": lambda q, k: {"causal": True},
    "causal, keys that are there": lambda q, k: {"causal": True, "key_mask": some(B, k)},
    "all of them": lambda q, k: {"causal": True, "key_mask": some(B, k), "mask": some(B, q, k)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 7), (7, 16), (9, 21)])
def test_attend_short_is_attend_on_each_head_with_its_gradients(way, queries, keys):
    found, expected = both(example(queries, keys), **WAYS[way](queries, keys))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key_heads", [1, 2])
def test_heads_of_keys_are_shared_by_neighbouring_heads_of_the_query(way, key_heads):
    inputs = example(6, 9, key_heads=key_heads, value_width=5)
    found, expected = both(inputs, key_heads, **WAYS[way](6, 9))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("keys", [12, 24])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 8e-3)])
def test_narrow_numbers_are_close_with_their_gradients(way, keys, dtype, tolerance):
    inputs = example(keys, keys, dtype=dtype)
    found, expected = both(inputs, **WAYS[way](keys, keys))
    for mine, exact in zip(found, expected, strict=True):
        assert mine.dtype == dtype
        mine, exact = mine.double(), exact.double()
        assert (mine - exact).norm() < tolerance * exact.norm()
        assert torch.cosine_similarity(mine.flatten(), exact.flatten(), dim=0) > 0.9999


@pytest.mark.parametrize("keys", [7, 20])
def test_who_may_look_nowhere_gets_zeros_and_passes_no_gradient_on(keys):
    inputs = example(5, keys)
    mask = some(B, 5, keys)
    mask[1, 2] = False
    context = attend_short(*inputs, H, mask=mask)
    assert not context[1, 2].any()
    d_query, d_keys, d_values = torch.autograd.grad(context[1, 2].sum(), inputs)
    assert not (d_query.any() or d_keys.any() or d_values.any())
    found, expected = both(inputs, mask=mask)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_views_of_one_projection_are_taken_as_they_are():
    merged = torch.randn(B, 6, 3 * H * D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    merged.requires_grad_()
    parts = merged.split(H * D, dim=-1)
    slopes = [
        torch.autograd.grad(way.square().sum(), merged, retain_graph=True)[0]
        for way in (attend_short(*parts, H, causal=True), specified(*parts, causal=True))
    ]
    torch.testing.assert_close(*slopes)


def test_the_gradients_are_those_of_finite_differences_with_dropout():
    inputs = example(4, 5)

    def dropped(*inputs: Tensor) -> Tensor:
        with dropout_seed(0):
            return attend_short(*inputs, H, causal=True, dropout=0.3)

    assert torch.autograd.gradcheck(dropped, inputs, fast_mode=True)


def test_dropout_keeps_the_mean_of_what_is_found():
    torch.manual_seed(0)
    query, keys, values = (x.detach() for x in example(6, 9))
    plain = attend_short(query, keys, values, H)
    many = torch.stack([attend_short(query, keys, values, H, dropout=0.25) for _ in range(2000)])
    torch.testing.assert_close(many.mean(0), plain, rtol=0.0, atol=6 * float(many.std(0).max()) / 2000**0.5)


def test_huge_scores_are_no_infinity():
    inputs = tuple((x.detach() * 1e4).requires_grad_() for x in example(5, 20, dtype=torch.float32))
    context = attend_short(*inputs, H, causal=True)
    assert context.isfinite().all()
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(context.sum(), inputs))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"key_heads": 3}, "key_heads must divide heads"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(change, named):
    with pytest.raises(InputError, match=named):
        attend_short(*example(4, 4), H, **change)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mask": torch.ones(4, 9, dtype=torch.bool)}, "mask must be booleans that fit"),
        ({"mask": torch.ones(4, 6)}, "float32"),
        ({"key_mask": torch.ones(6, dtype=torch.bool)}, r"key_mask must be \(3, 6\)"),
        ({"key_mask": torch.ones(B, 5, dtype=torch.bool)}, "key_mask must be booleans"),
    ],
)
def test_masks_that_do_not_fit_are_named(change, named):
    with pytest.raises(ShapeError, match=named):
        attend_short(*example(4, 6), H, **change)


def test_inputs_that_do_not_fit_together_are_named():
    query, keys, values = example(4, 6)
    with pytest.raises(ShapeError, match="one value each"):
        attend_short(query, keys, values[:, :5], H)
    with pytest.raises(ShapeError, match="keys must be"):
        attend_short(query, keys[:2], values, H)
    with pytest.raises(ShapeError, match="queries but only"):
        attend_short(keys, query, query, H, causal=True)

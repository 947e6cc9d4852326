"""A decoder that goes step by step finds what it finds at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from regard.errors import InputError, ShapeError
from regard.nn.cache import Cache
from regard.nn.latent import LatentAttention
from regard.nn.multihead import MultiheadAttention
from regard.nn.positions import Alibi, Rotary, Shaw, T5Bias

B, L, E, H = 3, 9, 12, 4
MODULES = {
    "plain": lambda: MultiheadAttention(E, H),
    "grouped": lambda: MultiheadAttention(E, H, key_heads=2),
    "multi-query and rotary": lambda: MultiheadAttention(E, H, key_heads=1, head_width=4, positions=Rotary()),
    "alibi": lambda: MultiheadAttention(E, H, positions=Alibi(H)),
    "t5": lambda: MultiheadAttention(E, H, positions=T5Bias(H, buckets=8, max_distance=6)),
    "shaw": lambda: MultiheadAttention(E, H, positions=Shaw(3, clip=2)),
    "talking": lambda: MultiheadAttention(E, H, talking=True),
    "latent": lambda: LatentAttention(E, H, latent=5, rotary_width=4),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> Any:
    return MODULES[request.param]().double()


def stepwise(
    module: Any, x: Tensor, cache: Cache, sizes: list[int], key_mask: Any = None
) -> tuple[Tensor, Cache]:
    """What the module finds when it is handed so many positions at a time."""
    found, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        own = None if key_mask is None else key_mask[..., part]
        context, cache = module.step(x[..., part, :], cache, key_mask=own)
        found.append(context)
        start += size
    return torch.cat(found, dim=-2), cache


@pytest.mark.parametrize("window", [None, 1, 3, 20])
@pytest.mark.parametrize("sizes", [[1] * L, [4, 1, 1, 3], [L]], ids=["words", "pieces", "at once"])
def test_step_by_step_is_the_same_as_at_once(module, window, sizes):
    x = torch.randn(B, L, E, dtype=torch.float64)
    found, cache = stepwise(module, x, Cache(window), sizes)
    torch.testing.assert_close(found, module(x, causal=True, window=window))
    assert (cache.seen, cache.kept) == (L, min(window or L, L))
    assert cache.start == L - cache.kept


def test_a_cache_needs_no_start_and_no_axis_of_texts(module):
    x = torch.randn(4, E, dtype=torch.float64)
    expected = module(x, causal=True)
    first, cache = module.step(x[:2])
    rest, _ = module.step(x[2:], cache)
    torch.testing.assert_close(torch.cat([first, rest]), expected)


@pytest.mark.parametrize("window", [None, 3])
def test_what_is_padding_stays_hidden_from_later_steps(module, window):
    x = torch.randn(B, L, E, dtype=torch.float64)
    key_mask = torch.arange(L) >= torch.tensor([[0], [2], [4]])  # padded in front, as prompts are
    found, _ = stepwise(module, x, Cache(window), [5, 1, 3], key_mask)
    torch.testing.assert_close(found, module(x, causal=True, window=window, key_mask=key_mask))


def test_a_mask_may_come_with_some_of_the_steps_only(module):
    x = torch.randn(B, 5, E, dtype=torch.float64)
    key_mask = torch.ones(B, 5, dtype=torch.bool)
    key_mask[1, 2] = False
    found, cache = [], Cache()
    for part, own in ((slice(0, 2), None), (slice(2, 3), key_mask[:, 2:3]), (slice(3, 5), None)):
        context, cache = module.step(x[:, part], cache, key_mask=own)
        found.append(context)
    torch.testing.assert_close(torch.cat(found, dim=1), module(x, causal=True, key_mask=key_mask))


def test_rows_are_selected_as_beam_search_needs_it(module):
    x = torch.randn(B, L, E, dtype=torch.float64)
    key_mask = torch.arange(4) >= torch.tensor([[0], [1], [2]])
    _, cache = module.step(x[:, :4], Cache(5), key_mask=key_mask)
    rows = torch.tensor([2, 0, 0, 1])
    found, kept = module.step(x[rows, 4:5], cache.select(rows))
    expected, _ = module.step(x[:, 4:5], cache)
    torch.testing.assert_close(found, expected[rows])
    assert all(part.shape[0] == 4 for part in kept.parts)
    assert all(part.shape[0] == B for part in cache.parts)


def test_a_cache_is_never_written_to(module):
    x = torch.randn(B, L, E, dtype=torch.float64)
    _, cache = module.step(x[:, :4], Cache(4))
    before = [part.clone() for part in cache.parts]
    one, _ = module.step(x[:, 4:5], cache)
    module.step(x[:, 5:6], cache)
    again, _ = module.step(x[:, 4:5], cache)
    assert torch.equal(one, again)
    assert all(torch.equal(part, held) for part, held in zip(cache.parts, before, strict=True))


def test_gradients_go_through_the_cache(module):
    x = torch.randn(2, 4, E, dtype=torch.float64, requires_grad=True)
    found, _ = stepwise(module, x, Cache(), [1, 2, 1])
    wanted = [x, *module.parameters()]
    expected = torch.autograd.grad(module(x, causal=True).square().sum(), wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), wanted), expected)


def test_where_a_step_looked_can_be_asked_afterwards():
    module = MultiheadAttention(E, H, positions=Rotary(features=2)).double()
    x = torch.randn(B, L, E, dtype=torch.float64)
    _, cache = module.step(x[:, : L - 1])
    _, cache = module.step(x[:, L - 1 :], cache)
    found = module.look(x[:, L - 1 :], cache, causal=True)
    torch.testing.assert_close(found.weights, module.look(x, causal=True).weights[:, :, -1:])


def test_a_cache_of_other_texts_is_an_error():
    module = MultiheadAttention(E, H)
    _, cache = module.step(torch.randn(2, 3, E))
    with pytest.raises(ShapeError, match=r"holds, \(2, 4, 3, 3\).* Got \(3, 4, 1, 3\).*Cache.select"):
        module.step(torch.randn(3, 1, E), cache)
    with pytest.raises(ShapeError, match=r"key_mask must be \(2, 1\).* Got \(2, 2\)"):
        module.step(torch.randn(2, 1, E), cache, key_mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"key_mask must be \(…, 3\).* Got \(2, 2\)"):
        Cache().extended(torch.ones(2, 3, 4), key_mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="window must be at least 1"):
        Cache(0)

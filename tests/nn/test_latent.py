"""Latent attention by its equations, one position and one head after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from regard.core.positions import rotary
from regard.errors import InputError, ShapeError
from regard.nn.cache import Cache
from regard.nn.latent import LatentAttention

B, L, E, H, C, D, V, R = 2, 5, 8, 3, 6, 4, 5, 2


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def made(**options: Any) -> LatentAttention:
    settings: dict[str, Any] = {"latent": C, "head_width": D, "value_head_width": V, "rotary_width": R}
    return LatentAttention(E, H, **(settings | options)).double()


def by_the_equations(module: LatentAttention, h: Tensor) -> Tensor:
    """DeepSeek-AI 2024, eq. 9 to 19, causal, for one text (L, E)."""
    c = module.norm(h @ module.down.weight.T)  # 9
    k_c = (c @ module.keys.weight.T).reshape(-1, H, D)  # 10
    v_c = (c @ module.values.weight.T).reshape(-1, H, V)  # 11
    c_q = module.query_norm(module.query_down(h))  # 12
    q = (c_q @ module.query.weight.T).reshape(-1, H, D + R)  # 13, 14
    k_r = rotary(h @ module.rotary_key.weight.T)  # 15
    found = []
    for t in range(len(h)):
        heads = []
        for i in range(H):
            q_r = rotary(q[t : t + 1, i, D:], offset=t)[0]
            logits = [
                (q[t, i, :D] @ k_c[j, i] + q_r @ k_r[j]) / (D + R) ** 0.5 for j in range(t + 1)
            ]  # 16 to 18
            weights = torch.softmax(torch.stack(logits), dim=0)
            heads.append(weights @ v_c[: t + 1, i])
        found.append(module.out.weight @ torch.cat(heads))  # 19
    return torch.stack(found)


WAYS = [{}, {"query_latent": 7}, {"query_latent": 7, "normalize": True}]


@pytest.mark.parametrize("options", WAYS)
def test_what_is_found_is_what_the_equations_say(options):
    module, x = made(**options), torch.randn(B, L, E, dtype=torch.float64)
    expected = torch.stack([by_the_equations(module, h) for h in x])
    torch.testing.assert_close(module(x, causal=True), expected)
    torch.testing.assert_close(module.look(x, causal=True).context, expected)
    torch.testing.assert_close(module(x[0], causal=True), expected[0])


@pytest.mark.parametrize("options", WAYS)
def test_projections_absorbed_into_query_and_result_give_the_same(options):
    module, x = made(**options, interleaved=False), torch.randn(B, L, E, dtype=torch.float64)
    found, cache = module.step(x)
    torch.testing.assert_close(found, module(x, causal=True))
    assert [tuple(part.shape) for part in cache.parts] == [(B, L, C), (B, L, R)]


def test_a_cache_holds_one_latent_and_one_rotary_key_whatever_the_heads():
    module = made()
    _, cache = module.step(torch.randn(1, E, dtype=torch.float64), Cache(3))
    assert sum(part.numel() for part in cache.parts) == C + R


def test_masks_mean_what_they_mean_everywhere():
    module, x = made(), torch.randn(B, L, E, dtype=torch.float64)
    mask = torch.rand(B, L, L) < 0.5
    look = module.look(x, mask=mask, statistics=["entropy"])
    assert not look.weights[~mask[:, None].expand(B, H, L, L)].any()
    assert look.statistics["entropy"].shape == (B, H, L)
    empty = module(x, key_mask=torch.tensor([[True] * L, [False] * L]))
    assert empty[0].any() and not empty[1].any()


@pytest.mark.parametrize("options", WAYS)
def test_the_gradient_is_that_of_finite_differences(options):
    module = made(**options)
    x = torch.randn(B, 3, E, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return module(x, causal=True), module.step(x)[0]

    assert torch.autograd.gradcheck(run, (x, *module.parameters()))


def test_what_cannot_be_meant_is_an_error():
    with pytest.raises(ShapeError, match=r"x must be \(…, L, 8\). Got \(2, 5, 7\)"):
        made()(torch.ones(B, L, 7, dtype=torch.float64))
    with pytest.raises(InputError, match="3 heads do not divide width 8"):
        LatentAttention(8, 3, latent=4)
    with pytest.raises(InputError, match="must be even"):
        made(rotary_width=3)(torch.ones(B, L, E, dtype=torch.float64))

"""The master weights: one flat float32 tensor, and the narrower copy that a network computes with."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from regard.training.master import MasterWeights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3, bias=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_computes_with_the_weights_in_their_place_in_its_dtype(dtype: torch.dtype) -> None:
    own = network()
    before = {name: p.detach().clone() for name, p in own.named_parameters()}
    master = MasterWeights(own, dtype)
    assert {p.dtype for p in own.parameters()} == {dtype}
    for name, weight in master.named().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
        torch.testing.assert_close(own.get_parameter(name).detach(), before[name].to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_along_the_gathered_gradient_are_those_of_pytorchs_optimizer(dtype: torch.dtype) -> None:
    own, theirs = network(), network()
    master = MasterWeights(own, dtype)
    master.flat.grad = master.gradient
    optimizers = [torch.optim.AdamW(p, lr=0.01, fused=True) for p in ([master.flat], theirs.parameters())]
    x = torch.randn(6, 7, generator=torch.Generator().manual_seed(1))
    for _ in range(20):
        own(x.to(dtype)).float().square().sum().backward()
        master.gather()
        assert all(p.grad is None for p in own.parameters())
        if dtype == torch.bfloat16:  # the same gradients, as bfloat16 gives them, for theirs
            for name, p in theirs.named_parameters():
                p.grad = master.named(master.gradient)[name].clone()
        else:
            theirs.zero_grad()
            theirs(x).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
        master.publish()
    for name, weight in master.named().items():
        torch.testing.assert_close(weight, theirs.get_parameter(name).detach(), rtol=1e-5, atol=1e-6)


def test_updates_too_small_for_bfloat16_add_up() -> None:
    own = network()
    master = MasterWeights(own, torch.bfloat16)
    before = own.get_parameter("0.weight").detach().clone()
    for _ in range(100):
        master.flat += 1e-4
        master.publish()
    moved = (own.get_parameter("0.weight") - before).float().mean().item()
    assert moved == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_weights_are_shown_for_a_while(dtype: torch.dtype) -> None:
    own = network()
    master = MasterWeights(own, dtype)
    kept = copy.deepcopy(own.state_dict())
    flat = master.flat.clone()
    with master.shown(torch.full_like(master.flat, 0.5)):
        assert all((p == 0.5).all() for p in own.parameters())
    for name, weight in own.state_dict().items():
        torch.testing.assert_close(weight, kept[name], rtol=0, atol=0)
    torch.testing.assert_close(master.flat, flat, rtol=0, atol=0)


def test_named_tensors_go_to_their_places_and_come_back() -> None:
    master = MasterWeights(network(), torch.bfloat16)
    flat = torch.zeros_like(master.flat)
    named = {name: torch.randn_like(weight) for name, weight in master.named().items()}
    master.fill(flat, named)
    for name, weight in master.named(flat).items():
        torch.testing.assert_close(weight, named[name], rtol=0, atol=0)


def test_a_weight_that_is_not_trained_is_left_alone() -> None:
    own = network()
    own[0].bias.requires_grad_(False)
    master = MasterWeights(own, torch.float32)
    assert "0.bias" not in master.named()
    assert own[0].bias.untyped_storage().data_ptr() != master.flat.untyped_storage().data_ptr()

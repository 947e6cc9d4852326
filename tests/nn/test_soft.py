"""Attention that is asked step by step is `regard.core.attention` with the same score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.core import scores
from regard.nn.soft import ATTENTIONS, SentenceAttention

B, Q, K = 3, 4, 6
WIDTHS = [(5, 5), (5, 7)]  # of the query and of the keys
LENGTHS = torch.tensor([6, 1, 4])
MASK = torch.arange(K) < LENGTHS[:, None]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def plain_score(name: str, module: Any) -> Callable[[Any, Any], Any]:
    """The same score by the functions of `regard.core`, from the module's own parameters."""
    if name in ("additive", "concat"):
        return scores.additive(*module.matrices(), module.direction)
    if isinstance(module.project, nn.Identity):
        return scores.dot
    return scores.general(module.project.weight)


def stepwise(look: SentenceAttention, query: Tensor) -> tuple[Tensor, Tensor]:
    """Contexts (B, Q, D) and weights (B, Q, K), one query of each sentence after the other."""
    contexts, weights = zip(*[look(query[:, step]) for step in range(query.shape[1])], strict=True)
    return torch.stack(contexts, dim=1), torch.stack(weights, dim=1)


def made(
    name: str, widths: tuple[int, int], dtype: torch.dtype = torch.float64
) -> tuple[Any, Tensor, Tensor]:
    """A score module, queries and keys."""
    query = torch.randn(B, Q, widths[0], dtype=dtype, requires_grad=True)
    keys = torch.randn(B, K, widths[1], dtype=dtype, requires_grad=True)
    return ATTENTIONS[name](*widths).to(dtype), query, keys


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_weights_contexts_and_gradients_are_those_of_the_plain_attention(name, widths):
    module, query, keys = made(name, widths)
    context, weights = stepwise(SentenceAttention(module, keys, MASK), query)
    expected = regard.attention(query, keys, keys, score=plain_score(name, module), key_mask=MASK)
    torch.testing.assert_close(weights, expected.weights)
    torch.testing.assert_close(context, expected.context)

    wanted = [query, keys, *module.parameters()]
    loss, expected_loss = (
        (c * torch.linspace(-1, 1, c.shape[-1])).square().sum() + (w * torch.arange(K)).sum().square()
        for c, w in ((context, weights), (expected.context, expected.weights))
    )
    torch.testing.assert_close(torch.autograd.grad(loss, wanted), torch.autograd.grad(expected_loss, wanted))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_the_gradient_is_that_of_finite_differences(name):
    module, query, keys = made(name, (3, 3))

    def run(query: Tensor, keys: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return stepwise(SentenceAttention(module, keys, MASK), query)

    assert torch.autograd.gradcheck(run, (query, keys, *module.parameters()))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_several_queries_of_each_sentence_can_be_asked_at_once(name):
    module, query, keys = made(name, (5, 7))
    look = SentenceAttention(module, keys, MASK)
    context, weights = look(query.flatten(0, 1))
    torch.testing.assert_close(
        (context.unflatten(0, (B, Q)), weights.unflatten(0, (B, Q))), stepwise(look, query)
    )


@pytest.mark.parametrize("name", ATTENTIONS)
def test_sentences_are_selected_without_being_projected_again(name, monkeypatch):
    module, query, keys = made(name, (5, 7))
    look = SentenceAttention(module, keys, MASK)
    monkeypatch.setitem(vars(module), "project", None)  # calling it is an error now
    rows = torch.tensor([2, 0, 2])
    for found, expected in zip(look.select(rows)(query[rows, 0]), look(query[:, 0]), strict=True):
        torch.testing.assert_close(found, expected[rows])


@pytest.mark.parametrize("name", ATTENTIONS)
def test_nothing_behind_the_end_of_a_sentence_is_seen(name):
    module, query, keys = made(name, (5, 7))
    expected = SentenceAttention(module, keys, MASK)(query[:, 0])
    hidden = ~MASK[..., None]
    for value in (float("nan"), float("inf"), 1e30):
        spoilt = keys.detach().masked_fill(hidden, value).requires_grad_()
        context, weights = SentenceAttention(module, spoilt, MASK)(query[:, 0])
        torch.testing.assert_close((context, weights), expected)
        assert not weights.masked_select(~MASK).any()
        (gradient,) = torch.autograd.grad(context.square().sum() + weights.square().sum(), spoilt)
        assert gradient.isfinite().all()
        assert not gradient.masked_select(hidden).any()


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_sentence_without_words_gets_zeros_and_its_neighbours_do_not_notice(name):
    module, query, keys = made(name, (5, 7))
    mask = MASK & (torch.arange(B) != 1)[:, None]
    context, weights = SentenceAttention(module, keys, mask)(query[:, 0])
    others = torch.tensor([0, 2])
    assert not context[1].any()
    assert not weights[1].any()
    expected = SentenceAttention(module, keys, MASK)(query[:, 0])
    torch.testing.assert_close((context[others], weights[others]), tuple(part[others] for part in expected))
    gradients = torch.autograd.grad(
        context.square().sum() + weights.square().sum(), [query, keys, *module.parameters()]
    )
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[0][1].any()
    assert not gradients[1][1].any()


@pytest.mark.parametrize("name", ATTENTIONS)
def test_under_autocast_weights_are_float32_and_all_is_close(name):
    module, query, keys = made(name, (16, 16), torch.float32)
    expected = SentenceAttention(module, keys, MASK)(query[:, 0])
    with torch.autocast("cpu", torch.bfloat16):
        context, weights = SentenceAttention(module, keys, MASK)(query[:, 0])
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(B))
    assert (weights - expected[1]).abs().max() < 0.05
    assert (context - expected[0]).norm() < 0.05 * expected[0].norm()
    wanted = [query, keys]
    found = torch.autograd.grad(context.float().square().sum(), wanted)
    exact = torch.autograd.grad(expected[0].square().sum(), wanted)
    for gradient, close in zip(found, exact, strict=True):
        assert (gradient - close).norm() < 0.05 * close.norm()


def test_concat_is_one_matrix_over_query_and_key_side_by_side():
    module, query, keys = made("concat", (5, 7))
    pairs = torch.cat([query[:, :1].expand(B, K, 5), keys], dim=-1)
    by_hand = torch.tanh(module.joint(pairs)) @ module.direction
    weights = SentenceAttention(module, keys, torch.ones(B, K, dtype=torch.bool))(query[:, 0])[1]
    torch.testing.assert_close(weights, torch.softmax(by_hand, dim=-1))

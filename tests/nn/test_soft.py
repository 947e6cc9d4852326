"""Attention that is asked step by step is `regard.core.attention` with the same score and normalizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import regard
from regard.core import normalizers, scores
from regard.errors import InputError
from regard.nn import soft
from regard.nn.coverage import Coverage, LocationAware, coverage_loss
from regard.nn.hard import GumbelSoftmax, Sampled
from regard.nn.local import LocalPredictive
from regard.nn.monotonic import MoChA, Monotonic
from regard.nn.normalizers import Entmax, Sigmoid, Sink, straight_hardmax
from regard.nn.scores import (
    Additive,
    Concat,
    Cosine,
    Dot,
    General,
    LearnedQuery,
    Location,
    NegativeSquaredDistance,
    ScaledDot,
    Score,
)
from regard.nn.soft import AttentionState, Mechanism, SentenceAttention

B, Q, K = 3, 4, 6
WIDTHS = [(5, 5), (5, 7)]  # of the query and of the keys
LENGTHS = torch.tensor([6, 1, 4])
MASK = torch.arange(K) < LENGTHS[:, None]

SCORES: dict[str, Callable[[int, int], Score]] = {
    "dot": Dot,
    "scaled_dot": ScaledDot,
    "general": General,
    "concat": Concat,
    "additive": Additive,
    "cosine": Cosine,
    "negative_squared_distance": NegativeSquaredDistance,
    "learned_query": LearnedQuery,
    "location": lambda query_width, key_width: Location(query_width, K),
    "location_aware": lambda query_width, key_width: LocationAware(
        query_width, key_width, filters=2, reach=1
    ),
    "coverage": Coverage,
}
REMEMBERING = ("location_aware", "coverage")
NORMALIZERS: dict[str, Callable[[], Any]] = {
    "softmax": lambda: soft.softmax,
    "temperature": lambda: normalizers.softmax_with(temperature=0.5),
    "sink": lambda: Sink(0.5),
    "sparsemax": lambda: normalizers.sparsemax,
    "entmax15": lambda: normalizers.entmax15,
    "entmax": Entmax,
    "sigmoid": Sigmoid,
    "top_k": lambda: normalizers.top_k(2),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def plain_score(module: Any, before: Tensor | None) -> Callable[[Any, Any], Any]:
    """The same score by the functions of `regard.core`, from the module's own parameters."""
    if isinstance(module, LocationAware):
        filters, located = module.filters.weight[:, 0], module.location.weight
        assert before is not None
        return scores.location_aware(*module.matrices(), module.direction, filters, located, before)
    if isinstance(module, Coverage):
        assert before is not None
        return scores.coverage(*module.matrices(), module.direction, module.coverage, before)
    if isinstance(module, LearnedQuery):
        return scores.learned_query(module.direction, module.keys.weight)
    if isinstance(module, Location):
        return scores.location(module.positions.weight)
    if isinstance(module, Additive | Concat):
        return scores.additive(*module.matrices(), module.direction)
    if isinstance(module, General):
        return scores.general(module.project.weight)
    compare = {
        Dot: scores.dot,
        ScaledDot: scores.scaled_dot,
        NegativeSquaredDistance: scores.negative_squared_distance,
    }
    if isinstance(module, Cosine):
        compare[Cosine] = scores.scaled_cosine(module.temperature())
    return lambda query, keys: compare[type(module)](query, module.project(keys))


def plain_normalizer(name: str, module: Any) -> Callable[[Any], Any]:
    """The same normalizer by the functions of `regard.core`."""
    made = {
        "softmax": lambda: normalizers.softmax,
        "sink": lambda: normalizers.softmax_with(temperature=0.5, sink=module.sink),
        "entmax": lambda: normalizers.entmax(module.alpha()),
        "sigmoid": lambda: normalizers.sigmoid_with(module.bias),
    }
    return made[name]() if name in made else module


def over(score: Score, keys: Tensor, mask: Tensor = MASK, weigher: Any = soft.softmax) -> SentenceAttention:
    return Mechanism(score, weigher).over(keys, mask)


def stepwise(look: SentenceAttention, query: Tensor) -> tuple[Tensor, Tensor]:
    """Contexts (B, Q, D) and weights (B, Q, K), one query of each sentence after the other."""
    state, contexts, weights = look.start(), [], []
    for step in range(query.shape[1]):
        looked = look(query[:, step], state)
        state = looked.state
        contexts.append(looked.context)
        weights.append(looked.weights)
    return torch.stack(contexts, dim=1), torch.stack(weights, dim=1)


def by_core(
    module: Any, query: Tensor, keys: Tensor, normalizer: Callable[[Any], Any] = normalizers.softmax
) -> tuple[Tensor, Tensor]:
    """The same by `regard.attention`, what is remembered carried along by hand."""
    previous = summed = torch.zeros(B, 1, K, dtype=query.dtype)
    contexts, weights = [], []
    for step in range(query.shape[1]):
        before = previous if isinstance(module, LocationAware) else summed
        found = regard.attention(
            query[:, step : step + 1],
            keys,
            keys,
            score=plain_score(module, before),
            normalizer=normalizer,
            key_mask=MASK,
        )
        previous, summed = found.weights, summed + found.weights
        contexts.append(found.context)
        weights.append(found.weights)
    return torch.cat(contexts, dim=1), torch.cat(weights, dim=1)


def made(
    name: str, widths: tuple[int, int], dtype: torch.dtype = torch.float64
) -> tuple[Any, Tensor, Tensor]:
    """A score module, queries and keys."""
    query = torch.randn(B, Q, widths[0], dtype=dtype, requires_grad=True)
    keys = torch.randn(B, K, widths[1], dtype=dtype, requires_grad=True)
    return SCORES[name](*widths).to(dtype), query, keys


def gradients(context: Tensor, weights: Tensor, wanted: list[Tensor]) -> tuple[Tensor, ...]:
    loss = (context * torch.linspace(-1, 1, context.shape[-1])).square().sum()
    loss = loss + (weights * torch.arange(K)).sum(-1).square().sum()
    return torch.autograd.grad(loss, wanted)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("name", SCORES)
def test_weights_contexts_and_gradients_are_those_of_the_plain_attention(name, widths):
    module, query, keys = made(name, widths)
    found, expected = stepwise(over(module, keys), query), by_core(module, query, keys)
    torch.testing.assert_close(found, expected)
    wanted = [keys, *module.parameters(), *([] if name == "learned_query" else [query])]
    torch.testing.assert_close(gradients(*found, wanted), gradients(*expected, wanted))


@pytest.mark.parametrize("name", NORMALIZERS)
def test_every_normalizer_gives_the_weights_contexts_and_gradients_of_the_plain_one(name):
    score, query, keys = made("general", (5, 5))
    module = NORMALIZERS[name]()
    parameters = list(module.double().parameters()) if isinstance(module, nn.Module) else []
    found = stepwise(over(score, keys, weigher=module), query)
    expected = by_core(score, query, keys, plain_normalizer(name, module))
    torch.testing.assert_close(found, expected)
    wanted = [query, keys, *score.parameters(), *parameters]
    slopes = gradients(*found, wanted)
    torch.testing.assert_close(slopes, gradients(*expected, wanted))
    assert all(slope.any() for slope in slopes)


@pytest.mark.parametrize("name", SCORES)
def test_the_gradient_is_that_of_finite_differences(name):
    module, query, keys = made(name, (3, 3))

    def run(query: Tensor, keys: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return stepwise(over(module, keys), query)

    assert torch.autograd.gradcheck(run, (query, keys, *module.parameters()), fast_mode=True)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_the_gradient_of_every_normalizer_is_that_of_finite_differences(name):
    module = NORMALIZERS[name]()
    parameters = list(module.double().parameters()) if isinstance(module, nn.Module) else []
    rows = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows, *_: module(rows), (rows, *parameters))


def test_the_hard_maximum_picks_and_has_the_gradient_of_softmax():
    rows = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    picked = straight_hardmax(rows)
    assert torch.equal(picked, F.one_hot(rows.argmax(-1), 5).double())
    slope = torch.randn(3, 5, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((weights * slope).sum(), rows) for weights in (picked, torch.softmax(rows, -1))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", [name for name in SCORES if name not in REMEMBERING])
def test_several_queries_of_each_sentence_can_be_asked_at_once(name):
    module, query, keys = made(name, (5, 7))
    look = over(module, keys)
    looked = look(query.flatten(0, 1), look.start())
    found = looked.context.unflatten(0, (B, Q)), looked.weights.unflatten(0, (B, Q))
    torch.testing.assert_close(found, stepwise(look, query))


@pytest.mark.parametrize("name", SCORES)
def test_sentences_are_selected_without_being_prepared_again(name, monkeypatch):
    module, query, keys = made(name, (5, 7))
    look = over(module, keys)
    state = look(query[:, 0], look.start()).state
    expected = look(query[:, 1], state)
    monkeypatch.setattr(type(module), "prepare", None)  # calling it is an error now
    rows = torch.tensor([2, 0, 2])
    found = look.select(rows)(query[rows, 1], state.select(rows))
    torch.testing.assert_close(found.context, expected.context[rows])
    torch.testing.assert_close(found.weights, expected.weights[rows])


@pytest.mark.parametrize("name", SCORES)
def test_nothing_behind_the_end_of_a_sentence_is_seen(name):
    module, query, keys = made(name, (5, 7))
    expected = stepwise(over(module, keys), query)
    hidden = ~MASK[..., None]
    for value in (float("nan"), float("inf"), 1e30):
        spoilt = keys.detach().masked_fill(hidden, value).requires_grad_()
        context, weights = stepwise(over(module, spoilt), query)
        torch.testing.assert_close((context, weights), expected)
        assert not weights.masked_select(~MASK[:, None].expand_as(weights)).any()
        (gradient,) = torch.autograd.grad(context.square().sum() + weights.square().sum(), spoilt)
        assert gradient.isfinite().all()
        assert not gradient.masked_select(hidden).any()


@pytest.mark.parametrize("weigher", [*NORMALIZERS, "hardmax"])
@pytest.mark.parametrize("name", ["general", "location", "coverage"])
def test_a_sentence_without_words_gets_zeros_and_its_neighbours_do_not_notice(name, weigher):
    module, query, keys = made(name, (5, 7))
    normalizer = straight_hardmax if weigher == "hardmax" else NORMALIZERS[weigher]()
    normalizer = normalizer.double() if isinstance(normalizer, nn.Module) else normalizer
    mask = MASK & (torch.arange(B) != 1)[:, None]
    context, weights = stepwise(over(module, keys, mask, normalizer), query)
    others = torch.tensor([0, 2])
    assert not context[1].any()
    assert not weights[1].any()
    expected = stepwise(over(module, keys, MASK, normalizer), query)
    torch.testing.assert_close((context[others], weights[others]), tuple(part[others] for part in expected))
    found = torch.autograd.grad(
        context.square().sum() + weights.square().sum(), [query, keys, *module.parameters()]
    )
    assert all(gradient.isfinite().all() for gradient in found)
    assert not found[0][1].any()
    assert not found[1][1].any()


@pytest.mark.parametrize("name", SCORES)
def test_under_autocast_weights_are_float32_and_all_is_close(name):
    module, query, keys = made(name, (16, 16), torch.float32)
    expected = stepwise(over(module, keys), query)
    with torch.autocast("cpu", torch.bfloat16):
        context, weights = stepwise(over(module, keys), query)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, Q))
    assert (weights - expected[1]).abs().max() < 0.05
    assert (context - expected[0]).norm() < 0.05 * expected[0].norm()
    (found,) = torch.autograd.grad(context.float().square().sum(), keys)
    (exact,) = torch.autograd.grad(expected[0].square().sum(), keys)
    assert (found - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("name", SCORES)
def test_under_autocast_scores_are_float32_and_not_rounded_to_eight_bits(name):
    module, query, keys = made(name, (64, 64), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        score, before = module.over(module.prepare(3 * keys)), module.start(MASK)
        found = score(query[:, :1], None if before is None else before[:, None])
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


@pytest.mark.parametrize("name", ["dot", "scaled_dot", "cosine", "negative_squared_distance"])
def test_under_autocast_what_has_no_projection_scores_as_without(name):
    module, query, keys = made(name, (64, 64), torch.float32)
    expected = stepwise(over(module, 3 * keys), query)[1]
    with torch.autocast("cpu", torch.bfloat16):
        weights = stepwise(over(module, 3 * keys), query)[1]
    torch.testing.assert_close(weights, expected)


def test_concat_is_one_matrix_over_query_and_key_side_by_side():
    module, query, keys = made("concat", (5, 7))
    pairs = torch.cat([query[:, :1].expand(B, K, 5), keys], dim=-1)
    by_hand = torch.tanh(module.joint(pairs)) @ module.direction
    everywhere = torch.ones(B, K, dtype=torch.bool)
    weights = stepwise(over(module, keys, everywhere), query[:, :1])[1]
    torch.testing.assert_close(weights[:, 0], torch.softmax(by_hand, dim=-1))


def test_location_does_not_look_behind_the_positions_that_it_knows():
    query, keys = torch.randn(B, Q, 5), torch.randn(B, K, 5)
    weights = stepwise(over(Location(5, 2), keys), query)[1]
    assert not weights[..., 2:].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, Q))


def test_coverage_loss_is_the_overlap_with_all_steps_before():
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.0, 0.75], [1.0, 0.0, 0.0], [0.5, 0.0, 0.5]])
    torch.testing.assert_close(coverage_loss(weights), torch.tensor([0.0, 0.25, 0.75, 1.0]))
    assert not coverage_loss(torch.eye(4)).any()


def test_what_picks_is_asked_like_what_looks_softly():
    query, keys = torch.randn(B, Q, 5), torch.randn(B, K, 5)
    for picker in (Sampled(), GumbelSoftmax(0.5), Monotonic(), LocalPredictive(5)):
        look = Mechanism(General(5, 5), picker).over(keys, MASK)
        looked = look(query[:, 0], look.start())
        torch.testing.assert_close(
            looked.context, torch.einsum("bk,bkd->bd", looked.weights, keys * MASK[..., None])
        )
        assert not looked.weights.masked_select(~MASK).any()
        assert looked.log_probability is not None
    picked = stepwise(Mechanism(General(5, 5), Sampled().eval()).over(keys, MASK), query)[1]
    assert torch.equal(picked.sort(-1).values, torch.eye(K)[-1].expand(B, Q, K))


def test_what_is_drawn_is_repeated_by_the_global_random_state():
    query, keys = torch.randn(B, Q, 5), torch.randn(B, K, 5)
    mechanism = Mechanism(General(5, 5), Sampled())
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(stepwise(mechanism.over(keys, MASK), query)[1])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    before = torch.get_rng_state()
    mechanism.weigher.eval()  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    mechanism.over(keys, MASK)
    assert torch.equal(torch.get_rng_state(), before), "what picks does not draw"


def test_a_chunked_mechanism_has_two_scores_and_no_other_has():
    with pytest.raises(InputError, match=r"Mechanism\(\): chunk_score= goes with a picker that is chunked"):
        Mechanism(General(5, 5), MoChA())
    with pytest.raises(InputError, match=r"Mechanism\(\): chunk_score= goes with a picker that is chunked"):
        Mechanism(General(5, 5), soft.softmax, General(5, 5))


def test_the_state_of_rows_is_theirs():
    state = AttentionState()
    assert state.select(torch.tensor([0, 0])) == AttentionState() or state.remembered is None
    look = Mechanism(Coverage(5, 5), Monotonic()).over(torch.randn(B, K, 5), MASK)
    state = look(torch.randn(B, 5), look.start()).state
    rows = torch.tensor([2, 0, 2, 1])
    chosen = state.select(rows)
    assert chosen.remembered is not None
    assert chosen.picked is not None
    assert state.remembered is not None
    assert state.picked is not None
    assert torch.equal(chosen.remembered, state.remembered[rows])
    assert torch.equal(chosen.picked.previous, state.picked.previous[rows])

"""What holds for every mechanism that picks, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from regard.errors import DtypeError, InputError, ShapeError
from regard.nn.hard import GumbelSoftmax, Sampled, StraightThrough
from regard.nn.local import LocalMonotonic, LocalPredictive
from regard.nn.monotonic import MoChA, Monotonic
from regard.nn.picking import Pick, Picker, log_softmax, pick

B, K, D, T = 4, 6, 3, 3
LENGTHS = torch.tensor([6, 0, 4, 1])
MASK = torch.arange(K) < LENGTHS[:, None]
MECHANISMS: dict[str, Callable[[], Picker]] = {
    "sampled": Sampled,
    "gumbel": lambda: GumbelSoftmax(0.7),
    "gumbel straight-through": lambda: GumbelSoftmax(0.7, straight_through=True),
    "straight-through": StraightThrough,
    "monotonic": Monotonic,
    "monotonic without noise": lambda: Monotonic(noise=0.0),
    "chunkwise": lambda: MoChA(2),
    "local-m": lambda: LocalMonotonic(1),
    "local-p": lambda: LocalPredictive(D, 2),
}
SMOOTH = [name for name in MECHANISMS if "straight" not in name]


@pytest.fixture(params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest) -> Picker:
    torch.manual_seed(0)
    return MECHANISMS[request.param]().double()


def asked(seed: int = 0, rows: int = B, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (T, R, D), scores and chunk scores (T, R, K) that want a gradient."""
    source = torch.Generator().manual_seed(seed)
    shapes = (T, rows, D), (T, rows, K), (T, rows, K)
    query, scores, chunk = (torch.randn(shape, generator=source, dtype=dtype) for shape in shapes)
    return query.requires_grad_(), (3 * scores).requires_grad_(), chunk.requires_grad_()


def steps(
    mechanism: Picker, query: Tensor, scores: Tensor, chunk: Tensor, mask: Tensor = MASK, seed: int = 1
) -> list[Pick]:
    """Three steps, one after the other, from a generator of their own."""
    source = torch.Generator().manual_seed(seed)
    state, picks = mechanism.start(mask), []
    for q, s, c in zip(query, scores, chunk, strict=True):
        picks.append(mechanism.step(q, s, mask, state, generator=source, chunk_scores=c))
        state = picks[-1].state
    return picks


@pytest.mark.parametrize("training", [True, False])
def test_hidden_keys_and_empty_rows_get_zeros_and_no_gradient_whatever_their_scores(mechanism, training):
    mechanism.train(training)
    query, scores, chunk = asked()
    bad_scores, bad_chunk = (
        torch.where(MASK, numbers, torch.nan).detach().requires_grad_() for numbers in (scores, chunk)
    )
    clean = steps(mechanism, query, scores, chunk)
    picks = steps(mechanism, query, bad_scores, bad_chunk)
    total = torch.zeros((), dtype=torch.float64)
    for expected, found in zip(clean, picks, strict=True):
        torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=0)
        assert (found.weights[~MASK] == 0).all()
        assert (found.log_probability[1] == 0) and (found.entropy[1] == 0)
        total = total + found.weights.square().sum() + found.log_probability.sum() + found.entropy.sum()
    if total.requires_grad:
        for gradient in torch.autograd.grad(total, [bad_scores, bad_chunk], allow_unused=True):
            assert gradient is None or (gradient[:, ~MASK] == 0).all()
            assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_weights_are_shares_that_sum_to_at_most_one(mechanism, training):
    mechanism.train(training)
    for found in steps(mechanism, *asked()):
        assert (found.weights >= 0).all()
        assert (found.weights.sum(-1) <= 1 + 1e-12).all()


def test_in_evaluation_nothing_is_drawn_and_no_generator_is_needed(mechanism):
    mechanism.eval()
    query, scores, chunk = asked()
    with_one = steps(mechanism, query, scores, chunk, seed=1)
    state = mechanism.start(MASK)
    for step, expected in enumerate(with_one):
        found = mechanism.step(query[step], scores[step], MASK, state, chunk_scores=chunk[step])
        torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=0)
        assert (found.log_probability == 0).all()
        state = found.state


@pytest.mark.parametrize("name", ["sampled", "gumbel", "gumbel straight-through", "straight-through"])
def test_in_evaluation_the_highest_score_is_picked(name):
    query, scores, chunk = asked()
    for step, found in enumerate(steps(MECHANISMS[name]().eval(), query, scores, chunk)):
        for row, length in enumerate(LENGTHS.tolist()):
            expected = [0.0] * K
            if length:
                expected[int(scores[step, row, :length].argmax())] = 1.0
            assert found.weights[row].tolist() == expected


def test_a_seed_repeats_a_draw_and_the_global_generator_is_left_alone(mechanism):
    before = torch.get_rng_state()
    one, same, other = (steps(mechanism.train(), *asked(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a.weights, b.weights) for a, b in zip(one, same, strict=True))
    assert mechanism.draws == any(
        not torch.equal(a.weights, b.weights) for a, b in zip(one, other, strict=True)
    )


def test_a_draw_without_a_generator_is_refused(mechanism):
    query, scores, chunk = asked()
    state = mechanism.train().start(MASK)
    if mechanism.draws:
        with pytest.raises(InputError, match=r"needs generator="):
            mechanism.step(query[0], scores[0], MASK, state, chunk_scores=chunk[0])
    else:
        mechanism.step(query[0], scores[0], MASK, state, chunk_scores=chunk[0])


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_is_that_of_finite_differences(name):
    torch.manual_seed(0)
    mechanism = MECHANISMS[name]().double().train()

    def run(query: Tensor, scores: Tensor, chunk: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        picks = steps(mechanism, query, scores, chunk)
        found = [p.log_probability + p.entropy if name == "sampled" else p.weights for p in picks]
        return tuple(found)

    assert torch.autograd.gradcheck(run, (*asked(), *mechanism.parameters()))


def test_several_hypotheses_of_each_sentence_can_be_asked_at_once(mechanism):
    mechanism.eval()
    query, scores, chunk = asked(rows=2 * B)
    rows = torch.arange(B).repeat_interleave(2)
    state = mechanism.start(MASK).select(rows)
    together = mechanism.step(query[0], scores[0], MASK, state, chunk_scores=chunk[0])
    apart = mechanism.step(
        query[0], scores[0], MASK[rows], mechanism.start(MASK[rows]), chunk_scores=chunk[0]
    )
    torch.testing.assert_close(together.weights, apart.weights, rtol=0, atol=0)


def test_rows_of_a_state_can_be_selected_between_two_steps(mechanism):
    mechanism.eval()
    query, scores, chunk = asked()
    expected = steps(mechanism, query, scores, chunk)[1].weights
    order = torch.tensor([2, 0, 3, 1])
    first = steps(mechanism, query[:1], scores[:1], chunk[:1])[0]
    found = mechanism.step(
        query[1][order],
        scores[1][order],
        MASK[order],
        first.state.select(order),
        chunk_scores=chunk[1][order],
    )
    torch.testing.assert_close(found.weights, expected[order], rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_half_precision_under_autocast_is_computed_with_in_float32(mechanism, training):
    mechanism.float().train(training)
    query, scores, chunk = (numbers.bfloat16() for numbers in asked(dtype=torch.float32))
    expected = steps(mechanism, query.float(), scores.float(), chunk.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = steps(mechanism, query, scores, chunk)
    tolerance = 3e-2 if isinstance(mechanism, LocalPredictive) else 0.0  # W h is rounded, as asked for
    for one, other in zip(found, expected, strict=True):
        assert one.weights.dtype == torch.float32
        torch.testing.assert_close(one.weights, other.weights, rtol=0, atol=tolerance)


def test_sentences_without_a_single_key_position_give_empty_weights(mechanism):
    query, scores, chunk = (numbers[:, :1] for numbers in asked())
    found = steps(mechanism, query, scores[..., :0], chunk[..., :0], mask=MASK[:1, :0])
    assert found[-1].weights.shape == (1, 0)


def test_bad_input_is_refused_with_the_shapes_in_the_message():
    sampled, chunkwise = Sampled().eval(), MoChA(2).eval()
    query, scores, chunk = (numbers[0] for numbers in asked())
    state = sampled.start(MASK)
    with pytest.raises(DtypeError, match=r"Sampled\.step\(\): key_mask must be boolean"):
        sampled.step(query, scores, MASK.float(), state)
    with pytest.raises(ShapeError, match=r"R a multiple of B\. Got \(4, 6\) and \(4, 5\)"):
        sampled.step(query, scores, MASK[:, 1:], state)
    with pytest.raises(ShapeError, match=r"R a multiple of B\. Got \(4, 6\) and \(3, 6\)"):
        sampled.step(query, scores, MASK[1:], state)
    with pytest.raises(ShapeError, match=r"the state is of \(2, 6\) but scores are \(4, 6\)"):
        sampled.step(query, scores, MASK, sampled.start(MASK[:2]))
    with pytest.raises(InputError, match=r"hand chunk_scores="):
        chunkwise.step(query, scores, MASK, state)
    with pytest.raises(ShapeError, match=r"chunk_scores must have the shape of scores \(4, 6\)"):
        chunkwise.step(query, scores, MASK, state, chunk_scores=chunk[:, 1:])


def test_settings_that_cannot_be_meant_are_refused():
    for make in (lambda: GumbelSoftmax(0.0), lambda: Monotonic(noise=-1.0), lambda: MoChA(0)):
        with pytest.raises(InputError, match="must"):
            make()
    for make in (lambda: LocalMonotonic(-1), lambda: LocalPredictive(3, 0)):
        with pytest.raises(InputError, match="window must be"):
            make()


def test_the_logarithm_of_softmax_keeps_empty_rows_empty():
    scores = torch.tensor([[0.0, 800.0], [-torch.inf, -torch.inf], [-torch.inf, 5.0]])
    assert log_softmax(scores).tolist() == [[-800.0, 0.0], [-torch.inf] * 2, [-torch.inf, 0.0]]


def test_a_picked_key_is_the_first_of_the_mask_when_all_scores_are_equal_and_finite():
    found = pick(torch.zeros(2, 3), torch.tensor([[False, True, False], [False, False, False]]))
    assert found.tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]

"""Expected monotonic alignments against the process they are the expectation of, followed coin by coin."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from regard.errors import ShapeError
from regard.nn.monotonic import (
    MoChA,
    Monotonic,
    chunkwise,
    expected_alignment,
    expected_alignments,
    greedy_alignment,
    linear_recurrence,
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def followed(takes: list[list[bool]]) -> list[int | None]:
    """The key that each step stops at, when takes[t][j] says whether step t takes key j (algorithm 1)."""
    stops: list[int | None] = []
    begin: int | None = 0
    for row in takes:
        if begin is not None:
            begin = next((j for j in range(begin, len(row)) if row[j]), None)
        stops.append(begin)
    return stops


def enumerated(energies: Tensor, mask: Tensor) -> Tensor:
    """The expected alignment (Q, K), by all 2^(Q·K) outcomes of the coins."""
    queries, keys = energies.shape
    probabilities = (torch.sigmoid(energies) * mask).flatten().tolist()
    expected = torch.zeros(queries, keys, dtype=torch.float64)
    for coins in product([True, False], repeat=queries * keys):
        chance = 1.0
        for coin, p in zip(coins, probabilities, strict=True):
            chance *= p if coin else 1 - p
        takes = [list(coins[t * keys : (t + 1) * keys]) for t in range(queries)]
        for step, stop in enumerate(followed(takes)):
            if stop is not None:
                expected[step, stop] += chance
    return expected


@pytest.mark.parametrize("shown", [[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 0]])
def test_the_expected_alignment_is_that_of_all_outcomes_of_the_process(shown):
    energies, mask = random(4, 3), torch.tensor(shown, dtype=torch.bool)
    torch.testing.assert_close(expected_alignments(energies, mask), enumerated(energies, mask))


def test_sentences_and_steps_are_computed_side_by_side():
    energies, mask = random(2, 3, 4, 3), torch.ones(2, 3, 3, dtype=torch.bool)
    found = expected_alignments(energies, mask)
    for one, other in zip(found.flatten(0, 1), energies.flatten(0, 1), strict=True):
        torch.testing.assert_close(one, enumerated(other, mask[0, 0]))


@pytest.mark.parametrize("keys", [1, 2, 7, 8, 33])
def test_the_recurrence_is_that_of_a_loop(keys):
    decay, inputs = random(3, keys).sigmoid(), random(3, keys, seed=1)
    x, expected = torch.zeros(3, dtype=torch.float64), []
    for j in range(keys):
        x = decay[:, j] * x + inputs[:, j]
        expected.append(x)
    torch.testing.assert_close(linear_recurrence(decay, inputs), torch.stack(expected, dim=1))


def test_a_thousand_keys_with_certain_choices_stay_exact_and_have_a_finite_gradient():
    energies = 30 * random(3, 5, 1000)
    energies[0] = -60.0  # passed by with certainty, where a product of a thousand (1 − p) is still one
    energies[1] = 60.0
    narrow = energies.float().requires_grad_()
    found = expected_alignments(narrow)
    torch.testing.assert_close(found.double(), expected_alignments(energies), rtol=1e-4, atol=1e-6)
    assert torch.autograd.grad(found.square().sum(), narrow)[0].isfinite().all()


def test_with_certain_choices_expectation_and_greed_are_the_same():
    energies = 100 * random(6, 8, 5).sign()
    energies[3:, :, -1] = 100.0
    previous = torch.zeros(6, 5, dtype=torch.float64)
    previous[:, 0] = 1.0
    expected = greedy = previous
    for step in range(8):
        expected = expected_alignment(energies[:, step], expected)
        greedy = greedy_alignment(energies[:, step], greedy)
        torch.testing.assert_close(expected, greedy)


def test_greed_takes_the_first_key_above_one_half_and_never_goes_back():
    energies = random(50, 6, 5, seed=2)
    mask = random(50, 5, seed=3) > -1
    alignment = torch.zeros(50, 5, dtype=torch.float64)
    alignment[:, 0] = 1.0
    wanted = [followed(((e > 0) & m).tolist()) for e, m in zip(energies, mask, strict=True)]
    for step in range(6):
        alignment = greedy_alignment(energies[:, step], alignment, mask)
        for row, stops in zip(alignment.tolist(), wanted, strict=True):
            assert row == [float(j == stops[step]) for j in range(5)]


def test_who_passed_the_last_key_by_looks_nowhere_any_more():
    mechanism = Monotonic(offset=0.0).eval()
    mask = torch.ones(1, 3, dtype=torch.bool)
    state, looked = mechanism.start(mask), []
    for scores in ([-1.0, 2.0, 3.0], [9.0, -1.0, -1.0], [9.0, 9.0, 9.0]):
        found = mechanism.step(torch.zeros(1, 1), torch.tensor([scores]), mask, state)
        state = found.state
        looked.append(found.weights[0].tolist())
    assert looked == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_offset_is_learned_and_added_to_every_score():
    mechanism = Monotonic(offset=-2.0, noise=0.0).double()
    mask = torch.ones(2, 4, dtype=torch.bool)
    scores = random(2, 4)
    found = mechanism.step(scores, scores, mask, mechanism.start(mask))
    torch.testing.assert_close(found.weights, expected_alignments(scores[:, None] - 2.0)[:, 0])
    (gradient,) = torch.autograd.grad(found.weights.sum(), list(mechanism.parameters()))
    assert gradient > 0


def test_noise_is_on_the_scores_in_training_only():
    mechanism = Monotonic(offset=0.0, noise=2.0)
    mask = torch.ones(20_000, 1, dtype=torch.bool)
    scores = torch.full((20_000, 1), 0.5)
    source = torch.Generator().manual_seed(0)
    found = mechanism.step(scores, scores, mask, mechanism.start(mask), generator=source)
    energies = torch.logit(found.weights.double())
    assert energies.mean().item() == pytest.approx(0.5, abs=0.06)
    assert energies.std().item() == pytest.approx(2.0, abs=0.06)
    assert (mechanism.eval().step(scores, scores, mask, mechanism.start(mask)).weights == 1).all()


@pytest.mark.parametrize("window", [1, 2, 3, 9])
def test_a_chunk_spreads_what_is_taken_at_its_end(window):
    alignment, scores = random(3, 6).softmax(-1), random(3, 6, seed=1)
    mask = torch.arange(6) < torch.tensor([6, 4, 5])[:, None]
    mask[2, 1] = False
    alignment = alignment * mask
    expected = torch.zeros(3, 6, dtype=torch.float64)
    for row in range(3):
        for end in range(6):
            chunk = [k for k in range(max(end - window + 1, 0), end + 1) if mask[row, k]]
            total = sum(scores[row, k].exp() for k in chunk)
            for k in chunk:
                expected[row, k] += alignment[row, end] * scores[row, k].exp() / total
    torch.testing.assert_close(chunkwise(alignment, scores, window, mask), expected)


def test_chunks_of_large_scores_stay_finite():
    weights = chunkwise(torch.eye(4), torch.tensor([1e4, -1e4, 1e4, 0.0]).expand(4, 4), 2)
    assert weights.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


def test_a_chunk_of_one_key_is_plain_monotonic_attention():
    mask = torch.ones(2, 4, dtype=torch.bool)
    plain, chunked = Monotonic(noise=0.0), MoChA(1, noise=0.0)
    states = plain.start(mask), chunked.start(mask)
    for step in range(3):
        scores = random(2, 4, seed=step, dtype=torch.float32)
        one = plain.step(scores, scores, mask, states[0])
        other = chunked.step(scores, scores, mask, states[1], chunk_scores=scores.flip(0))
        torch.testing.assert_close(one.weights, other.weights)
        states = one.state, other.state


def test_a_step_goes_on_from_where_the_chunk_ended_not_from_where_it_began():
    mechanism = MoChA(3, offset=0.0).eval()
    mask = torch.ones(1, 4, dtype=torch.bool)
    state = mechanism.start(mask)
    chunk = torch.zeros(1, 4)
    first = mechanism.step(chunk, torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), mask, state, chunk_scores=chunk)
    torch.testing.assert_close(first.weights, torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0.0]]))
    second = mechanism.step(chunk, torch.ones(1, 4), mask, first.state, chunk_scores=chunk)
    torch.testing.assert_close(second.weights, first.weights)


def test_all_steps_at_once_have_the_gradient_of_finite_differences():
    energies, mask = random(2, 3, 4).requires_grad_(), torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1]]).bool()
    scores = random(2, 3, 4, seed=1).requires_grad_()

    def run(energies: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        alignment = expected_alignments(energies, mask)
        return alignment, chunkwise(alignment, scores, 2, mask[:, None])

    assert torch.autograd.gradcheck(run, (energies, scores))


def test_a_key_mask_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"key_mask \(…, K\)\. Got \(2, 3, 4\) and \(2, 3\)"):
        expected_alignments(random(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))

"""Local attention against its formulas, written out key by key."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from regard.nn.local import LocalMonotonic, LocalPredictive, around, around_predicted, lengths_of

K = 7


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(
    scores: list[float], shown: list[bool], position: float, window: int, gaussian: bool
) -> list[float]:
    inside = [s for s in range(len(scores)) if shown[s] and abs(s - position) <= window]
    total = sum(math.exp(scores[s]) for s in inside)
    weights = [0.0] * len(scores)
    for s in inside:
        deviation = window / 2
        favour = math.exp(-((s - position) ** 2) / (2 * deviation**2)) if gaussian else 1.0
        weights[s] = math.exp(scores[s]) / total * favour
    return weights


@pytest.mark.parametrize("gaussian", [False, True])
def test_weights_are_those_of_the_formula(gaussian):
    scores, position = random(4, K), torch.tensor([0.0, 2.3, 6.6, 3.5], dtype=torch.float64)
    mask = torch.arange(K) < torch.tensor([7, 4, 7, 0])[:, None]
    found = (around_predicted if gaussian else around)(scores, position, 2, mask)
    for row in range(4):
        expected = by_hand(scores[row].tolist(), mask[row].tolist(), float(position[row]), 2, gaussian)
        torch.testing.assert_close(found[row], torch.tensor(expected, dtype=torch.float64))


def test_local_m_moves_on_by_one_key_a_step_and_stays_at_the_last():
    mechanism = LocalMonotonic(1)
    mask = torch.arange(K) < torch.tensor([4, 7])[:, None]
    state = mechanism.start(mask)
    for step in range(6):
        scores = random(2, K, seed=step)
        found = mechanism.step(scores, scores, mask, state)
        state = found.state
        for row, last in enumerate((3, 6)):
            expected = by_hand(scores[row].tolist(), mask[row].tolist(), min(step, last), 1, False)
            torch.testing.assert_close(found.weights[row], torch.tensor(expected, dtype=torch.float64))


@torch.no_grad()
def test_local_p_looks_where_its_query_says():
    torch.manual_seed(0)
    mechanism = LocalPredictive(5, 2).double()
    query, scores = random(3, 5), random(3, K, seed=1)
    mask = torch.arange(K) < torch.tensor([7, 4, 1])[:, None]
    found = mechanism.step(query, scores, mask, mechanism.start(mask)).weights
    for row, length in enumerate((7, 4, 1)):
        hidden = torch.tanh(mechanism.hidden.weight @ query[row])
        position = length * torch.sigmoid(mechanism.direction @ hidden)
        expected = by_hand(scores[row].tolist(), mask[row].tolist(), float(position), 2, True)
        torch.testing.assert_close(found[row], torch.tensor(expected, dtype=torch.float64))


def test_the_position_is_learned_through_the_gaussian():
    scores, position = random(4, K), torch.tensor([0.2, 2.3, 6.6, 3.6], dtype=torch.float64)
    mask = torch.arange(K) < torch.tensor([7, 4, 7, 0])[:, None]
    inputs = scores.requires_grad_(), position.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, p: around_predicted(s, p, 2, mask), inputs)
    (gradient,) = torch.autograd.grad(around_predicted(*inputs, 2, mask)[:, 3].sum(), position)
    assert gradient[1] > 0 and gradient[3] == 0  # the second row's key 3 lies to the right of 2.3


def test_positions_of_sentences_of_hundreds_of_words_are_told_apart_under_autocast():
    torch.manual_seed(0)
    mechanism = LocalPredictive(1, 1)
    with torch.no_grad():
        mechanism.hidden.weight.fill_(1.0)
        mechanism.direction.fill_(1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        position = mechanism.position(torch.tensor([[0.5]]), torch.tensor([1000]))
    assert position.dtype == torch.float32
    assert position.item() == pytest.approx(1000 / (1 + math.exp(-math.tanh(0.5))), abs=0.01)


def test_lengths_reach_to_the_last_key_that_is_shown():
    mask = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    assert lengths_of(mask).tolist() == [3, 0, 4]
    assert lengths_of(mask[:, :0]).tolist() == [0, 0, 0]

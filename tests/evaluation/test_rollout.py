"""Rollout and flow against their definitions: paths summed one by one, and another library's maximum flow."""

import itertools

import numpy as np
import pytest

from regard.errors import InputError, ShapeError
from regard.evaluation.rollout import flow, rollout


def some_weights(layers, heads, size, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(size), size=(layers, heads, size))


def test_rollout_is_the_sum_over_all_paths():
    weights = some_weights(3, 2, 4)
    mixed = weights.mean(1) / 2 + np.eye(4) / 2
    expected = np.zeros((4, 4))
    for last, middle, first, given in itertools.product(range(4), repeat=4):
        expected[last, given] += mixed[2, last, middle] * mixed[1, middle, first] * mixed[0, first, given]
    np.testing.assert_allclose(rollout(weights), expected)
    np.testing.assert_allclose(rollout(weights).sum(-1), 1)


def test_with_all_past_attention_nothing_moves():
    np.testing.assert_allclose(rollout(some_weights(3, 2, 4), residual=1.0), np.eye(4))


def test_flow_is_the_maximum_flow_that_another_library_finds():
    networkx = pytest.importorskip("networkx")
    weights = some_weights(2, 2, 3)
    mixed = weights.mean(1) / 2 + np.eye(3) / 2
    graph = networkx.DiGraph()
    for layer, query, key in itertools.product(range(2), range(3), range(3)):
        graph.add_edge((layer, key), (layer + 1, query), capacity=mixed[layer, query, key])
    found = flow(weights)
    for position, given in itertools.product(range(3), range(3)):
        expected = networkx.maximum_flow_value(graph, (0, given), (2, position))
        assert found[position, given] == pytest.approx(expected, abs=1e-4)


def test_what_cannot_be_rolled_out_says_why():
    with pytest.raises(ShapeError, match=r"\(L, H, Q, Q\)"):
        rollout(np.ones((2, 3, 4)))
    with pytest.raises(InputError, match="finite and not below 0"):
        flow(np.full((1, 1, 2, 2), np.nan))
    with pytest.raises(InputError, match="residual is a share from 0 to 1; got 2"):
        flow(some_weights(1, 1, 2), residual=2)

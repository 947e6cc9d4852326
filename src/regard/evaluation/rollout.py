"""How much of each input reaches each position through all layers, if attention were all there is.

Source: Abnar and Zuidema 2020, "Quantifying attention flow in transformers", arXiv:2005.00928.
"""

from __future__ import annotations

import numpy as np

from regard.errors import InputError, ShapeError

__all__ = ["flow", "rollout"]

SCALE = 2**20
"""Capacities are whole numbers to the library: so many make one."""


def rollout(weights: np.ndarray, *, residual: float = 0.5) -> np.ndarray:
    """Weights multiplied through the layers, the way past attention counted in.

    Args:
        weights: (L, H, Q, Q), of a text at itself, from the first layer to the last.
        residual: the share of each position that goes past attention, from 0 to 1; 0.5 in the paper.

    Returns:
        (Q, Q): how much of each input there is in each position after the last layer; rows that always look
        somewhere add up to 1.

    Raises:
        ShapeError, InputError: weights of another form, or a share that is none.

    Source:
        Abnar and Zuidema 2020, eq. 1 and section 3.
    """
    mixed = _mixed("rollout", weights, residual)
    found = mixed[0]
    for layer in mixed[1:]:
        found = layer @ found
    return found


def flow(weights: np.ndarray, *, residual: float = 0.5) -> np.ndarray:
    """The most that can flow from each input to each position, with weights as the widths of the pipes.

    Args:
        weights, residual: as for `rollout`.

    Returns:
        (Q, Q): the maximum flow from each input (column) to each position after the last layer (row).

    Raises:
        ShapeError, InputError: as `rollout`, or scipy is not installed.

    Source:
        Abnar and Zuidema 2020, section 3.
    """
    try:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_flow
    except ImportError:
        raise InputError("flow(): maximum flows need scipy: pip install scipy.") from None
    mixed = _mixed("flow", weights, residual)
    layers, size, _ = mixed.shape
    above, query, key = np.nonzero(mixed)
    widths = np.rint(mixed[above, query, key] * SCALE).astype(np.int32)
    # From position key of one layer to position query of the next.
    nodes = (layers + 1) * size
    pipes = csr_array((widths, (above * size + key, (above + 1) * size + query)), shape=(nodes, nodes))
    found = np.zeros((size, size), np.float32)
    for position in range(size):
        for given in range(size):
            value = maximum_flow(pipes, given, layers * size + position).flow_value
            found[position, given] = value / SCALE
    return found


def _mixed(function: str, weights: np.ndarray, residual: float) -> np.ndarray:
    """(L, Q, Q): the heads' mean and the way past them."""
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 4 or weights.shape[2] != weights.shape[3] or not weights.size:
        raise ShapeError(
            f"{function}(): weights are (L, H, Q, Q), of one text at itself; got {weights.shape}."
        )
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise InputError(f"{function}(): weights are finite and not below 0.")
    if not 0 <= residual <= 1:
        raise InputError(f"{function}(): residual is a share from 0 to 1; got {residual}.")
    return (1 - residual) * weights.mean(axis=1) + residual * np.eye(weights.shape[-1])

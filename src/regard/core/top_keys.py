"""The keys a query looks at most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import is_numpy_namespace

from regard.core.arrays import Array, Namespace
from regard.core.shapes import Inputs
from regard.core.summaries import Parts, Rows, Statistic, joined, padded

CHUNK = 128


@dataclass(frozen=True, eq=False)
class TopKeys:
    """The largest weights of each query, the largest first, and of several alike the first key first.

    Attributes:
        indices: (…, Q, k), the keys from 0 to K − 1; −1 where no further key has any weight.
        weights: (…, Q, k), from 0 to 1; 0 where no further key has any.
    """

    indices: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class TopWeights(Statistic):
    """The k largest weights of each query and their keys."""

    k: int

    def part(self, rows: Rows) -> tuple[Array, ...]:
        xp, k = rows.xp, min(self.k, rows.weights.shape[-1])
        find = _largest_of_many if is_numpy_namespace(xp) else _largest
        keys, weights = find(xp, rows.weights, k)
        keys = xp.where(weights > 0, keys + rows.first, -1)
        missing = self.k - k
        return padded(xp, keys + 1, 0, missing) - 1, padded(xp, weights, 0, missing)

    def join(self, parts: Parts, inputs: Inputs, step: int) -> TopKeys:
        keys, weights = (joined(inputs.xp, arrays, -2) for arrays in zip(*parts, strict=True))
        return TopKeys(inputs.out(keys, -2), inputs.out(weights, -2))


def _largest(xp: Namespace, weights: Array, k: int) -> tuple[Array, Array]:
    order = xp.argsort(weights, axis=-1, descending=True, stable=True)[..., :k]
    return order, xp.take_along_axis(weights, order, axis=-1)


def _largest_of_many(xp: Namespace, weights: Array, k: int) -> tuple[Array, Array]:
    """The same for NumPy's arrays, without sorting whole rows.

    A row's k largest weights are not below the k-th largest of the maxima of its chunks, and few weights are
    that large.
    """
    keys = weights.shape[-1]
    if not k or keys < 2 * k * CHUNK:
        return _largest(xp, weights, k)
    rows = np.reshape(weights, (-1, keys))
    whole = keys - keys % CHUNK
    maxima = rows[:, :whole].reshape(len(rows), -1, CHUNK).max(-1)
    least = np.partition(maxima, -k, axis=-1)[:, -k, None]
    row, key = np.nonzero((rows >= least) & (rows > 0))
    counts = np.bincount(row, minlength=len(rows))
    if len(row) > CHUNK * len(rows) or np.isnan(least).any() or (counts < k).any():
        return _largest(xp, weights, k)
    found = rows[row, key]
    order = np.lexsort((key, -found, row))
    starts = np.cumsum(counts) - counts
    best = order[starts[:, None] + np.arange(k)]
    shape = (*weights.shape[:-1], k)
    return key[best].reshape(shape), found[best].reshape(shape)

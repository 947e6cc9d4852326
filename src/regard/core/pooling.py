"""A map of weights made small: the mean and the largest weight of each of its rectangles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

from array_api_compat import device

from regard.core.arrays import Array, Namespace
from regard.core.shapes import Inputs
from regard.core.summaries import Parts, Rows, Statistic, joined, padded


@dataclass(frozen=True, eq=False)
class PooledMap:
    """What the rectangles of a map hold.

    Attributes:
        mean: (…, ⌈Q / rows⌉, ⌈K / columns⌉), the average weight of each.
        max: the same shape, the largest weight of each.
    """

    mean: Array
    max: Array


@dataclass(frozen=True, eq=False)
class Pooled(Statistic):
    """The map in rectangles of ``rows`` queries and ``columns`` keys; the last ones may be smaller.

    A part is pooled over as many queries as fit both a rectangle and a part, which the rest is done with when
    the parts are together.
    """

    rows: int
    columns: int

    def part(self, rows: Rows) -> tuple[Array, ...]:
        xp, height = rows.xp, self._height(rows.step, rows.queries)
        skipped = rows.first % self.columns
        before = rows.first // self.columns
        after = (
            -(-rows.keys // self.columns) - before - -(-(skipped + rows.weights.shape[-1]) // self.columns)
        )
        found = []
        for pool in (xp.sum, xp.max):
            cells = _pooled(xp, pool, rows.weights, -2, height)
            cells = _pooled(xp, pool, padded(xp, cells, skipped, 0), -1, self.columns)
            found.append(padded(xp, cells, before, after))
        return tuple(found)

    def join(self, parts: Parts, inputs: Inputs, step: int) -> PooledMap:
        xp, (queries, keys) = inputs.xp, inputs.scores_shape[-2:]
        left = self.rows // self._height(step, queries)
        sums, largest = (joined(xp, arrays, -2) for arrays in zip(*parts, strict=True))
        sums, largest = _pooled(xp, xp.sum, sums, -2, left), _pooled(xp, xp.max, largest, -2, left)
        high = _sizes(xp, queries, self.rows, sums)
        wide = _sizes(xp, keys, self.columns, sums)
        return PooledMap(sums / (high[:, None] * wide), largest)

    def _height(self, step: int, queries: int) -> int:
        return self.rows if step >= queries else gcd(self.rows, step)


def _pooled(xp: Namespace, pool: Callable[..., Array], array: Array, axis: int, size: int) -> Array:
    """The array with each ``size`` neighbours on an axis, counted from the end, pooled into one."""
    if size == 1:
        return array
    array = padded(xp, array, 0, -array.shape[axis] % size, axis)
    shape = tuple(array.shape)
    after = shape[len(shape) + axis + 1 :]
    return pool(xp.reshape(array, (*shape[:axis], shape[axis] // size, size, *after)), axis=axis)


def _sizes(xp: Namespace, whole: int, size: int, like: Array) -> Array:
    """How many lie in each piece when so many are cut into pieces of a size."""
    starts = xp.arange(0, whole, size, dtype=like.dtype, device=device(like))
    return xp.minimum(whole - starts, xp.full_like(starts, size))

"""Softmax of dot products on NumPy's arrays, written over and over into one piece of memory.

NumPy makes a new array for each step, and at some thousand keys most of the time goes into fetching fresh
memory for it. Here the scores of some queries become their shares, and these their weights, where they are.
"""

from __future__ import annotations

import math
import os

import numpy as np
from array_api_compat import is_numpy_namespace

from regard.core import nonfinite, normalizers, scores
from regard.core.arrays import Array
from regard.core.constraints import Constraints
from regard.core.normalizers import Normalizer
from regard.core.scores import Score
from regard.core.shapes import Inputs

SMALL_PRODUCT = 2**18
MOST_QUERIES = 64
MOST_THREADS = 8
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def fits(inputs: Inputs, score: Score, normalizer: Normalizer) -> bool:
    """Whether this is what a `Buffer` computes: a plain one, of numbers that are all finite."""
    return (
        is_numpy_namespace(inputs.xp)
        and (score is scores.dot or score is scores.scaled_dot)
        and normalizer is normalizers.softmax
        and not nonfinite.suspected(inputs.xp, inputs.query, inputs.keys, inputs.values)
    )


def workers() -> int:
    """How many threads look at once: one a processor, but no more than were allowed to linear algebra."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    limits += [int(found) for name in THREAD_LIMITS if (found := os.environ.get(name, "")).isdecimal()]
    return max(min(*limits, MOST_THREADS), 1)


class Buffer:
    """Room for the scores of some queries, used for one part of the queries after the other.

    Args:
        score: scores.dot or scores.scaled_dot.
        limits: who may look where; among what.
    """

    def __init__(self, score: Score, limits: Constraints) -> None:
        self.inputs, self.limits = limits.inputs, limits
        *self.leading, _, self.count = self.inputs.scores_shape
        # The score says what does not fit, by a look at no query.
        score(self.inputs.query[..., :0, :], self.inputs.keys)
        width = max(self.inputs.query.shape[-1], 1)
        self.scale = 1 / math.sqrt(width) if score is scores.scaled_dot else None
        self.room = np.empty(0, self.inputs.query.dtype)

    def look(self, start: int, queries: int, first: int, end: int) -> BufferedLook:
        """Let some queries look at the keys in their reach.

        Args:
            start, queries: the first of the queries, and their number.
            first, end: the first of the keys, and the one after the last.
        """
        query = self.inputs.query[..., start : start + queries, :]
        if self.scale is not None:
            query = query * query.dtype.type(self.scale)
        shape = (*self.leading, queries, end - first)
        if self.room.size < math.prod(shape):
            self.room = np.empty(math.prod((*self.leading, queries, self.count)), query.dtype)
        found = self.room[: math.prod(shape)].reshape(shape)
        _score(query, self.inputs.keys[..., first:end, :], found)
        visible, bias = self.limits.part(start, queries, first, end, positions=False)
        if bias is not None:
            found += bias
        if visible is not None:
            np.copyto(found, -math.inf, where=~visible)
        self._hide_by_position(found, start, queries, first, end)
        return BufferedLook(found, self.inputs.values[..., first:end, :])

    def _hide_by_position(self, found: Array, start: int, queries: int, first: int, end: int) -> None:
        seen_first, seen_end = self.limits.keys_seen_by_all(start, queries)
        for left, right in ((first, min(seen_first, end)), (max(seen_end, first), end)):
            for mask in self.limits.by_position(start, queries, left, right) if left < right else ():
                np.copyto(found[..., left - first : right - first], -math.inf, where=~mask)


class BufferedLook:
    """What some queries find. The weights lie in memory that the next look writes over.

    Args:
        scores: (…, R, k), −∞ where hidden; written over.
        values: (…, k, V).
    """

    def __init__(self, scores: Array, values: Array) -> None:
        largest = np.finfo(scores.dtype).max
        highest = scores.max(axis=-1, keepdims=True, initial=-math.inf)
        if np.any(highest > largest):
            # An infinite score counts as the largest finite one, so that such keys share alike.
            np.minimum(scores, largest, out=scores)
            highest = np.minimum(highest, largest)
        self.empty = highest == -math.inf
        self.highest = np.where(self.empty, 0, highest)
        scores -= self.highest
        self.shares, self.values = np.exp(scores, out=scores), values
        self.total = np.where(self.empty, 1, self.shares.sum(axis=-1, keepdims=True))
        self.divided = False

    def context(self) -> Array:
        """The average of the values, (…, R, V)."""
        found = _average(self.shares, self.values)
        return found if self.divided else np.divide(found, self.total, out=found)

    def weights(self) -> Array:
        """How much each query takes of each value, (…, R, k)."""
        if not self.divided:
            self.shares /= self.total
            self.divided = True
        return self.shares

    def log_normalizer(self) -> Array:
        """log Σ exp(score), (…, R)."""
        return np.where(self.empty, -math.inf, self.highest + np.log(self.total))[..., 0]


def _score(query: Array, keys: Array, out: Array) -> None:
    """Write query · keys, (…, R, k), in blocks small enough for one thread."""
    block = _block(*query.shape[-2:])
    whole = keys.shape[-2] - keys.shape[-2] % block
    pieces = _split(keys[..., :whole, :], -2, block)
    np.matmul(query[..., None, :, :], pieces.swapaxes(-1, -2), out=_across(out[..., :whole], block))
    np.matmul(query, keys[..., whole:, :].swapaxes(-1, -2), out=out[..., whole:])


def _average(shares: Array, values: Array) -> Array:
    """shares @ values, (…, R, V), in blocks small enough for one thread."""
    block = _block(shares.shape[-2], values.shape[-1])
    whole = values.shape[-2] - values.shape[-2] % block
    pieces = np.matmul(_across(shares[..., :whole], block), _split(values[..., :whole, :], -2, block))
    return pieces.sum(axis=-3) + shares[..., whole:] @ values[..., whole:, :]


def _block(queries: int, features: int) -> int:
    """How many keys a block has.

    OpenBLAS, which most NumPys come with, starts threads of its own from 2^18 products on, and two parts that
    are computed at once would wait for each other.
    """
    return max(SMALL_PRODUCT // max(queries * features, 1), 1)


def _split(array: Array, axis: int, size: int) -> Array:
    """The array with an axis as two, of blocks and of what is in each."""
    shape = array.shape
    after = shape[len(shape) + axis + 1 :]
    return array.reshape(*shape[:axis], shape[axis] // size, size, *after)


def _across(array: Array, size: int) -> Array:
    """(…, R, k) as blocks of keys, (…, k / size, R, size), in the same memory."""
    return _split(array, -1, size).swapaxes(-3, -2)

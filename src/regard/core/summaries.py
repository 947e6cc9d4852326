"""What a statistic is: worked out for some queries at a time, and put together for the whole map.

No statistic here needs the weights of all queries at once, so that a map can be described which is too large
to be held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, Protocol

from array_api_compat import device

from regard.core import fused
from regard.core.arrays import Array, Namespace, namespace
from regard.core.constraints import Constraints, key_set
from regard.core.shapes import Inputs

Parts = Sequence[tuple[Array, ...]]


class Look(Protocol):
    """What some queries find."""

    def context(self) -> Array: ...

    def weights(self) -> Array: ...

    def log_normalizer(self) -> Array: ...


class Rows:
    """What some queries find among the keys in their reach, and where both stand in the whole map.

    Attributes:
        look: what they find. Their weights on keys out of reach are 0.
        limits: what holds for all queries and keys.
        start, first: which query and which key are the first.
        step: how many queries each part of the map has but the last.
        queries, keys: how many there are in the whole map.
    """

    def __init__(self, look: Look, limits: Constraints, start: Any, first: int, step: int) -> None:
        self.look, self.limits, self.start, self.first, self.step = look, limits, start, first, step
        self.xp = limits.inputs.xp
        self.queries, self.keys = limits.inputs.scores_shape[-2:]

    @classmethod
    def whole(cls, look: Look, limits: Constraints) -> Rows:
        """The whole map as one part."""
        return cls(look, limits, 0, 0, limits.inputs.scores_shape[-2])

    @cached_property
    def weights(self) -> Array:
        """(…, R, k)."""
        return self.look.weights()

    def distances(self, left: int, right: int) -> Array:
        """How far each query stands from the keys left to right of those in reach, in the weights' dtype."""
        place, dtype = device(self.weights), self.weights.dtype
        query = self.xp.arange(self.weights.shape[-2], dtype=dtype, device=place)
        query = query + (self.limits.offset + self.start - self.first)
        return self.xp.abs(self.xp.arange(left, right, dtype=dtype, device=place) - query[:, None])

    def among_all(self, array: Array) -> Array:
        """An array (…, k) of the keys in reach with 0 for all others, (…, K)."""
        return padded(self.xp, array, self.first, self.keys - self.first - array.shape[-1])


@dataclass(frozen=True, eq=False)
class Statistic(ABC):
    """A statistic under the name by which the record holds it."""

    name: str

    @property
    def needs_positions(self) -> bool:
        """Whether it depends on where the queries stand among the keys."""
        return False

    def fitted(self, inputs: Inputs) -> Statistic:
        """The same statistic, once what it was made from is known to fit the inputs."""
        return self

    @abstractmethod
    def part(self, rows: Rows) -> tuple[Array, ...]:
        """What is known from some queries; it shares no memory with their weights."""

    def folded(self, parts: list[tuple[Array, ...]], inputs: Inputs) -> list[tuple[Array, ...]]:
        """Fewer parts that say the same, where each would take as much memory as all together."""
        return parts

    @abstractmethod
    def join(self, parts: Parts, inputs: Inputs, step: int) -> Any:
        """The statistic of the whole map, from its parts in order, of ``step`` queries each but the last."""


@dataclass(frozen=True, eq=False)
class OfQueries(Statistic):
    """A number for each query, (…, Q)."""

    measure: Callable[[Rows], Array]
    by_position: bool = False

    @property
    def needs_positions(self) -> bool:
        return self.by_position

    def part(self, rows: Rows) -> tuple[Array, ...]:
        return (self.measure(rows),)

    def join(self, parts: Parts, inputs: Inputs, step: int) -> Array:
        return inputs.out(joined(inputs.xp, [part[0] for part in parts], -1), -1)


@dataclass(frozen=True, eq=False)
class Mass(Statistic):
    """Each query's weight on some of the keys, (…, Q)."""

    keys: Any

    def fitted(self, inputs: Inputs) -> Mass:
        return replace(self, keys=key_set(inputs, self.name, self.keys))

    def part(self, rows: Rows) -> tuple[Array, ...]:
        keys = self.keys[..., rows.first : rows.first + rows.weights.shape[-1]]
        return (rows.xp.sum(rows.xp.where(keys, rows.weights, 0.0), axis=-1),)

    def join(self, parts: Parts, inputs: Inputs, step: int) -> Array:
        return inputs.out(joined(inputs.xp, [part[0] for part in parts], -1), -1)


@dataclass(frozen=True, eq=False)
class Received(Statistic):
    """What each key gets from all queries, (…, K): the sum or mean of its weights, or the largest."""

    how: str

    def part(self, rows: Rows) -> tuple[Array, ...]:
        xp = rows.xp
        if self.how == "max" and rows.weights.shape[-2]:
            return (rows.among_all(xp.max(rows.weights, axis=-2)),)
        return (rows.among_all(xp.sum(rows.weights, axis=-2)),)

    def folded(self, parts: list[tuple[Array, ...]], inputs: Inputs) -> list[tuple[Array, ...]]:
        found = [part[0] for part in parts]
        if self.how == "max":
            return [(reduce(inputs.xp.maximum, found),)]
        return [(reduce(lambda one, other: one + other, found),)]

    def join(self, parts: Parts, inputs: Inputs, step: int) -> Array:
        ((found,),) = parts
        return found / max(inputs.scores_shape[-2], 1) if self.how == "mean" else found


def entropy(weights: Array) -> Array:
    """How widely each query looks: −Σ_k w_k ln w_k.

    Args:
        weights: (…, Q, K), from 0 to 1.

    Returns:
        (…, Q), in nats, from 0 (one key has it all) to ln K (all alike); 0 for a query that looks nowhere.

    Source:
        Shannon 1948, section 6.
    """
    if (surprise := fused.surprise(weights)) is not None:
        return surprise.sum(-1)
    xp = namespace(weights)
    # 0 − Σ, because −Σ of nothing would be shown as −0.
    return 0.0 - dotted(xp, weights, xp.log(xp.where(weights == 0, 1.0, weights)))


def max_weight(weights: Array) -> Array:
    """The largest weight of each query.

    Args:
        weights: (…, Q, K), from 0 to 1.

    Returns:
        (…, Q), from 0 to 1; 0 for a query that looks nowhere.
    """
    xp = namespace(weights)
    return xp.max(weights, axis=-1) if weights.shape[-1] else xp.sum(weights, axis=-1)


def argmax(weights: Array) -> Array:
    """The key each query looks at most.

    Args:
        weights: (…, Q, K), from 0 to 1.

    Returns:
        (…, Q), integers from 0 to K − 1, the first of several alike; −1 for a query that looks nowhere.
    """
    xp = namespace(weights)
    nowhere = max_weight(weights) == 0
    if not weights.shape[-1]:
        return xp.astype(nowhere, int) * -1
    return xp.where(nowhere, -1, xp.argmax(weights, axis=-1))


def argmax_of(rows: Rows) -> Array:
    """`argmax`, counted among all keys."""
    found = argmax(rows.weights)
    return rows.xp.where(found < 0, found, found + rows.first)


def mean_distance(rows: Rows) -> Array:
    """How far each query looks: Σ_k w_k |p − k|, where p is the query's own position."""
    if rows.limits.causal and isinstance(rows.start, int):
        return _distance_back(rows)
    return dotted(rows.xp, rows.weights, rows.distances(0, rows.weights.shape[-1]))


def _distance_back(rows: Rows) -> Array:
    """The same where no key lies behind the query: Σ_k w_k (p − k), as one product with two columns."""
    queries, keys = rows.weights.shape[-2:]
    place, dtype = device(rows.weights), rows.weights.dtype
    # Counted back from the last query, so that near keys have small numbers.
    last = rows.limits.offset + rows.start - rows.first + queries - 1
    back = last - rows.xp.arange(keys, dtype=dtype, device=place)
    told = rows.weights @ rows.xp.stack([back, rows.xp.ones_like(back)], axis=-1)
    behind = rows.xp.arange(queries - 1, -1, -1, dtype=dtype, device=place)
    # What is nearer than the last place can tell is no distance below 0.
    return rows.xp.maximum(told[..., 0] - behind * told[..., 1], rows.xp.zeros_like(told[..., 0]))


def window_mass_of(size: int) -> Callable[[Rows], Array]:
    """Each query's weight on the keys less than ``size`` positions away from its own."""

    def measure(rows: Rows) -> Array:
        queries, right = rows.weights.shape[-2:]
        left = 0
        if isinstance(rows.start, int):
            nearest = (rows.limits.offset or 0) + rows.start - rows.first
            left, right = max(nearest - size + 1, 0), min(nearest + queries + size - 1, right)
        near = rows.distances(left, max(left, right)) < size
        weights = rows.weights[..., left : max(left, right)]
        return rows.xp.sum(rows.xp.where(near, weights, 0.0), axis=-1)

    return measure


def first_mass(rows: Rows) -> Array:
    """Each query's weight on the first key."""
    return rows.xp.sum(rows.weights[..., : 0 if rows.first else 1], axis=-1)


def dotted(xp: Namespace, one: Array, other: Array) -> Array:
    """Σ_k one_k · other_k over the last axis, without holding the products."""
    return xp.vecdot(one, xp.broadcast_to(other, one.shape), axis=-1)


def joined(xp: Namespace, arrays: Sequence[Array], axis: int) -> Array:
    """The arrays one after the other; a single one as it is."""
    return arrays[0] if len(arrays) == 1 else xp.concat(list(arrays), axis=axis)


def padded(xp: Namespace, array: Array, before: int, after: int, axis: int = -1) -> Array:
    """The array with so many zeros before and after it on one axis, itself where there are none."""
    if not before and not after:
        return array

    def zeros(size: int) -> list[Array]:
        shape = list(array.shape)
        shape[axis] = size
        return [xp.zeros(tuple(shape), dtype=array.dtype, device=device(array))] if size else []

    return xp.concat([*zeros(before), array, *zeros(after)], axis=axis)

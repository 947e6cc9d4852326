"""All that hides a key from a query, checked before anything is computed and combined into one mask.

Only here is decided whether a query may look anywhere: a row can be emptied by several masks none of which
would empty it alone. What goes by position is worked out for those queries and keys that are asked for, so
that no mask of all queries and keys is made but one that was handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
from array_api_compat import device

from regard.core import masks
from regard.core.arrays import Array, as_array, beside
from regard.core.dtypes import cast, dtype_name, wide
from regard.core.options import Options
from regard.core.shapes import Inputs, Shape, fits
from regard.errors import DtypeError, InputError, ShapeError


@dataclass(frozen=True)
class Constraints:
    """Who may look where, for any part of the queries and the keys.

    offset is the position of the first query among the keys, None where nothing goes by position; mask
    (…, Q or 1, K or 1), key_mask (…, 1, K or 1) and bias (…, Q or 1, K or 1) are None where there are none.
    """

    inputs: Inputs
    offset: int | None = None
    causal: bool = False
    window: int | None = None
    mask: Array | None = None
    key_mask: Array | None = None
    bias: Array | None = None

    def whole(self) -> tuple[Array | None, Array | None]:
        """Who may look where, and what is added to the scores, for all queries and keys: as `part`."""
        queries, keys = self.inputs.scores_shape[-2:]
        return self.part(0, queries, 0, keys)

    def keys_in_reach(self, start: int, queries: int) -> tuple[int, int]:
        """The first key that one of these queries may see by its position, and the one after the last."""
        keys = self.inputs.scores_shape[-1]
        first, end = 0, keys
        if self.offset is not None:
            nearest, farthest = self.offset + start, self.offset + start + queries - 1
            if self.window is not None:
                first, end = nearest - self.window + 1, farthest + self.window
            if self.causal:
                end = min(end, farthest + 1)
        first = min(max(first, 0), keys)
        return first, max(min(end, keys), first)

    def part(
        self, start: Any, queries: int, first: int, end: int, *, positions: bool = True
    ) -> tuple[Array | None, Array | None]:
        """Who may look where among some queries and keys, and what is added to their scores.

        Args:
            start, queries: the first of the queries, which `jax.lax.map` counts for itself, and their number.
            first, end: the first of the keys, and the one after the last.
            positions: whether to count what goes by position.

        Returns:
            visible: booleans (…, Q or 1, K), axes in front 1 or missing where all are alike; None where
                nothing is hidden. A bias of −∞ hides.
            bias: in the dtype of the scores; None where there is none.
        """
        found = self.by_position(start, queries, first, end) if positions else []
        if self.mask is not None:
            found.append(_cut(self.mask, start, queries, first, end))
        if self.key_mask is not None:
            found.append(_cut(self.key_mask, start, queries, first, end))
        bias = None
        if self.bias is not None:
            bias = _cut(self.bias, start, queries, first, end)
            found.append(bias != -math.inf)
        if not found:
            return None, None
        visible = reduce(and_, found)
        return self.inputs.xp.broadcast_to(visible, (*tuple(visible.shape)[:-1], end - first)), bias

    def by_position(self, start: Any, queries: int, first: int, end: int) -> list[Array]:
        """What positions alone say about some queries and keys: as many masks of them as hide some."""
        seen_first, seen_end = self.keys_seen_by_all(start, queries) if isinstance(start, int) else (0, 0)
        if self.offset is None or seen_first <= first < end <= seen_end:
            return []
        xp, place = self.inputs.xp, device(self.inputs.query)
        key = xp.arange(first, end, device=place)
        distance = xp.arange(queries, device=place)[:, None] + (self.offset + start) - key
        found = [distance >= 0] if self.causal else []
        if self.window is not None:
            found.append((distance < self.window) & (distance > -self.window))
        return found

    def keys_seen_by_all(self, start: int, queries: int) -> tuple[int, int]:
        """The first key that positions hide from none of these queries, and the one after the last."""
        keys = self.inputs.scores_shape[-1]
        first, end = 0, keys
        if self.offset is not None:
            nearest, farthest = self.offset + start, self.offset + start + queries - 1
            if self.window is not None:
                first, end = farthest - self.window + 1, nearest + self.window
            if self.causal:
                end = min(end, nearest + 1)
        first = min(max(first, 0), keys)
        return first, max(min(end, keys), first)


def combine(inputs: Inputs, options: Options, *, positions: bool = False) -> Constraints:
    """Check all that hides or favours keys, and bring it into one form.

    Args:
        inputs: what the constraints are for.
        options: what hides, what favours, and where the queries stand.
        positions: whether somebody else needs to know where the queries stand.

    Raises:
        ShapeError: one of them does not fit the scores; more queries than keys and no query_offset.
        DtypeError: a mask of numbers, a bias of booleans, a causal that is no boolean.
        InputError: a window or a query_offset that cannot be meant.
    """
    _, _, mask, key_mask, bias, causal, window, query_offset, _ = options
    where = f"{inputs.function}()"
    if not isinstance(causal, bool | np.bool_):
        raise DtypeError(f"{where}: causal is True or False; a mask goes to mask=. Got {causal!r}.")
    if window is not None:
        window = masks.window_size(window)
    if causal or window is not None or positions:
        offset = masks.first_position(where, inputs.scores_shape[-2], inputs.scores_shape[-1], query_offset)
    elif query_offset is not None:
        raise InputError(
            f"{where}: query_offset says where the first query stands among the keys; "
            "it needs causal=True or window=, or a statistic that measures distances."
        )
    else:
        offset = None
    return Constraints(
        inputs,
        offset,
        bool(causal),
        window,
        None if mask is None else _mask(inputs, mask),
        None if key_mask is None else key_set(inputs, "key_mask", key_mask),
        None if bias is None else _bias(inputs, bias),
    )


def key_set(inputs: Inputs, name: str, keys_in: Any) -> Array:
    """Booleans (…, K) as (…, 1, K); their leading axes count from the first, so (B, K) is one a text."""
    where = f"{inputs.function}()"
    found = as_array(where, name, keys_in)
    masks.require_boolean(where, name, found)
    found = beside(where, name, found, inputs.query)
    *leading, keys = inputs.scores_shape[:-2] + inputs.scores_shape[-1:]
    shape = tuple(found.shape)
    if inputs.group > 1 and len(shape) == len(leading) + 1 and shape[-2] * inputs.group == leading[-1]:
        found = inputs.xp.repeat(found, inputs.group, axis=-2)
        shape = tuple(found.shape)
    *own, last = shape or (0,)
    if (
        last != keys
        or len(own) > len(leading)
        or any(a not in (1, b) for a, b in zip(own, leading, strict=False))
    ):
        form = ", ".join(str(size) for size in (*leading, keys))
        raise ShapeError(
            f"{where}: {name} must be ({form}), or have fewer axes before the last, or axes of size 1; "
            f"a mask with an axis of queries goes to mask=. Got {tuple(found.shape)}."
        )
    missing = len(leading) - len(own)
    return inputs.xp.reshape(found, (*own, *(1,) * missing, 1, keys))


def _mask(inputs: Inputs, mask: Any) -> Array:
    where = f"{inputs.function}()"
    mask = as_array(where, "mask", mask)
    masks.require_boolean(where, "mask", mask)
    _require_fit(inputs, "mask", mask.shape)
    return _with_queries(beside(where, "mask", mask, inputs.query))


def _bias(inputs: Inputs, bias: Any) -> Array:
    where = f"{inputs.function}()"
    bias = as_array(where, "bias", bias)
    if dtype_name(bias) == "bool":
        raise DtypeError(f"{where}: bias is added to the scores and must be numbers; booleans go to mask=.")
    _require_fit(inputs, "bias", bias.shape)
    bias = wide(where, "bias", beside(where, "bias", bias, inputs.query))
    return _with_queries(cast(bias, inputs.query.dtype))


def _with_queries(array: Array) -> Array:
    return array[None, :] if array.ndim == 1 else array


def _cut(array: Array, start: Any, queries: int, first: int, end: int) -> Array:
    """The part of an array (…, Q or 1, K or 1) that belongs to some queries and keys."""
    if array.shape[-2] != 1:
        array = take_rows(array, start, queries)
    return array[..., first:end] if array.shape[-1] != 1 else array


def take_rows(array: Array, start: Any, queries: int) -> Array:
    """Some rows (…, queries, D) of an array (…, Q, D), from a row on that `jax.lax.map` may count."""
    if isinstance(start, int):
        return array if queries == array.shape[-2] else array[..., start : start + queries, :]
    import jax

    return jax.lax.dynamic_slice_in_dim(array, start, queries, axis=array.ndim - 2)


def _require_fit(inputs: Inputs, name: str, shape: Shape) -> None:
    if not shape or not fits(shape, inputs.scores_shape):
        raise ShapeError(
            f"{inputs.function}(): {name} must be (…, Q, K), here {inputs.scores_shape}, or have axes of "
            f"size 1{_what_differs(shape, inputs.scores_shape)}. Got {tuple(shape)}."
        )


def _what_differs(shape: Shape, scores_shape: Shape) -> str:
    meanings = {-1: "keys", -2: "queries"}
    for axis in range(-1, -1 - min(len(shape), len(scores_shape)), -1):
        if shape[axis] not in (1, scores_shape[axis]):
            meaning = meanings.get(axis, "in the scores")
            return f"; its axis {axis} is {shape[axis]} but there are {scores_shape[axis]} {meaning}"
    return ""

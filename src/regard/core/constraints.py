"""All that hides a key from a query, combined into one mask before anything is computed.

Only here is decided whether a query may look anywhere: a row can be emptied by masks none of which would
empty it alone.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import and_
from typing import Any

from regard.core import masks
from regard.core.arrays import Array, as_array, beside
from regard.core.dtypes import cast, dtype_name, wide
from regard.core.shapes import Inputs, Shape, fits
from regard.errors import DtypeError, InputError, ShapeError


def combine(
    inputs: Inputs, *, mask: Any, key_mask: Any, bias: Any, causal: bool, window: int | None, query_offset:
    int | None
) -> tuple[Array | None, Array | None]:
    """Who may look where, and what is added to the scores.

    Returns:
        visible: booleans, at least (Q or 1, K), leading axes of size 1 or missing where all are alike; None
            where nothing is hidden. A bias of −∞ hides.
        bias: in the dtype of the scores; None where there is none.

    Raises:
        ShapeError: one of them does not fit the scores.
        DtypeError: a mask of numbers, a bias of booleans.
        InputError: a window or a query_offset that cannot be meant.
    """
    added = None if bias is None else _bias(inputs, bias)
    found = _by_position(inputs, causal, window, query_offset)
    if mask is not None:
        found.append(_mask(inputs, mask))
    if key_mask is not None:
        found.append(_key_mask(inputs, key_mask))
    if added is not None:
        found.append(added != -math.inf)
    if not found:
        return None, None
    visible = reduce(and_, found)
    over_queries = tuple(visible.shape)[:-1] or (1,)
    return inputs.xp.broadcast_to(visible, (*over_queries, inputs.scores_shape[-1])), added


def _bias(inputs: Inputs, bias: Any) -> Array:
    bias = as_array(f"{inputs.function}()", "bias", bias)
    if dtype_name(bias) == "bool":
        raise DtypeError(f"{inputs.function}(): bias is added to the scores and must be numbers. Got bool; booleans go to mask=.")
    _require_fit(inputs, "bias", bias)
    return cast(wide(f"{inputs.function}()", "bias", beside(bias, inputs.query)), inputs.query.dtype)


def _mask(inputs: Inputs, mask: Any) -> Array:
    mask = as_array(f"{inputs.function}()", "mask", mask)
    masks.require_boolean(f"{inputs.function}()", "mask", mask)
    _require_fit(inputs, "mask", mask)
    return beside(mask, inputs.query)


def _key_mask(inputs: Inputs, key_mask: Any) -> Array:
    """The key mask (…, K) as (…, 1, K), its leading axes those of the scores from the first on, so (B, K) is one per text."""
    key_mask = as_array(f"{inputs.function}()", "key_mask", key_mask)
    masks.require_boolean(f"{inputs.function}()", "key_mask", key_mask)
    key_mask = beside(key_mask, inputs.query)
    leading, keys = inputs.scores_shape[:-2], inputs.scores_shape[-1]
    if inputs.group > 1 and len(key_mask.shape) == len(leading) + 1 and key_mask.shape[-2] * inputs.group ==
        leading[-1]: key_mask = inputs.xp.repeat(key_mask, inputs.group, axis=-2)
    own = tuple(key_mask.shape)
    if not own or own[-1] != keys or not fits(own[-2::-1], leading[::-1]):
        raise ShapeError(
            f"{inputs.function}(): key_mask must be (…, {keys}), its first axes those of {leading} or 1. Got
            {own}; " "a mask with an axis of queries goes to mask=."
        )
    return inputs.xp.reshape(key_mask, (*own[:-1], *(1,) * (len(leading) + 1 - len(own[:-1])), keys))


def _by_position(inputs: Inputs, causal: bool, window: int | None, query_offset: int | None) -> list[Array]:
    if query_offset is not None and not causal and window is None:
        raise InputError(
            f"{inputs.function}(): query_offset says where the first query stands among the keys, which
            matters only to " "causal=True or window=. Got neither."
        )
    queries, keys = inputs.scores_shape[-2:]
    found = []
    if causal:
        found.append(masks.causal(queries, keys, query_offset=query_offset, like=inputs.query))
    if window is not None:
        found.append(masks.window(queries, keys, window, query_offset=query_offset, like=inputs.query))
    return found


def _require_fit(inputs: Inputs, name: str, array: Array) -> None:
    shape = tuple(array.shape)
    if not shape or not fits(shape, inputs.scores_shape):
        raise ShapeError(
            f"{inputs.function}(): {name} must be (…, Q, K), each axis that of the scores
            {inputs.scores_shape} or 1" f"{_what_differs(shape, inputs.scores_shape)}. Got {shape}."
        )


def _what_differs(shape: Shape, scores_shape: Shape) -> str:
    meanings = {-1: "keys", -2: "queries"}
    for axis in range(-1, -min(len(shape), len(scores_shape)) - 1, -1):
        if shape[axis] not in (1, scores_shape[axis]):
            meaning = meanings.get(axis, "of the query and the keys")
            return f"; axis {axis} is {shape[axis]}, but there are {scores_shape[axis]} {meaning}"
    return ""


"""All that hides a key from a query, combined into one mask before anything is computed.

Only here is decided whether a query may look anywhere: a row can be emptied by several masks none of which
would empty it alone.
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
    inputs: Inputs,
    *,
    mask: Any,
    key_mask: Any,
    bias: Any,
    causal: bool,
    window: int | None,
    query_offset: int | None,
) -> tuple[Array | None, Array | None]:
    """Who may look where, and what is added to the scores.

    Returns:
        visible: booleans (…, Q or 1, K), axes in front 1 or missing where all are alike; None where nothing
            is hidden. A bias of −∞ hides.
        bias: in the dtype of the scores; None where there is none.

    Raises:
        ShapeError: one of them does not fit the scores.
        DtypeError: a mask of numbers, a bias of booleans.
        InputError: a window or a query_offset that cannot be meant.
    """
    found = _by_position(inputs, causal, window, query_offset)
    if mask is not None:
        found.append(_mask(inputs, mask))
    if key_mask is not None:
        found.append(_key_mask(inputs, key_mask))
    if bias is not None:
        bias = _bias(inputs, bias)
        found.append(bias != -math.inf)
    if not found:
        return None, None
    visible = reduce(and_, found)
    in_front = tuple(visible.shape)[:-1] or (1,)
    return inputs.xp.broadcast_to(visible, (*in_front, inputs.scores_shape[-1])), bias


def _by_position(inputs: Inputs, causal: bool, window: int | None, query_offset: int | None) -> list[Array]:
    if query_offset is not None and not causal and window is None:
        raise InputError(
            f"{inputs.function}(): query_offset says where the first query stands among the keys; "
            "it needs causal=True or window=."
        )
    queries, keys = inputs.scores_shape[-2:]
    found = []
    if causal:
        found.append(masks.causal(queries, keys, query_offset=query_offset, like=inputs.query))
    if window is not None:
        found.append(masks.window(queries, keys, window, query_offset=query_offset, like=inputs.query))
    return found


def _mask(inputs: Inputs, mask: Any) -> Array:
    where = f"{inputs.function}()"
    mask = as_array(where, "mask", mask)
    masks.require_boolean(where, "mask", mask)
    _require_fit(inputs, "mask", mask.shape)
    return beside(where, "mask", mask, inputs.query)


def _key_mask(inputs: Inputs, key_mask: Any) -> Array:
    """The key mask (…, K) as (…, 1, K); its leading axes count from the first, so (B, K) is one a text."""
    where = f"{inputs.function}()"
    key_mask = as_array(where, "key_mask", key_mask)
    masks.require_boolean(where, "key_mask", key_mask)
    key_mask = beside(where, "key_mask", key_mask, inputs.query)
    *leading, keys = inputs.scores_shape[:-2] + inputs.scores_shape[-1:]
    shape = tuple(key_mask.shape)
    if inputs.group > 1 and len(shape) == len(leading) + 1 and shape[-2] * inputs.group == leading[-1]:
        key_mask = inputs.xp.repeat(key_mask, inputs.group, axis=-2)
        shape = tuple(key_mask.shape)
    *own, last = shape or (0,)
    if (
        last != keys
        or len(own) > len(leading)
        or any(a not in (1, b) for a, b in zip(own, leading, strict=False))
    ):
        form = ", ".join(str(size) for size in (*leading, keys))
        raise ShapeError(
            f"{where}: key_mask must be ({form}), or have fewer axes before the last, or axes of size 1; "
            f"a mask with an axis of queries goes to mask=. Got {tuple(key_mask.shape)}."
        )
    missing = len(leading) - len(own)
    return inputs.xp.reshape(key_mask, (*own, *(1,) * missing, 1, keys))


def _bias(inputs: Inputs, bias: Any) -> Array:
    where = f"{inputs.function}()"
    bias = as_array(where, "bias", bias)
    if dtype_name(bias) == "bool":
        raise DtypeError(f"{where}: bias is added to the scores and must be numbers; booleans go to mask=.")
    _require_fit(inputs, "bias", bias.shape)
    bias = wide(where, "bias", beside(where, "bias", bias, inputs.query))
    return cast(bias, inputs.query.dtype)


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

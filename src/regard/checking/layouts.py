"""The axes in which functions take their arrays, and back to the four of a problem."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

LAYOUTS = ("BHQD", "BQHD", "BQD", "QD", "QBD", "B1D", "BD", "1BD", "BD, KBD", "D")
"""What is tried, in this order. In the last five a query comes alone, and keys as (B, K, D), or (K, B, D) for
1BD and where it is said, or (K, D) for D."""

ONE_AT_A_TIME = ("B1D", "BD", "1BD", "BD, KBD", "D")
KEYS_FIRST = ("QBD", "1BD", "BD, KBD")

AXES: Mapping[str, str] = {
    "BHQD": "BHQD",
    "BQHD": "BQHD",
    "BQD": "BQD",
    "QD": "QD",
    "QBD": "BQD",
    "B1D": "BQD",
    "BD": "BQD",
    "1BD": "BQD",
    "BD, KBD": "BQD",
    "D": "D",
}
"""The axes by which a layout is known outside: a query that comes alone is one of several that are asked in
turn, or has no axis at all."""


def laid_out(layout: str, array: np.ndarray, *, query: bool) -> np.ndarray:
    """An array (B, H, N, F) as the layout has it."""
    if layout == "BHQD":
        return array
    if layout == "BQHD":
        return array.swapaxes(1, 2)
    one = array[:, 0]
    if layout in ("BQD", "B1D") or (layout == "BD" and not query):
        return one
    if layout in ("BD", "BD, KBD") and query:
        return one[:, 0]
    if layout in KEYS_FIRST:
        return one.swapaxes(0, 1)
    return one[0, 0] if layout == "D" and query else one[0]


def context_back(layout: str, found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A context as it came in the axes (B, H, Q, V) of the shape; None where it is none."""
    b, h, q, v = shape
    came = tuple(found.shape)
    if layout == "BHQD":
        return found if came == (b, h, q, v) else None
    if layout == "BQHD":
        return found.swapaxes(1, 2) if came == (b, q, h, v) else None
    if layout in ("QBD", "1BD"):
        return found.swapaxes(0, 1)[:, None] if came == (q, b, v) else _filled(found, shape)
    expected = {"BQD": (b, q, v), "QD": (q, v), "D": (v,)}.get(layout)
    if expected is not None and layout != "D" and came != expected:
        return None
    return _filled(found, shape)


def _filled(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The same numbers in the shape, if only axes of one are missing or too many."""
    kept = [size for size in found.shape if size != 1]
    return found.reshape(shape) if kept == [size for size in shape if size != 1] else None


def weights_back(layout: str, found: np.ndarray, shape: tuple[int, ...], inside: int) -> np.ndarray | None:
    """Weights as they came in the axes (B, H or 1, Q, K) of the shape; None where they are none.

    Args:
        layout: of the query.
        found: what came.
        shape: (B, H, Q, K).
        inside: heads that the function itself makes, an axis of their own in what comes.
    """
    b, h, q, k = shape
    came = tuple(found.shape)
    for heads in (inside, h, 1):
        if came == (b, heads, q, k):
            return found
    if came == (b * inside, q, k) and inside > 1:
        return found.reshape(b, inside, q, k)
    if layout in ("BHQD", "BQHD"):
        return found.swapaxes(1, 2) if came == (b, q, h, k) else None
    if layout == "QBD" and came == (q, b, k):
        return found.swapaxes(0, 1)[:, None]
    if layout in ONE_AT_A_TIME:
        for alone in ((b, k), (k, b), (k,), (q, k), (b, k, 1), (k, b, 1), (b, 1, k), (1, b, k)):
            if came == alone and found.size == b * q * k:
                found = found.T if alone == (k, b) and b != k else found
                found = found.swapaxes(0, 1) if alone in ((k, b, 1), (1, b, k)) and b != k else found
                return found.reshape(b, 1, q, k)
    return _filled(found, (b, 1, q, k)) if came in ((b, q, k), (q, k)) else None


def gradient_back(layout: str, found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A gradient in the axes of the problem's array, whose shape is given; None where it has another size."""
    if layout == "BQHD":
        return found.swapaxes(1, 2)
    if layout in KEYS_FIRST and found.ndim == 3:
        return found.swapaxes(0, 1)[:, None]
    return found.reshape(shape) if found.size == np.prod(shape) else None


def averaged(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The context (B, H, Q, V) by weights that came alone; what has no weight may be NaN."""
    parts = weights[..., None] * values[:, :, None]
    return np.where(weights[..., None] == 0, 0, parts).sum(axis=-2)


SCORES = re.compile(r"score|logit|similarit|energ|pre_?softmax|cache|hidden|loss")
"""Names under which a record holds arrays that are neither the context nor its weights."""


def arrays_in(returned: Any) -> list[Any]:
    """All that might be an array in what a function returned: alone, or in a tuple, a mapping, a record."""
    if hasattr(returned, "__dataclass_fields__"):
        returned = {name: getattr(returned, name) for name in returned.__dataclass_fields__}
    elif hasattr(returned, "_asdict"):
        returned = returned._asdict()
    if isinstance(returned, Mapping):
        last = [name for name in returned if SCORES.search(str(name).lower())]
        returned = [returned[name] for name in returned if name not in last or len(returned) == len(last)]
    if isinstance(returned, list | tuple):
        return [array for each in returned for array in arrays_in(each)]
    return [] if returned is None else [returned]

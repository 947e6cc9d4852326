"""A row for each position, to be added to the inputs: of sines and cosines, or of a learned table."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from regard.core.arrays import Array, as_array, beside, is_array, namespace, surely
from regard.core.dtypes import cast, dtype_name, is_floating, is_whole, wide
from regard.core.masks import whole_number
from regard.errors import DtypeError, InputError, ShapeError

KEPT = 2**20
"""How many numbers of waves are worth being kept."""


def sinusoidal(
    positions: Any,
    width: int,
    *,
    offset: int = 0,
    base: float = 10_000.0,
    interleaved: bool = True,
    like: Array | None = None,
) -> Array:
    """Waves of many lengths at each position: sin(p / base^(2i / width)) and the cosine of the same.

    Args:
        positions: how many, L, for 0 to L − 1; or the positions themselves, (…, L) numbers.
        width: D, how many features, an even number.
        offset: what is added to all positions, such as how many a cache holds.
        base: the longest wave has 2π · base positions.
        interleaved: True for sin, cos, sin, cos, … as in the paper; False for all sines, then all cosines, as
            in tensor2tensor and fairseq.
        like: an array whose library and device the result shall have, and whose dtype where that is floating.

    Returns:
        (…, L, D) from −1 to 1: without ``like`` in the positions' library, NumPy's where they are a number,
        and in float64, or the widest dtype that JAX was told to have.

    Raises:
        InputError: an odd width, a base that is not above 1, a number of positions below 0.
        DtypeError: positions that are no real numbers.

    Source:
        Vaswani et al. 2017, section 3.5; arXiv:1706.03762.
    """
    where = "sinusoidal"
    pair = waves(where, positions, offset, width, base, like)
    xp = namespace(pair[0])
    if interleaved:
        found = xp.reshape(xp.stack(list(pair), axis=-1), (*pair[0].shape[:-1], width))
    else:
        found = xp.concat(list(pair), axis=-1)
    return cast(found, like.dtype) if like is not None and is_floating(like) else found


def learned(table: Array, positions: Any, *, offset: int = 0) -> Array:
    """The rows of a learned table that belong to these positions.

    Args:
        table: (P, D), one row for each position from 0 to P − 1. A gradient reaches it.
        positions: how many, L, for 0 to L − 1; or the positions themselves, (…, L) integers.
        offset: what is added to all positions, such as how many a cache holds.

    Returns:
        (…, L, D), in the table's dtype.

    Raises:
        ShapeError: a table that is no matrix.
        InputError: a position for which there is no row.
        DtypeError: positions that are not integers.

    Source:
        Gehring et al. 2017, section 3.1; arXiv:1705.03122.
    """
    where = "learned positions"
    table = as_array(where, "table", table)
    if len(table.shape) != 2:
        raise ShapeError(f"{where}: table must be (P, D), a row for each position. Got {tuple(table.shape)}.")
    positions = positions if _is_list(positions) else np.arange(_count(where, positions))
    positions = as_array(where, "positions", positions) + whole_number("offset", offset)
    if not is_whole(positions):
        raise DtypeError(f"{where}: positions must be integers. Got {dtype_name(positions)}.")
    positions = beside(where, "positions", positions, table)
    xp, rows = namespace(table), table.shape[0]
    missing = (positions < 0) | (positions >= rows)
    if surely(xp.any(missing)):
        raise InputError(
            f"{where}: the table has rows for the positions 0 to {rows - 1}, but was asked for position "
            f"{int(positions[missing][0])}; it needs more rows, or the text fewer words."
        )
    found = xp.take(table, xp.reshape(positions, (-1,)), axis=0)
    return xp.reshape(found, (*positions.shape, table.shape[1]))


def waves(
    where: str, positions: Any, offset: int, width: int, base: float, like: Array | None
) -> tuple[Array, ...]:
    """Sine and cosine, (…, L, width / 2) each, of p / base^(2i / width), beside ``like``.

    They are computed in float64 wherever there is one: in float32 the angle of position 100,000 is off by up
    to 1/256.
    """
    width = whole_number(f"{where}: the number of features", width)
    if width < 2 or width % 2:
        raise InputError(
            f"{where}: features come in pairs, so their number must be even and at least 2. Got {width}."
        )
    if not base > 1:
        raise InputError(f"{where}: base must be above 1. Got {base}.")
    offset = whole_number("offset", offset)
    if _is_list(positions):
        positions = wide(where, "positions", as_array(where, "positions", positions) + offset)
        frequencies = beside(where, "frequencies", _frequencies(width, base), positions)
        angle = positions[..., None] * cast(frequencies, positions.dtype)
        xp = namespace(angle)
        pair = xp.sin(angle), xp.cos(angle)
    else:
        count = _count(where, positions)
        counted = _counted if count * width <= KEPT else _counted.__wrapped__
        pair = counted(count, offset, width, float(base))
    return pair if like is None else tuple(beside(where, "positions", part, like) for part in pair)


# Every layer of a model asks for the same.
@lru_cache(maxsize=4)
def _counted(count: int, offset: int, width: int, base: float) -> tuple[Array, ...]:
    angle = np.arange(offset, offset + count)[:, None] * _frequencies(width, base)
    pair = np.sin(angle), np.cos(angle)
    for part in pair:
        part.flags.writeable = False
    return pair


def _frequencies(width: int, base: float) -> Array:
    return float(base) ** (-np.arange(0, width, 2) / width)


def _is_list(positions: Any) -> bool:
    """Whether these are the positions themselves, not how many."""
    return bool(is_array(positions) and positions.shape) or isinstance(positions, list | tuple)


def _count(where: str, positions: Any) -> int:
    count = whole_number(f"{where}: the number of positions", positions)
    if count < 0:
        raise InputError(f"{where}: the number of positions must be at least 0. Got {count}.")
    return count

"""Rotary positions: query and keys are turned, so that their product knows how far apart they are."""

from __future__ import annotations

from typing import Any

from regard.core.arrays import Array, as_array, calm, namespace
from regard.core.dtypes import cast, wide
from regard.core.masks import whole_number
from regard.core.positions.sinusoidal import waves
from regard.core.shapes import fits
from regard.errors import InputError, ShapeError


def rotary(
    x: Array,
    positions: Any = None,
    *,
    offset: int = 0,
    base: float = 10_000.0,
    features: int | None = None,
    interleaved: bool = True,
) -> Array:
    """Turn each pair of features by an angle that grows with the position: p · base^(−2i / R) radians.

    Query and keys are both turned, values are not. The product of a query at position p with a key at
    position s then depends on p − s, not on p or s alone.

    Args:
        x: (…, L, D), the query or the keys of every head.
        positions: (…, L) numbers, leading axes as those of x, 1 or missing: for heads (B, H, L, D), one a
            text is (B, 1, L). Without them 0 to L − 1.
        offset: what is added to all positions, such as how many keys a cache holds.
        base: the slowest pair makes a turn in about 2π · base positions.
        features: R, how many features, the first ones, are turned; an even number. None for all D.
        interleaved: which features are a pair: True for (0, 1), (2, 3), …, as in the paper and GPT-J; False
            for (0, R/2), (1, R/2 + 1), …, as in GPT-NeoX and Llama. Weights that were learned with one give
            nonsense with the other.

    Returns:
        (…, L, D), in the dtype of x; computed in float32 or wider, the angles in float64.

    Raises:
        InputError: an odd number of features, or more than D; a base that is not above 1.
        ShapeError: positions that do not fit x.
        DtypeError: positions, or x, that are no real numbers.

    Source:
        Su et al. 2021, eq. 34; arXiv:2104.09864. Their d is our R.
    """
    where = "rotary"
    x = as_array(where, "x", x)
    if len(x.shape) < 2:
        raise ShapeError(f"{where}: x must be (…, L, D). Got {tuple(x.shape)}.")
    width = x.shape[-1]
    turned = width if features is None else whole_number(f"{where}: features", features)
    if turned > width:
        raise InputError(f"{where}: {turned} features cannot be turned, x has {width} of them.")
    positions = x.shape[-2] if positions is None else positions
    sin, cos = waves(where, positions, offset, turned, base, like=x)
    if not fits(sin.shape[:-1], x.shape[:-1]):
        raise ShapeError(
            f"{where}: positions must be (…, L), here {tuple(x.shape[:-1])}, or have axes of size 1 or none "
            f"in front. Got {tuple(sin.shape[:-1])} for x {tuple(x.shape)}."
        )
    with calm(namespace(x)):
        return _turn(x, sin, cos, turned, interleaved)


def _turn(x: Array, sin: Array, cos: Array, turned: int, interleaved: bool) -> Array:
    """x (…, L, D), the pairs of its first features turned by angles of these sines (…, L, turned / 2)."""
    xp = namespace(x)
    numbers = wide("rotary", "x", x)
    sin, cos = cast(sin, numbers.dtype), cast(cos, numbers.dtype)
    if interleaved:
        one, other = numbers[..., 0:turned:2], numbers[..., 1:turned:2]
    else:
        one, other = numbers[..., : turned // 2], numbers[..., turned // 2 : turned]
    pair = [one * cos - other * sin, other * cos + one * sin]
    if interleaved:
        found = xp.reshape(xp.stack(pair, axis=-1), (*numbers.shape[:-1], turned))
    else:
        found = xp.concat(pair, axis=-1)
    if turned < numbers.shape[-1]:
        found = xp.concat([found, numbers[..., turned:]], axis=-1)
    return cast(found, x.dtype)

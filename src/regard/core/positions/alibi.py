"""ALiBi: attention with linear biases, a penalty that grows with the distance."""

from __future__ import annotations

import numpy as np

from regard.core.arrays import Array, beside, namespace
from regard.core.dtypes import SCORES_DTYPE, cast, dtype_name, is_floating
from regard.core.masks import standing, whole_number
from regard.errors import InputError


def alibi(
    heads: int, queries: int, keys: int, *, query_offset: int | None = None, like: Array | None = None
) -> Array:
    """A bias that falls with the distance, in every head at a slope of its own: −slope · |p − s|.

    Args:
        heads: H, how many heads.
        queries: Q, how many queries.
        keys: K, how many keys.
        query_offset: the position of the first query among the keys, as in `regard.core.masks.causal`.
        like: an array whose library and device the bias shall have, and whose dtype, float32 or wider.

    Returns:
        (H, Q, K) for ``attend(bias=)``, 0 or below; float64 of NumPy without ``like``. It is alike on both
        sides of the query; with ``causal=True`` the future is hidden all the same.

    Raises:
        ShapeError: more queries than keys and no query_offset.
        InputError: no heads, a query_offset that is no whole number.

    Source:
        Press, Smith and Lewis 2022, section 3; arXiv:2108.12409. Where theirs is causal, each row of theirs
        may differ from ours by a constant, which softmax does not see.
    """
    slopes = alibi_slopes(heads, like=like)
    query_position, key_position = standing("alibi", queries, keys, query_offset, like)
    distance = namespace(slopes).abs(query_position - key_position)
    return -slopes[:, None, None] * cast(distance, slopes.dtype)


def alibi_slopes(heads: int, *, like: Array | None = None) -> Array:
    """How steeply the bias of each head falls: 2^(−8h / H) for h from 1 to H.

    That is where H is a power of two. Else the largest power of two below, n, gives the first n heads theirs,
    and the others take every second slope of 2n heads, the steepest first.

    Args:
        heads: H, at least 1.
        like: an array whose library and device the slopes shall have, and whose dtype, float32 or wider.

    Returns:
        (H,), from 0 to 1; float64 of NumPy without ``like``.

    Raises:
        InputError: no heads.

    Source:
        Press, Smith and Lewis 2022, section 3, and their code where H is no power of two.
    """
    heads = whole_number("alibi: heads", heads)
    if heads < 1:
        raise InputError(f"alibi: heads must be at least 1. Got {heads}.")
    power = 2 ** (heads.bit_length() - 1)
    slopes = np.concatenate([_slopes(power), _slopes(2 * power)[0::2][: heads - power]])
    if like is None:
        return slopes
    slopes = beside("alibi", "slopes", slopes, like)
    if not is_floating(like):
        return slopes
    return cast(slopes, getattr(namespace(like), SCORES_DTYPE[dtype_name(like)]))


def _slopes(heads: int) -> Array:
    return 2.0 ** (-8 / heads * np.arange(1, heads + 1))

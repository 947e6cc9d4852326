"""Masks: who may look where. True where a query may look, as in PyTorch's SDPA, JAX, Keras and ONNX.

A mask is a plain boolean array (…, Q, K), so masks are combined by ``&``, ``|`` and ``~``. A key mask (…, K)
says which keys are there at all, for every query. Masks with the opposite meaning, those that
`torch.nn.MultiheadAttention` takes, are turned round by `from_torch_mha`.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from array_api_compat import device

from regard.core.arrays import Array, as_array, namespace, surely
from regard.core.dtypes import dtype_name, is_whole
from regard.errors import DtypeError, InputError, ShapeError


def causal(queries: int, keys: int, *, query_offset: int | None = None, like: Array | None = None) -> Array:
    """A mask that hides the future: each query sees the key at its own position and those before.

    Args:
        queries: Q, how many queries.
        keys: K, how many keys.
        query_offset: the position of the first query among the keys: query i sees keys j ≤ i + query_offset.
            Without it the last query stands at the last key, which is K − Q; with 0 the first at the first.
        like: an array whose library and device the mask shall have; without it NumPy's.

    Returns:
        (Q, K) booleans, True where a query may look.

    Raises:
        ShapeError: more queries than keys and no query_offset.
        InputError: a query_offset that is not a whole number.
    """
    query_position, key_position = _positions("causal mask", queries, keys, query_offset, like)
    return key_position <= query_position


def window(
    queries: int, keys: int, size: int, *, query_offset: int | None = None, like: Array | None = None
) -> Array:
    """A mask that hides what is far: each query sees the keys less than ``size`` positions away from its own.

    Together with `causal` these are the ``size`` latest keys, the query's own included: the sliding window of
    Mistral 7B. Alone it is as wide on the other side, 2 · size − 1 keys. A size of 1 leaves the query's own.

    Args:
        queries: Q, how many queries.
        keys: K, how many keys.
        size: at least 1, in positions.
        query_offset: the position of the first query among the keys, as in `causal`.
        like: an array whose library and device the mask shall have; without it NumPy's.

    Returns:
        (Q, K) booleans, True where a query may look.

    Raises:
        ShapeError: more queries than keys and no query_offset.
        InputError: a size that is no whole number of at least 1, a query_offset that is no whole number.

    Source:
        Jiang et al. 2023, section 2, "Sliding Window Attention"; arXiv:2310.06825. FlashAttention counts
        without the query's own position: its window_size of (W − 1, 0) is our W with causal.
    """
    size = whole_number("window", size)
    if size < 1:
        raise InputError(f"window must be at least 1, which is the query's own position. Got {size}.")
    query_position, key_position = _positions("window mask", queries, keys, query_offset, like)
    distance = query_position - key_position
    return (distance < size) & (distance > -size)


def padding(lengths: Array, keys: int) -> Array:
    """A key mask that hides the padding behind texts of different lengths.

    Args:
        lengths: (…,) integers from 0 to K, how many keys of each text are real.
        keys: K, to how many keys the texts are padded.

    Returns:
        (…, K) booleans for ``key_mask=``, True where the key is real.

    Raises:
        DtypeError: lengths that are not integers.
        InputError: a length below 0 or above K.
    """
    lengths = as_array("padding", "lengths", lengths)
    if not is_whole(lengths):
        raise DtypeError(f"padding: lengths must be integers. Got {dtype_name(lengths)}.")
    xp = namespace(lengths)
    if surely(xp.any((lengths < 0) | (lengths > keys))):
        raise InputError(f"padding: lengths must be from 0 to the number of keys, {keys}. Got {lengths}.")
    return xp.arange(keys, device=device(lengths)) < lengths[..., None]


def from_torch_mha(mask: Array, *, heads: int | None = None) -> Array:
    """Turn a mask of `torch.nn.MultiheadAttention`, True where a query may not look, into one of ours.

    Args:
        mask: its boolean ``attn_mask`` (Q, K) or (B · H, Q, K), or its boolean ``key_padding_mask`` (B, K).
        heads: H, given for an ``attn_mask`` of (B · H, Q, K), whose first axis is then split.

    Returns:
        The same shape for ``mask=`` or ``key_mask=``, or (B, H, Q, K) when heads are given; True where a
        query may look.

    Raises:
        DtypeError: a mask of numbers, which MultiheadAttention adds to the scores; it goes to ``bias=``.
        ShapeError: heads that do not divide the first axis of a mask (B · H, Q, K).
    """
    mask = as_array("from_torch_mha", "mask", mask)
    require_boolean("from_torch_mha", "mask", mask)
    if heads is None:
        return ~mask
    if len(mask.shape) != 3 or mask.shape[0] % heads:
        raise ShapeError(
            f"from_torch_mha: with heads={heads} the mask must be (B · {heads}, Q, K). "
            f"Got {tuple(mask.shape)}."
        )
    return ~namespace(mask).reshape(mask, (mask.shape[0] // heads, heads, *mask.shape[1:]))


def require_boolean(where: str, name: str, mask: Array) -> None:
    """Refuse a mask of numbers, whose meaning nobody can know."""
    if dtype_name(mask) != "bool":
        raise DtypeError(
            f"{where}: {name} must be boolean, True where a query may look. Got {dtype_name(mask)}; "
            "numbers to be added to the scores go to bias=."
        )


def whole_number(name: str, number: Any) -> int:
    """The number as an int, unless it is none."""
    if not isinstance(number, bool):
        try:
            return operator.index(number)
        except TypeError:
            pass
    raise InputError(f"{name} must be a whole number. Got {number!r}.")


def _positions(
    where: str, queries: int, keys: int, query_offset: int | None, like: Array | None
) -> tuple[Array, Array]:
    """Where the queries (Q, 1) and the keys (K,) stand, counted in keys."""
    if query_offset is None:
        query_offset = keys - queries
        if query_offset < 0:
            raise ShapeError(
                f"{where}: {queries} queries but only {keys} keys, so the first query would stand before the "
                "first key. Say where it stands by query_offset=; 0 is at the first key."
            )
    offset = whole_number("query_offset", query_offset)
    if like is None:
        return np.arange(queries)[:, None] + offset, np.arange(keys)
    xp, place = namespace(like), device(like)
    return xp.arange(queries, device=place)[:, None] + offset, xp.arange(keys, device=place)

"""Masks: who may look where. True where a query may look, as in PyTorch's SDPA, JAX, Keras and ONNX.

A mask is a plain boolean array (…, Q, K), so masks are combined by ``&``, ``|`` and ``~``. A key mask (…, K)
says which keys are there at all, for every query. Masks with the opposite meaning, those that
`torch.nn.MultiheadAttention` takes, are turned round by `from_torch_mha`.

    causal      no later key                     document    only keys of the query's own document
    window      only near keys                   prefix      the first keys, and no later one
    dilated     near keys, with gaps             padding     a key mask: no key behind a text's end
    block       only keys of the query's block
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from array_api_compat import device

from regard.core.arrays import Array, as_array, beside, namespace, surely
from regard.core.dtypes import dtype_name, is_whole
from regard.core.shapes import broadcast, fits
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
    query_position, key_position = standing("causal mask", queries, keys, query_offset, like)
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
    size = window_size(size)
    query_position, key_position = standing("window mask", queries, keys, query_offset, like)
    distance = query_position - key_position
    return (distance < size) & (distance > -size)


def dilated(
    queries: int,
    keys: int,
    size: int,
    dilation: int,
    *,
    query_offset: int | None = None,
    like: Array | None = None,
) -> Array:
    """A window with gaps: each query sees itself and every ``dilation``-th key around it, ``size`` each way.

    These are the keys 0, d, 2d, …, (size − 1) · d positions away. Together with `causal` they are ``size``
    keys, the query's own included. A dilation of 1 is `window`.

    Args:
        queries: Q, how many queries.
        keys: K, how many keys.
        size: at least 1, in keys seen on one side, the query's own included.
        dilation: d, at least 1, in positions from one seen key to the next.
        query_offset: the position of the first query among the keys, as in `causal`.
        like: an array whose library and device the mask shall have; without it NumPy's.

    Returns:
        (Q, K) booleans, True where a query may look.

    Raises:
        ShapeError: more queries than keys and no query_offset.
        InputError: a size or dilation that is no whole number of at least 1, a query_offset that is none.

    Source:
        Beltagy, Peters and Cohan 2020, section 3.1, "Dilated Sliding Window"; arXiv:2004.05150. Their window
        of w keys is our size of w / 2 + 1.
    """
    size = _at_least("dilated mask: size", size, 1)
    dilation = _at_least("dilated mask: dilation", dilation, 1)
    query_position, key_position = standing("dilated mask", queries, keys, query_offset, like)
    distance = query_position - key_position
    reach = size * dilation
    return (distance < reach) & (distance > -reach) & (distance % dilation == 0)


def block(
    queries: int,
    keys: int,
    size: int,
    *,
    previous: int = 0,
    query_offset: int | None = None,
    like: Array | None = None,
) -> Array:
    """A mask of blocks: positions are cut into blocks of ``size``, and a query sees the keys of its own.

    Args:
        queries: Q, how many queries.
        keys: K, how many keys.
        size: at least 1, in positions; the first block begins at the first key.
        previous: how many blocks before its own a query sees too.
        query_offset: the position of the first query among the keys, as in `causal`.
        like: an array whose library and device the mask shall have; without it NumPy's.

    Returns:
        (Q, K) booleans, True where a query may look.

    Raises:
        ShapeError: more queries than keys and no query_offset.
        InputError: a size below 1, a previous below 0, or one that is no whole number.

    Source:
        Liu et al. 2018, section 4.2.4, "Local attention"; arXiv:1801.10198.
    """
    size = _at_least("block mask: size", size, 1)
    previous = _at_least("block mask: previous", previous, 0)
    query_position, key_position = standing("block mask", queries, keys, query_offset, like)
    before = query_position // size - key_position // size
    return (before >= 0) & (before <= previous)


def document(query_ids: Array, key_ids: Array | None = None) -> Array:
    """A mask for packed sequences: each query sees the keys of its own document.

    Args:
        query_ids: (…, Q) integers, the document of each query. A negative one is padding, and looks
            nowhere.
        key_ids: (…, K) integers, the document of each key. A negative one is padding, and seen by nobody.
            Without key_ids they are the queries'.

    Returns:
        (…, Q, K) booleans, True where a query may look. For heads (B, H, Q, K) hand in ids of (B, 1, Q).

    Raises:
        DtypeError: ids that are not integers.
        ShapeError: leading axes that are neither equal nor 1.

    Source:
        Krell et al. 2021, "Efficient sequence packing without cross-contamination"; arXiv:2107.02027.
    """
    where = "document mask"
    query_ids = _whole_array(where, "query_ids", query_ids)
    keys = query_ids if key_ids is None else _whole_array(where, "key_ids", key_ids)
    keys = beside(where, "key_ids", keys, query_ids)
    leading = broadcast(query_ids.shape[:-1], keys.shape[:-1])
    if not (fits(query_ids.shape[:-1], leading) and fits(keys.shape[:-1], leading)):
        raise ShapeError(
            f"{where}: leading axes of query_ids and key_ids must be equal or 1. "
            f"Got query_ids {tuple(query_ids.shape)}, key_ids {tuple(keys.shape)}."
        )
    query_ids, keys = query_ids[..., :, None], keys[..., None, :]
    return (query_ids == keys) & (query_ids >= 0)


def prefix(
    queries: int, keys: int, length: Any, *, query_offset: int | None = None, like: Array | None = None
) -> Array:
    """A mask for a prefix language model: all see the first ``length`` keys, and no other key that is later.

    Args:
        queries: Q, how many queries.
        keys: K, how many keys.
        length: from 0 to K: one for all, or (…,) integers, one a text.
        query_offset: the position of the first query among the keys, as in `causal`.
        like: an array whose library and device the mask shall have; without it NumPy's.

    Returns:
        (Q, K) booleans for one length, (…, Q, K) for several, True where a query may look. For heads
        (B, H, Q, K) hand in lengths of (B, 1).

    Raises:
        ShapeError: more queries than keys and no query_offset.
        DtypeError: lengths that are not integers.
        InputError: a length below 0 or above K, a query_offset that is no whole number.

    Source:
        Raffel et al. 2020, section 3.2.1, "causal with prefix"; arXiv:1910.10683.
    """
    length = as_array("prefix mask", "length", length)
    like = length if like is None else like
    past = causal(queries, keys, query_offset=query_offset, like=like)
    length = beside("prefix mask", "length", length, like)
    return past | _first("prefix mask", "length", length, keys)[..., None, :]


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
    return _first("padding", "lengths", lengths, keys)


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
    if dtype_name(mask) != "bool":
        raise DtypeError(
            "from_torch_mha: mask must be boolean, True where a query may not look, as MultiheadAttention "
            f"takes it. Got {dtype_name(mask)}; a mask of numbers is added to the scores, there as here, and "
            "goes to bias= as it is."
        )
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


def window_size(size: Any) -> int:
    """How many positions away is too far, unless it is no number of at least 1."""
    size = whole_number("window", size)
    if size < 1:
        raise InputError(f"window must be at least 1, which is the query's own position. Got {size}.")
    return size


def first_position(where: str, queries: int, keys: int, query_offset: int | None) -> int:
    """The position of the first query among the keys; without an offset the last stands at the last key.

    Raises:
        ShapeError: more queries than keys and no query_offset.
        InputError: a query_offset that is no whole number.
    """
    if query_offset is not None:
        return whole_number("query_offset", query_offset)
    if queries > keys:
        raise ShapeError(
            f"{where}: {queries} queries but only {keys} keys, so the first query would stand before the "
            "first key. Say where it stands by query_offset=; 0 is at the first key."
        )
    return keys - queries


def standing(
    where: str, queries: int, keys: int, query_offset: int | None, like: Array | None
) -> tuple[Array, Array]:
    """Where the queries (Q, 1) and the keys (K,) stand, counted in keys."""
    offset = first_position(where, queries, keys, query_offset)
    if like is None:
        return np.arange(queries)[:, None] + offset, np.arange(keys)
    xp, place = namespace(like), device(like)
    return xp.arange(queries, device=place)[:, None] + offset, xp.arange(keys, device=place)


def _first(where: str, name: str, lengths: Any, keys: int) -> Array:
    """(…, K) booleans, True for the first keys, as many as the lengths (…,) say."""
    lengths = _whole_array(where, name, lengths)
    xp = namespace(lengths)
    if surely(xp.any((lengths < 0) | (lengths > keys))):
        raise InputError(f"{where}: {name} must be from 0 to the number of keys, {keys}. Got {lengths}.")
    return xp.arange(keys, device=device(lengths)) < lengths[..., None]


def _whole_array(where: str, name: str, numbers: Any) -> Array:
    numbers = as_array(where, name, numbers)
    if not is_whole(numbers):
        raise DtypeError(f"{where}: {name} must be integers. Got {dtype_name(numbers)}.")
    return numbers


def _at_least(name: str, number: Any, least: int) -> int:
    number = whole_number(name, number)
    if number < least:
        raise InputError(f"{name} must be at least {least}. Got {number}.")
    return number

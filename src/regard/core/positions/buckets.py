"""T5's relative positions: a learned bias for each bucket of distances, near ones exact, far ones coarse."""

from __future__ import annotations

import math

import numpy as np

from regard.core.arrays import Array, as_array, beside, namespace
from regard.core.dtypes import dtype_name, is_whole
from regard.core.masks import standing, whole_number
from regard.errors import DtypeError, InputError, ShapeError


def t5_buckets(
    distances: Array, *, bidirectional: bool = True, buckets: int = 32, max_distance: int = 128
) -> Array:
    """Which bucket each distance from a query to a key belongs to.

    Half of a side's buckets hold one distance each, 0, 1, 2, …; the others grow wider as powers do, and the
    last holds all from ``max_distance`` on.

    Args:
        distances: any shape, integers: the key's position minus the query's, below 0 for the past.
        bidirectional: whether keys after the query have buckets too, the second half of them; otherwise they
            count as distance 0, for causal attention.
        buckets: N, how many buckets, both sides together; at least 2 a side, and even where there are two.
        max_distance: from which distance on all are alike; above the number of exact ones, N / 4 or N / 2.

    Returns:
        The same shape, integers from 0 to N − 1.

    Raises:
        DtypeError: distances that are not integers.
        InputError: buckets or max_distance that cannot be meant.

    Source:
        Raffel et al. 2020, section 2.1, and their code, `_relative_position_bucket`; arXiv:1910.10683.
    """
    where = "t5_buckets"
    distances = as_array(where, "distances", distances)
    if not is_whole(distances):
        raise DtypeError(f"{where}: distances must be integers. Got {dtype_name(distances)}.")
    side = _side(where, bidirectional, buckets)
    xp = namespace(distances)
    far = xp.abs(distances) if bidirectional else xp.where(distances < 0, -distances, 0)
    of_distance = beside(where, "buckets", _bucket_of_each(where, side, max_distance), distances)
    far = xp.where(far > max_distance, max_distance, far)
    found = xp.reshape(xp.take(of_distance, xp.reshape(far, (-1,)), axis=0), distances.shape)
    return xp.where(distances > 0, found + side, found) if bidirectional else found


def t5_bias(
    table: Array,
    queries: int,
    keys: int,
    *,
    bidirectional: bool = True,
    max_distance: int = 128,
    query_offset: int | None = None,
) -> Array:
    """The learned bias of every head between each query and each key.

    T5 adds it to the scores q · k without a scale: ``attend(score=scores.dot, bias=t5_bias(…))``.

    Args:
        table: (N, H), what each bucket adds to the scores of each head. A gradient reaches it.
        queries: Q, how many queries.
        keys: K, how many keys.
        bidirectional, max_distance: as for `t5_buckets`.
        query_offset: the position of the first query among the keys, as in `regard.core.masks.causal`.

    Returns:
        (H, Q, K) for ``attend(bias=)``, in the table's dtype.

    Raises:
        ShapeError: a table that is no matrix; more queries than keys and no query_offset.
        InputError: buckets, max_distance or query_offset that cannot be meant.

    Source:
        Raffel et al. 2020, section 2.1; arXiv:1910.10683.
    """
    table = as_array("t5_bias", "table", table)
    if len(table.shape) != 2:
        raise ShapeError(f"t5_bias: table must be (N, H), a row for each bucket. Got {tuple(table.shape)}.")
    xp, (buckets, heads) = namespace(table), table.shape
    query_position, key_position = standing("t5_bias", queries, keys, query_offset, table)
    found = t5_buckets(
        key_position - query_position, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance
    )
    rows = xp.take(table, xp.reshape(found, (-1,)), axis=0)
    return xp.permute_dims(xp.reshape(rows, (queries, keys, heads)), (2, 0, 1))


def _side(where: str, bidirectional: bool, buckets: int) -> int:
    """How many buckets there are for one direction."""
    buckets = whole_number(f"{where}: buckets", buckets)
    side = buckets // 2 if bidirectional else buckets
    if side < 2 or (bidirectional and buckets % 2):
        needed = "even and at least 4" if bidirectional else "at least 2"
        raise InputError(f"{where}: buckets must be {needed}. Got {buckets}.")
    return side


def _bucket_of_each(where: str, side: int, max_distance: int) -> Array:
    """The bucket of the distances 0, 1, … max_distance in one direction that has ``side`` buckets."""
    exact = side // 2
    if whole_number(f"{where}: max_distance", max_distance) <= exact:
        raise InputError(
            f"{where}: max_distance must be above {exact}, the number of buckets for one distance each. "
            f"Got {max_distance}."
        )
    distances = np.arange(max_distance + 1)
    octaves = np.log(np.maximum(distances, 1) / exact) / math.log(max_distance / exact)
    coarse = exact + np.floor(octaves * (side - exact)).astype(int)
    return np.where(distances < exact, distances, np.minimum(coarse, side - 1))

"""Shaw's relative positions: a learned key, and a learned value, for each distance from a query to a key."""

from __future__ import annotations

from array_api_compat import device

from regard.core.arrays import Array, as_array, calm, namespace
from regard.core.dtypes import wide
from regard.core.masks import standing
from regard.core.parameters import match, require_features
from regard.errors import ShapeError


def shaw_bias(query: Array, keys: int, table: Array, *, query_offset: int | None = None) -> Array:
    """What the learned keys of the distances add to the scores: q · a_r / √D.

    Here r is the key's position minus the query's, clipped to ±C. ``attend(query, keys, values,
    bias=shaw_bias(query, K, table))`` scores (q · (k + a_r)) / √D.

    Args:
        query: (…, Q, D), what is looked for.
        keys: K, how many keys.
        table: a, (2C + 1, D), a key for each distance from −C, the past, to C. A gradient reaches it.
        query_offset: the position of the first query among the keys, as in `regard.core.masks.causal`.

    Returns:
        (…, Q, K) for ``attend(bias=)``, in float32 or wider. It never holds a row of the table for each pair:
        Q × (2C + 1) products are spread over Q × K.

    Raises:
        ShapeError: a table that is no matrix with an odd number of rows, or does not fit the query; more
            queries than keys and no query_offset.

    Source:
        Shaw, Uszkoreit and Vaswani 2018, eq. 2, 4 and 5; arXiv:1803.02155. Their a^K is our table, k our C.
    """
    where = "shaw_bias"
    table = _table(where, table, "D")
    query = wide(where, "query", query)
    require_features(where, "table", table.shape[1], "query", query)
    xp, queries, rows = namespace(query), query.shape[-2], table.shape[0]
    query_position, key_position = standing(where, queries, keys, query_offset, query)
    clip = rows // 2
    row = xp.clip(key_position - query_position, -clip, clip) + clip
    with calm(xp):
        products = query @ match(where, "table", table, query).T * query.shape[-1] ** -0.5
    return _picked(products, row)


def shaw_context(weights: Array, table: Array, *, query_offset: int | None = None) -> Array:
    """What the distances of the keys looked at add to the context: Σ_k w_k a_r.

    ``look.context + shaw_context(look.weights, table)``, of a record ``look = attention(…)``, is the context
    of Shaw et al.

    Args:
        weights: (…, Q, K), from 0 to 1.
        table: a, (2C + 1, V), a value for each distance from −C, the past, to C. A gradient reaches it.
        query_offset: the position of the first query among the keys, as in `regard.core.masks.causal`.

    Returns:
        (…, Q, V), in the weights' dtype; zeros for a query that looks nowhere.

    Raises:
        ShapeError: a table that is no matrix with an odd number of rows; more queries than keys and no
            query_offset.

    Source:
        Shaw, Uszkoreit and Vaswani 2018, eq. 3 and 5, without the values' own part; their a^V is our table.
    """
    where = "shaw_context"
    table = _table(where, table, "V")
    weights = wide(where, "weights", weights)
    with calm(namespace(weights)):
        return _by_distance(weights, table.shape[0] // 2, query_offset) @ match(
            where, "table", table, weights
        )


def _table(where: str, table: Array, features: str) -> Array:
    table = as_array(where, "table", table)
    if len(table.shape) != 2 or table.shape[0] % 2 == 0:
        raise ShapeError(
            f"{where}: table must be (2C + 1, {features}), a row for each distance from −C to C. "
            f"Got {tuple(table.shape)}."
        )
    return table


def _by_distance(weights: Array, clip: int, query_offset: int | None) -> Array:
    """How much each query takes from each distance from −clip to clip, (…, Q, 2 · clip + 1)."""
    xp, (queries, keys) = namespace(weights), weights.shape[-2:]
    if not clip or not keys:
        spread = xp.sum(weights, axis=-1, keepdims=True)
        return xp.broadcast_to(spread, (*weights.shape[:-1], 2 * clip + 1))
    query_position, key_position = standing("shaw_context", queries, keys, query_offset, weights)
    distance = key_position - query_position
    past, future = (
        xp.sum(xp.where(far, weights, 0.0), axis=-1, keepdims=True)
        for far in (distance <= -clip, distance >= clip)
    )
    near = query_position + xp.arange(1 - clip, clip, device=device(distance))
    picked = _picked(weights, xp.clip(near, 0, keys - 1))
    inside = xp.where((near >= 0) & (near < keys), picked, 0.0)
    return xp.concat([past, inside, future], axis=-1)


def _picked(numbers: Array, columns: Array) -> Array:
    """From numbers (…, Q, N) those in the columns (Q, M) of each row: (…, Q, M)."""
    xp, (rows, width) = namespace(numbers), numbers.shape[-2:]
    flat = xp.reshape(numbers, (*numbers.shape[:-2], rows * width))
    start = xp.arange(rows, device=device(columns))[:, None] * width
    found = xp.take(flat, xp.reshape(start + columns, (-1,)), axis=-1)
    return xp.reshape(found, (*numbers.shape[:-1], columns.shape[-1]))

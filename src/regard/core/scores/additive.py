"""Scores by a small network with one hidden layer, which tanh bounds: v · tanh(…)."""

from __future__ import annotations

from regard.core.arrays import Array, namespace
from regard.core.parameters import Score, axes, match, pairwise, require_features, require_hidden
from regard.errors import ShapeError


def additive(w_query: Array | None, w_keys: Array | None, v: Array) -> Score:
    """Make a score from a small network over query and key: v · tanh(W_q q + W_k k).

    Args:
        w_query: (A, D_q), projects the query into A hidden features; None when it is already projected.
        w_keys: (A, D_k), projects the keys; None when they already are, as where it is done once a sentence.
        v: (A,), the direction in which a match scores high.

    Returns:
        A score: a function from query (…, Q, D_q) and keys (…, K, D_k) to scores (…, Q, K), within ±Σ|v|, no
        unit. It computes in the query's dtype, and holds all Q × K × A hidden features at once.

    Raises:
        ShapeError: a parameter has the wrong number of axes, or another A than v; from the score, that a
            projection does not fit its input.

    Source:
        Bahdanau, Cho and Bengio 2015, appendix A.1.2; arXiv:1409.0473. Their s is our query, h our keys.
    """
    layer = HiddenLayer("additive score", w_query, w_keys, v)

    @pairwise
    def score(query: Array, keys: Array) -> Array:
        return layer.read(layer.hidden(query, keys))

    return score


def concat(w: Array, v: Array) -> Score:
    """Make a score from a small network over query and key in one row: v · tanh(W [q; k]).

    It is `additive` with both matrices side by side, the query's first, and is computed so.

    Args:
        w: (A, D_q + D_k), projects the query's features, then the key's, into A hidden features.
        v: (A,), the direction in which a match scores high.

    Returns:
        A score: a function from query (…, Q, D_q) and keys (…, K, D_k) to scores (…, Q, K), within ±Σ|v|, no
        unit. It computes in the query's dtype, and holds all Q × K × A hidden features at once.

    Raises:
        ShapeError: a parameter has the wrong number of axes, or w another A than v; from the score, that
            query and key together have not as many features as w takes.

    Source:
        Luong, Pham and Manning 2015, eq. 8, "concat"; arXiv:1508.04025. Their h_t is our query.
    """
    where = "concat score"
    v = axes(where, "v", v, "(A,)")
    w = axes(where, "w", w, "(A, D_q + D_k)")
    require_hidden(where, "w", w, v)

    @pairwise
    def score(query: Array, keys: Array) -> Array:
        split = query.shape[-1]
        if w.shape[1] != split + keys.shape[-1]:
            raise ShapeError(
                f"{where}: w takes {w.shape[1]} features but the query has {split} and the keys have "
                f"{keys.shape[-1]}; together they must be as many. "
                f"Got query {tuple(query.shape)}, keys {tuple(keys.shape)}."
            )
        layer = HiddenLayer(where, w[:, :split], w[:, split:], v)
        return layer.read(layer.hidden(query, keys))

    return score


def learned_query(v: Array, w_keys: Array | None = None) -> Score:
    """Make a score of the keys alone, which asks all of them the same: v · k, or v · tanh(W k).

    It makes attention a way to pool a sequence into one vector. What is handed in as query is not looked at,
    but for how many there are: (1, D), or (…, 1, D), pools into one.

    Args:
        v: (D_k,), or (A,) with w_keys: what is looked for in every key.
        w_keys: (A, D_k), projects the keys into A hidden features, which tanh bounds; None for none.

    Returns:
        A score: a function from query (…, Q, D) and keys (…, K, D_k) to scores (…, 1, K), no unit, unbounded,
        or within ±Σ|v| with w_keys. It computes in the keys' dtype.

    Raises:
        ShapeError: a parameter has the wrong number of axes, or w_keys another A than v; from the score, that
            it does not fit the keys.

    Source:
        Yang et al. 2016, eq. 5 and 6; doi:10.18653/v1/N16-1174. Their u_w is our v.
        Lin et al. 2017, eq. 5, without biases; arXiv:1703.03130.
    """
    where = "learned_query score"
    v = axes(where, "v", v, "(A,)")
    w_keys = _projection(where, "w_keys", w_keys, v)

    @pairwise
    def score(query: Array, keys: Array) -> Array:
        direction = match(where, "v", v, keys)
        hidden = _project(where, "w_keys", w_keys, "keys", keys, direction)
        if w_keys is not None:
            hidden = namespace(keys).tanh(hidden)
        return (hidden @ direction)[..., None, :]

    return score


class HiddenLayer:
    """What the scores with a hidden layer have in common: W_q q + W_k k, and v · tanh of what it has become.

    Args:
        where: whose layer it is, for messages.
        w_query: (A, D_q), or None for a query that is already projected.
        w_keys: (A, D_k), or None for keys that already are.
        v: (A,).

    Raises:
        ShapeError: a parameter has the wrong number of axes, or another A than v.
    """

    def __init__(self, where: str, w_query: Array | None, w_keys: Array | None, v: Array) -> None:
        self.where = where
        self.v = axes(where, "v", v, "(A,)")
        self.w_query = _projection(where, "w_query", w_query, self.v)
        self.w_keys = _projection(where, "w_keys", w_keys, self.v)

    def hidden(self, query: Array, keys: Array) -> Array:
        """W_q q + W_k k: (…, Q, K, A)."""
        v = match(self.where, "v", self.v, query)
        hidden_query = _project(self.where, "w_query", self.w_query, "query", query, v)
        hidden_keys = _project(self.where, "w_keys", self.w_keys, "keys", keys, v)
        return hidden_query[..., :, None, :] + hidden_keys[..., None, :, :]

    def read(self, hidden: Array) -> Array:
        """v · tanh(hidden): (…, Q, K)."""
        return namespace(hidden).tanh(hidden) @ match(self.where, "v", self.v, hidden)


def _projection(where: str, name: str, w: Array | None, v: Array) -> Array | None:
    if w is None:
        return None
    matrix = axes(where, name, w, "(A, D)")
    require_hidden(where, name, matrix, v)
    return matrix


def _project(where: str, name: str, w: Array | None, side: str, inputs: Array, v: Array) -> Array:
    if w is None:
        require_features(where, "v", v.shape[0], side, inputs)
        return inputs
    matrix = match(where, name, w, inputs)
    require_features(where, name, matrix.shape[1], side, inputs)
    return inputs @ matrix.T

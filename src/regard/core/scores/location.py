"""Scores by where a key stands and what was looked at before, beside what the key is.

What was looked at is an argument of the maker, so that nothing is kept between calls: a decoder makes the
score anew at each step, with the weights of the steps before.
"""

from __future__ import annotations

from regard.core.arrays import Array, as_array, namespace
from regard.core.parameters import Score, axes, match, require_features, require_hidden
from regard.core.scores.additive import HiddenLayer
from regard.core.shapes import fits
from regard.errors import ShapeError


def location(w: Array) -> Score:
    """Make a score from the query alone, one row of W for each position: W q.

    Args:
        w: (K_max, D), what the query must be like to look at the first key, at the second, …

    Returns:
        A score: a function from query (…, Q, D) and keys (…, K, D_k), K up to K_max, to scores (…, Q, K),
        unbounded, no unit: the first K rows of w. It computes in the query's dtype.

    Raises:
        ShapeError: w is not a matrix; from the score, it does not fit the query, or there are more keys than
            it knows positions.

    Source:
        Luong, Pham and Manning 2015, section 3.1, "location"; arXiv:1508.04025. Their h_t is our query.
    """
    where = "location score"
    w = axes(where, "w", w, "(K_max, D)")

    def score(query: Array, keys: Array) -> Array:
        require_features(where, "w", w.shape[1], "query", query)
        count = keys.shape[-2]
        if count > w.shape[0]:
            raise ShapeError(
                f"{where}: w knows {w.shape[0]} positions but there are {count} keys; each needs a row. "
                f"Got w {tuple(w.shape)}, keys {tuple(keys.shape)}."
            )
        return query @ match(where, "w", w, query)[:count, :].T

    return score


def location_aware(
    w_query: Array | None,
    w_keys: Array | None,
    v: Array,
    filters: Array,
    w_location: Array,
    previous_weights: Array,
) -> Score:
    """Make an additive score that knows where was looked before: v · tanh(W_q q + W_k k + U f), f = F ∗ α.

    Args:
        w_query: (A, D_q), projects the query into A hidden features; None when it is already projected.
        w_keys: (A, D_k), projects the keys; None when they already are.
        v: (A,), the direction in which a match scores high.
        filters: F, (C, W), C filters over W keys, W odd, the middle one at the key itself. A key before the
            first or after the last counts as weight 0. As in all deep learning, a filter is not reversed:
            f_j = Σ_w F_w α_{j + w − (W − 1)/2}.
        w_location: U, (A, C), projects what the filters find.
        previous_weights: α, (…, Q, K), the weights of the step before; axes may be 1 or missing in front.

    Returns:
        A score: a function from query (…, Q, D_q) and keys (…, K, D_k) to scores (…, Q, K), within ±Σ|v|, no
        unit. It computes in the query's dtype, and holds all Q × K × A hidden features at once.

    Raises:
        ShapeError: a parameter has the wrong number of axes, an even W, another A than v, or filters another
            C than w_location; from the score, that a parameter or the previous weights do not fit.

    Source:
        Chorowski et al. 2015, eq. 8 and 9, without the bias b; arXiv:1506.07503. Their s is our query, h our
        keys, w our v.
    """
    where = "location_aware score"
    layer = HiddenLayer(where, w_query, w_keys, v)
    filters = axes(where, "filters", filters, "(C, W)")
    w_location = axes(where, "w_location", w_location, "(A, C)")
    previous_weights = as_array(where, "previous_weights", previous_weights)
    require_hidden(where, "w_location", w_location, layer.v)
    if w_location.shape[1] != filters.shape[0]:
        raise ShapeError(
            f"{where}: there are {filters.shape[0]} filters but w_location takes {w_location.shape[1]}; both "
            f"need the same. Got filters {tuple(filters.shape)}, w_location {tuple(w_location.shape)}."
        )
    if filters.shape[1] % 2 == 0:
        raise ShapeError(
            f"{where}: filters must have an odd width, with the key itself in the middle. "
            f"Got {tuple(filters.shape)}."
        )

    def score(query: Array, keys: Array) -> Array:
        weights = _past(where, "previous_weights", previous_weights, query, keys)
        features = _convolve(weights, match(where, "filters", filters, query))
        located = features @ match(where, "w_location", w_location, query).T
        return layer.read(layer.hidden(query, keys) + located)

    return score


def coverage(
    w_query: Array | None,
    w_keys: Array | None,
    v: Array,
    w_coverage: Array,
    summed_weights: Array,
) -> Score:
    """Make an additive score that knows how much each key was looked at: v · tanh(W_q q + W_k k + w_c c).

    Args:
        w_query: (A, D_q), projects the query into A hidden features; None when it is already projected.
        w_keys: (A, D_k), projects the keys; None when they already are.
        v: (A,), the direction in which a match scores high.
        w_coverage: w_c, (A,), what coverage does to the hidden features.
        summed_weights: c, (…, Q, K), the sum of the weights of all steps before, from 0 up; axes may be 1 or
            missing in front. It is zeros at the first step.

    Returns:
        A score: a function from query (…, Q, D_q) and keys (…, K, D_k) to scores (…, Q, K), within ±Σ|v|, no
        unit. It computes in the query's dtype, and holds all Q × K × A hidden features at once.

    Raises:
        ShapeError: a parameter has the wrong number of axes, or another A than v; from the score, that a
            parameter or the summed weights do not fit.

    Source:
        See, Liu and Manning 2017, eq. 10 and 11, without b_attn; arXiv:1704.04368.
        Tu et al. 2016, section 3.1.2, with fertility 1 and coverage of one feature; arXiv:1601.04811.
    """
    where = "coverage score"
    layer = HiddenLayer(where, w_query, w_keys, v)
    w_coverage = axes(where, "w_coverage", w_coverage, "(A,)")
    require_hidden(where, "w_coverage", w_coverage, layer.v)
    summed_weights = as_array(where, "summed_weights", summed_weights)

    def score(query: Array, keys: Array) -> Array:
        covered = _past(where, "summed_weights", summed_weights, query, keys)
        covered = covered[..., None] * match(where, "w_coverage", w_coverage, query)
        return layer.read(layer.hidden(query, keys) + covered)

    return score


def _past(where: str, name: str, weights: Array, query: Array, keys: Array) -> Array:
    """Weights of steps before, beside the query, once they are known to fit what is looked at now."""
    leading = max(query.shape[:-2], keys.shape[:-2], key=len)
    whole = (*leading, query.shape[-2], keys.shape[-2])
    own = tuple(weights.shape)
    if not own or own[-1] != whole[-1] or not fits(own, whole):
        raise ShapeError(
            f"{where}: {name} must be (…, Q, K), here {whole}, or have axes of size 1 before the last; one "
            f"query of each text needs an axis of its own, (B, 1, K). Got {own}."
        )
    return match(where, name, weights, query)


def _convolve(weights: Array, filters: Array) -> Array:
    """What filters (C, W) find around each key of weights (…, Q, K): (…, Q, K, C)."""
    xp = namespace(weights)
    count, width = weights.shape[-1], filters.shape[1]
    beyond = xp.zeros_like(xp.broadcast_to(weights[..., :1], (*weights.shape[:-1], width // 2)))
    padded = xp.concat([beyond, weights, beyond], axis=-1)
    around = xp.stack([padded[..., start : start + count] for start in range(width)], axis=-1)
    return around @ filters.T

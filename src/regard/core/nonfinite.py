"""Keeping NaN and infinity away from the queries that may not see them, and from everybody else's gradient.

A weight of zero does not help: 0 · NaN is NaN, in the product with the values and in every product of the
backward pass. So numbers that are not finite are replaced by 0 where gradients pass, and what they do to the
queries that do see them is written into the result as a constant. Those queries get what they would get
without this protection: a row of NaN where a score is NaN, an infinity or NaN in the feature where a value is
one.

Without a mask nobody is to be protected, and nothing here is used.
"""

from __future__ import annotations

import math

from regard.core.arrays import Array, Namespace, constant, surely
from regard.core.scores import Score


def suspected(xp: Namespace, *arrays: Array) -> bool:
    """Whether some number may not be finite.

    One sum for each array tells. A sum that overflows is a false alarm: it costs time, and changes nothing.
    """
    return not all(surely(xp.isfinite(xp.sum(array))) for array in arrays)


def guarded_scores(xp: Namespace, score: Score, query: Array, keys: Array) -> Array:
    """The scores, with no gradient where the query or the key is not finite."""
    finite_query, finite_keys = xp.isfinite(query), xp.isfinite(keys)
    guarded = score(xp.where(finite_query, query, 0.0), xp.where(finite_keys, keys, 0.0))
    both = xp.all(finite_query, axis=-1)[..., :, None] & xp.all(finite_keys, axis=-1)[..., None, :]
    return xp.where(both, guarded, constant(score(query, keys)))


def guarded_values(xp: Namespace, values: Array, visible: Array) -> tuple[Array, Array]:
    """The values with 0 for what is not finite, and what each query sees of that.

    Args:
        values: (…, K, V).
        visible: (…, Q or 1, K) booleans, who may look where.

    Returns:
        The finite values, (…, K, V), and the sum of the others over the keys each query may see, (…, Q or 1,
        V): an infinity, NaN, or 0.
    """
    looks = xp.astype(visible, values.dtype)
    seen = xp.zeros_like(looks[..., :1] @ values[..., :1, :])
    for number, found in (
        (math.inf, values == math.inf),
        (-math.inf, values == -math.inf),
        (math.nan, xp.isnan(values)),
    ):
        seen = xp.where(looks @ xp.astype(found, values.dtype) > 0, seen + number, seen)
    return xp.where(xp.isfinite(values), values, 0.0), seen

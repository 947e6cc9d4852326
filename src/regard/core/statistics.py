"""Statistics of weights, asked for by name: how attention is spread over the keys of each query."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from regard.core.arrays import Array, namespace
from regard.errors import InputError


def entropy(weights: Array) -> Array:
    """How widely each query looks: −Σ_k w_k ln w_k.

    Args:
        weights: (…, Q, K), from 0 to 1.

    Returns:
        (…, Q), in nats, from 0 (one key has it all) to ln K (all alike); 0 for a query that looks nowhere.

    Source:
        Shannon 1948, section 6.
    """
    xp = namespace(weights)
    # 0 − Σ, because −Σ of nothing would be shown as −0.
    return 0.0 - xp.sum(weights * xp.log(xp.where(weights == 0, 1.0, weights)), axis=-1)


def max_weight(weights: Array) -> Array:
    """The largest weight of each query.

    Args:
        weights: (…, Q, K), from 0 to 1.

    Returns:
        (…, Q), from 0 to 1; 0 for a query that looks nowhere.
    """
    xp = namespace(weights)
    return xp.max(weights, axis=-1) if weights.shape[-1] else xp.sum(weights, axis=-1)


def argmax(weights: Array) -> Array:
    """The key each query looks at most.

    Args:
        weights: (…, Q, K), from 0 to 1.

    Returns:
        (…, Q), integers from 0 to K − 1, the first of several alike; −1 for a query that looks nowhere.
    """
    xp = namespace(weights)
    nowhere = max_weight(weights) == 0
    if not weights.shape[-1]:
        return xp.astype(nowhere, int) * -1
    return xp.where(nowhere, -1, xp.argmax(weights, axis=-1))


STATISTICS: dict[str, Callable[[Array], Array]] = {
    "argmax": argmax,
    "entropy": entropy,
    "max_weight": max_weight,
}


def known(function: str, names: Iterable[str]) -> list[str]:
    """The names as a list, after a check that each is a statistic."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in STATISTICS:
            listed = ", ".join(STATISTICS)
            raise InputError(f"{function}(): {name} is not a statistic. Known statistics: {listed}.")
    return names

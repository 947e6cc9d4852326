"""Statistics of weights: how attention is spread, in numbers that are fewer than the weights.

    each query, (…, Q)   log_normalizer   log Σ exp(score)
                         entropy          how widely it looks
                         max_weight       its largest weight
                         argmax           the key that has it
                         mean_distance    how far it looks
                         first_mass       its weight on the first key
                         mass(keys), window_mass(size)
                         top_k(k)         its k largest weights and their keys
    each key, (…, K)     received_sum, received_mean, received_max
    the map              pooled(rows, columns)

`attention` takes them by name, and those with parameters as what their functions make:
``attention(q, k, v, weights=False, statistics=["entropy", statistics.top_k(5)])``. They are exact: each is
worked out from all weights, some queries at a time where there are many.

`entropy`, `max_weight` and `argmax` may be called with weights (…, Q, K) as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from regard.core import masks
from regard.core.arrays import as_array
from regard.core.pooling import Pooled, PooledMap
from regard.core.summaries import (
    Mass,
    OfQueries,
    Received,
    Statistic,
    argmax,
    argmax_of,
    entropy,
    first_mass,
    max_weight,
    mean_distance,
    window_mass_of,
)
from regard.core.top_keys import TopKeys, TopWeights
from regard.errors import InputError

__all__ = [
    "STATISTICS",
    "PooledMap",
    "Statistic",
    "TopKeys",
    "argmax",
    "entropy",
    "known",
    "mass",
    "max_weight",
    "pooled",
    "top_k",
    "window_mass",
]

STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic
    for statistic in (
        OfQueries("argmax", argmax_of),
        OfQueries("entropy", lambda rows: entropy(rows.weights)),
        OfQueries("first_mass", first_mass),
        OfQueries("log_normalizer", lambda rows: rows.look.log_normalizer()),
        OfQueries("max_weight", lambda rows: max_weight(rows.weights)),
        OfQueries("mean_distance", mean_distance, by_position=True),
        Received("received_max", "max"),
        Received("received_mean", "mean"),
        Received("received_sum", "sum"),
    )
}
MAKERS = ("mass", "pooled", "top_k", "window_mass")


def mass(keys: Any, *, name: str = "mass") -> Statistic:
    """Ask for each query's weight on some of the keys, such as the separators.

    Args:
        keys: (…, K) booleans, True where a key counts; leading axes as for ``key_mask`` of `attend`.
        name: under which the record holds it.

    Returns:
        A statistic: (…, Q), from 0 to 1.
    """
    return Mass(name, as_array("statistics.mass", "keys", keys))


def window_mass(size: int, *, name: str = "window_mass") -> Statistic:
    """Ask for each query's weight on the keys near its own position, as `masks.window` counts them.

    Args:
        size: how many positions away is too far, at least 1; a size of 1 leaves the query's own.
        name: under which the record holds it.

    Returns:
        A statistic: (…, Q), from 0 to 1.

    Raises:
        InputError: a size that is no whole number of at least 1.
    """
    return OfQueries(name, window_mass_of(_at_least_one("window_mass", "size", size)), by_position=True)


def top_k(k: int, *, name: str = "top_k") -> Statistic:
    """Ask for the keys that each query looks at most, and how much.

    Args:
        k: how many, at least 1; there may be fewer keys.
        name: under which the record holds it.

    Returns:
        A statistic: `TopKeys`, whose indices and weights are (…, Q, k).

    Raises:
        InputError: a k that is no whole number of at least 1.
    """
    return TopWeights(name, _at_least_one("top_k", "k", k))


def pooled(rows: int, columns: int, *, name: str = "pooled") -> Statistic:
    """Ask for the map of weights in rectangles, as a picture of a long text needs it.

    Args:
        rows: how many queries a rectangle is high, at least 1; the last ones may be lower.
        columns: how many keys it is wide, at least 1; the last ones may be narrower.
        name: under which the record holds it.

    Returns:
        A statistic: `PooledMap`, whose mean and max are (…, ⌈Q / rows⌉, ⌈K / columns⌉).

    Raises:
        InputError: a size that is no whole number of at least 1.
    """
    return Pooled(name, _at_least_one("pooled", "rows", rows), _at_least_one("pooled", "columns", columns))


def known(function: str, statistics: Iterable[str | Statistic]) -> list[Statistic]:
    """The statistics themselves, after a check that each is one and that no two have one name.

    Raises:
        InputError: an unknown name, one that needs parameters, or a name that comes twice.
    """
    asked = [statistics] if isinstance(statistics, str | Statistic) else list(statistics)
    found: dict[str, Statistic] = {}
    for one in asked:
        statistic = STATISTICS.get(one) if isinstance(one, str) else one
        if not isinstance(statistic, Statistic):
            raise InputError(f"{function}(): {_unknown(one)}")
        if statistic.name in found and statistic is not found[statistic.name]:
            raise InputError(
                f"{function}(): two statistics have the name {statistic.name}; give one another by name=."
            )
        found[statistic.name] = statistic
    return list(found.values())


def _unknown(one: Any) -> str:
    name = getattr(one, "__name__", one)
    if name in MAKERS:
        return f"{name} needs to know more: it is made by regard.core.statistics.{name}(…)."
    listed = ", ".join(STATISTICS)
    made = ", ".join(MAKERS)
    return f"{name} is not a statistic. Known statistics: {listed}; those of regard.core.statistics: {made}."


def _at_least_one(function: str, name: str, number: int) -> int:
    number = masks.whole_number(f"{function}: {name}", number)
    if number < 1:
        raise InputError(f"{function}: {name} must be at least 1. Got {number}.")
    return number

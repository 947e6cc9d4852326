"""What kind of head this is, in numbers: how widely it looks, how far, and at what.

Each number is a mean over the queries that it can be told of. Those of structure are the weight at places
that follow from positions and tokens alone, so that they are found with the whole map or without it.

Source: Clark et al. 2019, "What does BERT look at?", arXiv:1906.04341 (next, previous, separator);
Olsson et al. 2022, "In-context learning and induction heads", arXiv:2209.11895 (induction);
Xiao et al. 2024, "Efficient streaming language models with attention sinks", arXiv:2309.17453 (sink).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from regard.core.statistics import entropy
from regard.errors import InputError, ShapeError

__all__ = ["MEANINGS", "Places", "describe", "places", "similarity"]

MEANINGS: Mapping[str, str] = {
    "entropy": "how widely it looks, in nats",
    "distance": "how far it looks, in positions",
    "sink": "weight on the first position, of all others",
    "previous": "weight on the position before",
    "next": "weight on the position after",
    "same_token": "weight on the latest earlier position with the same token",
    "induction": "weight on what followed the same token, the latest time",
    "separator": "weight on separators, of all that are none",
}
"""Each number and what it says; all but the first two are shares from 0 to 1."""


class Places(NamedTuple):
    """Places of a map, a query and a key each."""

    queries: np.ndarray
    keys: np.ndarray


def places(
    queries: int, keys: int, *, offset: int = 0, tokens: Sequence[int] | None = None
) -> dict[str, Places]:
    """Where heads of a known kind look, in the map of a text at itself.

    Args:
        queries, keys: its sizes.
        offset: the position of the first query among the keys.
        tokens: a number for each key, equal where the token is; without them only positions count.

    Returns:
        Under "previous", "next", "same_token" and "induction" at most one place a query; a kind that no query
        can show is left out.

    Raises:
        ShapeError: as many tokens as keys are needed.
    """
    if tokens is not None and len(tokens) != keys:
        raise ShapeError(f"places(): {len(tokens)} tokens for {keys} keys; one is needed for each.")
    rows = np.arange(queries)
    found = {"previous": Places(rows, rows + offset - 1), "next": Places(rows, rows + offset + 1)}
    if tokens is not None:
        earlier = _earlier(tokens)[offset : offset + queries]
        again = np.flatnonzero(earlier >= 0)
        found["same_token"] = Places(again, earlier[again])
        # What followed the same token must lie before the query, or it would look at itself.
        found["induction"] = Places(again, earlier[again] + 1)
        own = found["induction"].keys >= again + offset
        found["induction"] = Places(again[~own], found["induction"].keys[~own])
    kept = {}
    for name, (at, key) in found.items():
        inside = (key >= 0) & (key < keys)
        if inside.any():
            kept[name] = Places(at[inside], key[inside])
    return kept


def _earlier(tokens: Sequence[int]) -> np.ndarray:
    """For each position the latest earlier one with the same token; −1 where there is none."""
    seen: dict[int, int] = {}
    found = np.full(len(tokens), -1)
    for position, token in enumerate(tokens):
        found[position] = seen.get(token, -1)
        seen[token] = position
    return found


def describe(
    weights: np.ndarray,
    *,
    offset: int | None = 0,
    tokens: Sequence[int] | None = None,
    separators: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """The numbers of `MEANINGS` for each map.

    Args:
        weights: (…, Q, K), from 0 to 1; rows of zeros look nowhere and do not count.
        offset: the position of the first query among the keys; None for the map of one text at another, of
            which only the entropy is told.
        tokens: a number for each key, equal where the token is.
        separators: positions of separators among the keys.

    Returns:
        Name to (…); a number that no query can show is left out.

    Raises:
        InputError: weights that are no array of at least two axes, or without queries or keys.
    """
    weights = np.asarray(weights, np.float32)
    if weights.ndim < 2 or not all(weights.shape[-2:]):
        raise InputError(f"describe(): weights are (…, Q, K), neither of them 0; got {weights.shape}.")
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise InputError("describe(): weights are finite and not below 0.")
    if any(not 0 <= at < weights.shape[-1] for at in separators):
        raise InputError(f"describe(): separators are positions among {weights.shape[-1]} keys.")
    looking = np.asarray(weights.any(axis=-1))
    found = {"entropy": _mean(entropy(weights), looking)}
    if offset is None:
        return found
    rows, columns = weights.shape[-2:]
    distance = np.abs(np.arange(columns) - (np.arange(rows) + offset)[:, None]).astype(np.float32)
    found["distance"] = _mean(np.einsum("...qk,qk->...q", weights, distance), looking)
    first = 1 if offset == 0 else 0
    if rows > first:
        found["sink"] = _mean(weights[..., first:, 0], looking[..., first:])
    for name, (queries, keys) in places(rows, columns, offset=offset, tokens=tokens).items():
        found[name] = _mean(weights[..., queries, keys], looking[..., queries])
    if len(separators):
        others = np.setdiff1d(np.arange(rows), np.asarray(separators) - offset)
        if len(others):
            mass = weights[..., np.asarray(separators)].sum(axis=-1)
            found["separator"] = _mean(mass[..., others], looking[..., others])
    return found


def _mean(numbers: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The mean over the last axis of those that count; 0 where none does."""
    return np.where(count, numbers, 0.0).sum(axis=-1) / np.maximum(count.sum(axis=-1), 1)


def similarity(weights: np.ndarray) -> np.ndarray:
    """How alike the maps are: 1 minus the Jensen–Shannon distance of their rows, averaged over the queries.

    Args:
        weights: (…, Q, K), from 0 to 1, a map for each head.

    Returns:
        (N, N) for the N maps in order, from 0 (nowhere the same) to 1 (the same).

    Source:
        Clark et al. 2019, section 6 (distances of heads); Lin 1991 (the divergence, in bits from 0 to 1).
    """
    maps = np.asarray(weights, np.float64).reshape(-1, *np.shape(weights)[-2:])
    own = -np.where(maps > 0, maps * np.log2(np.where(maps > 0, maps, 1)), 0).sum(-1)
    found = np.eye(len(maps))
    for one in range(len(maps)):
        for other in range(one + 1, len(maps)):
            middle = (maps[one] + maps[other]) / 2
            both = -np.where(middle > 0, middle * np.log2(np.where(middle > 0, middle, 1)), 0).sum(-1)
            divergence = np.clip(both - (own[one] + own[other]) / 2, 0, 1)
            found[one, other] = found[other, one] = 1 - np.sqrt(divergence).mean()
    return found

"""Attention as a row of steps, each of which can be exchanged for a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from regard.checking import reference
from regard.checking.problems import Problem
from regard.checking.reference import Normalizer, Score
from regard.checking.report import Mistake, Severity

Array = np.ndarray


@dataclass(frozen=True)
class Sizes:
    """What a scale may be made from: B, H, Q, K and D, the features of one head."""

    batch: int
    heads: int
    queries: int
    keys: int
    features: int


Roles = Callable[[Array, Array, Array], tuple[Array, Array, Array]]
Over = Callable[[Array, Normalizer], Array]
Treatment = Callable[[Array, Array, Callable[[Array], Array]], Array]


def as_given(query: Array, keys: Array, values: Array) -> tuple[Array, Array, Array]:
    return query, keys, values


def over_keys(scores: Array, normalize: Normalizer) -> Array:
    return normalize(scores)


def hidden(scores: Array, seen: Array, weigh: Callable[[Array], Array]) -> Array:
    """The right treatment of a mask: who is hidden has no score at all."""
    return weigh(np.where(seen, scores, -np.inf))


def root_of_features(sizes: Sizes) -> float:
    return sizes.features**-0.5


def unscaled(sizes: Sizes) -> float:
    return 1.0


def weighted_sum(weights: Array, values: Array, sizes: Sizes) -> Array:
    return weights @ values


@dataclass(frozen=True)
class Pipeline:
    """From query, keys and values to the context. The defaults are scaled dot-product attention.

    Attributes:
        split: (B, 1, N, E) to (B, H, N, D), for those that split heads by themselves.
        roles: which array is used as query, keys and values.
        group: (B, H_k, K, D) to (B, H, K, D).
        score: before scaling; scale: what it is multiplied by.
        normalize: over the last axis; over: brings the axis there that is normalised over.
        future: (Q, K) booleans by those numbers, True where a query may look; None where all may.
        hide_future, hide: how that and the mask come into the scores and weights.
        average: from weights and values to the context.
        merge: (B, H, Q, D) to (B, 1, Q, E), for those that split.
    """

    split: Callable[[Array, int], Array] = reference.split
    roles: Roles = as_given
    group: Callable[[Array, int], Array] = reference.repeat
    score: Score = reference.dot
    scale: Callable[[Sizes], float] = root_of_features
    normalize: Normalizer = reference.softmax
    over: Over = over_keys
    future: Callable[[int, int], Array] | None = None
    hide_future: Treatment = hidden
    hide: Treatment = hidden
    average: Callable[[Array, Array, Sizes], Array] = weighted_sum
    merge: Callable[[Array], Array] = reference.merge


def run(pipeline: Pipeline, problem: Problem, heads: int) -> tuple[Array, Array] | None:
    """Context and weights by these steps; None where they don't fit together.

    A query that may look nowhere gets NaN, which stands for whatever an implementation makes of it.
    """
    try:
        with np.errstate(all="ignore"):
            return _run(pipeline, problem, heads)
    except ValueError:
        return None


def _run(pipeline: Pipeline, problem: Problem, heads: int) -> tuple[Array, Array]:
    query, keys, values = (problem.query, problem.keys, problem.values)
    if heads > 1:
        query, keys, values = (pipeline.split(x, heads) for x in (query, keys, values))
    count = query.shape[1]
    keys, values = (pipeline.group(x, count) for x in (keys, values))
    query, keys, values = pipeline.roles(query, keys, values)
    sizes = Sizes(query.shape[0], count, query.shape[2], keys.shape[2], query.shape[3])
    scores = pipeline.score(query, keys) * pipeline.scale(sizes)
    seen = np.ones((1, 1, 1, 1), dtype=bool)

    def weigh(scores: Array) -> Array:
        weights = pipeline.over(scores, pipeline.normalize)
        return np.where(np.isnan(weights), np.inf, weights)

    if pipeline.future is not None:
        future = pipeline.future(scores.shape[-2], scores.shape[-1])
        seen = seen & future
        weigh = partial(_treat, pipeline.hide_future, future, weigh)
    if problem.mask is not None or problem.key_mask is not None:
        mask = reference.visible(replace(problem, causal=False))
        # Where a mask is mistreated it is not known which rows are empty: those are treated as they come.
        seen = seen & mask if pipeline.hide is hidden else seen
        weigh = partial(_treat, pipeline.hide, mask, weigh)
    weights = weigh(scores)
    context = pipeline.average(weights, values, sizes)
    # NaN stands for anything, so what is NaN by computation becomes infinite, which no answer is.
    context = np.where(np.isnan(context), np.inf, context)
    anything = np.asarray(~seen.any(-1, keepdims=True) | np.isnan(weights).any(-1, keepdims=True))
    if anything.shape[-2] in (1, context.shape[-2]):
        context = np.where(anything, np.nan, context)
    return pipeline.merge(context) if heads > 1 else context, weights


def _treat(treatment: Treatment, seen: Array, weigh: Callable[[Array], Array], scores: Array) -> Array:
    return treatment(scores, seen, weigh)


@dataclass(frozen=True)
class Deviation:
    """One step done wrongly.

    Attributes:
        name: of the mistake.
        step: the field of `Pipeline`, and with what it is filled: ``wrong``.
        common: whether it is tried together with two others, and named where less common ones agree as well.
    """

    name: str
    step: str
    wrong: Any
    common: bool = True


@dataclass(frozen=True)
class Known:
    """What there is to say about a mistake."""

    severity: Severity
    explanation: str
    remedy: str

    def mistake(self, name: str, severity: Severity | None = None) -> Mistake:
        return Mistake(name, severity or self.severity, self.explanation, self.remedy)

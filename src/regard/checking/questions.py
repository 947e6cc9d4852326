"""Small problems, designed so that right and wrong answers differ, in the axes that a subject has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from regard.checking.problems import Answer, Problem, Subject

TOLERANCE = 2e-5
"""How far float32 may be off in sums of a few numbers near 1, relative to 1 and the number."""


@dataclass(frozen=True, eq=False)
class Posed:
    """A problem and what the subject answered."""

    problem: Problem
    answer: Answer

    @property
    def answered(self) -> bool:
        """Whether a context came back with the right axes, though perhaps with other features."""
        context = self.answer.context
        failed = self.answer.error or self.answer.hung
        return not failed and context is not None and context.shape[:3] == self.problem.query.shape[:3]


def pose(subject: Subject, problem: Problem) -> Posed | None:
    """Ask, if the problem can be put to the subject at all."""
    return Posed(problem, subject.ask(problem)) if subject.can(problem) else None


class OneQuery:
    """A subject that takes one query at a time though it has an axis for them, as a decoder's attention."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def can(self, problem: Problem) -> bool:
        return problem.query.shape[2] == 1 and self.subject.can(problem)

    def plain(self) -> Subject | None:
        plain = self.subject.plain()
        return None if plain is None else cast(Subject, OneQuery(plain))


def willing(subject: Subject) -> Subject:
    """The subject, or where it only answers one query at a time, as one that is asked no more."""
    several = pose(subject, question(subject))
    if several is None or several.answered or several.answer.hung or subject.inputs == "self":
        return subject
    one = pose(subject, question(subject, queries=1))
    return cast(Subject, OneQuery(subject)) if one is not None and one.answered else subject


def question(
    subject: Subject,
    *,
    queries: int = 5,
    keys: int = 5,
    features: int = 6,
    value_features: int | None = None,
    batch: int = 2,
    heads: int = 3,
    seed: int = 0,
) -> Problem:
    """A problem of random numbers near 1, in sizes that the subject can have.

    Args:
        subject: decides what is possible: a size that it has no axis for becomes 1, its width is kept,
            queries and keys are as many where one array makes both, and one array where one makes them.
        queries, keys: Q and K.
        features: D of each head; value_features: V; without it as many as D.
        batch, heads: B and H; grouped heads are 4 queries' on 2 keys'.
        seed: of the numbers.

    Returns:
        A Problem without masks, in float64 where the subject takes that, else in float32.
    """
    rng = np.random.default_rng(seed)
    if subject.axes == "D" or isinstance(subject, OneQuery):
        queries = 1
    batch = batch if "B" in subject.axes else 1
    heads, key_heads = (4, 2) if subject.grouped else (heads, heads)
    if "H" not in subject.axes:
        heads = key_heads = 1
    features = subject.width or features * subject.heads
    separate = subject.inputs == "separate" and subject.width is None and subject.heads == 1
    value_features = value_features if value_features and separate else features
    query = rng.normal(size=(batch, heads, queries, features))
    made = rng.normal(size=(batch, key_heads, keys, features)) if subject.inputs != "self" else query
    values = rng.normal(size=(batch, key_heads, keys, value_features))
    problem = Problem(query, made, values if subject.inputs == "separate" else made)
    return problem if subject.can(problem) else replace(problem, dtype="float32")


def masked(problem: Problem) -> Problem:
    """The same with a mask, another for each item, in which every query misses some key and sees some."""
    queries, keys = problem.query.shape[2], problem.keys.shape[2]
    row = np.arange(queries)[:, None] * 3 + np.arange(keys) * 2
    # Not symmetric, and not a band, so that no other mask or its transpose looks like it.
    mask = (row % 5 != 1) & (row % 7 != 3)
    mask[:, 0] |= ~mask.any(-1)
    mask[:, -1] &= ~mask.all(-1)
    items = range(problem.query.shape[0])
    return replace(problem, mask=np.stack([np.roll(mask, item, axis=-1) for item in items])[:, None])


def key_masked(problem: Problem) -> Problem:
    """The same with other keys missing in each item: the last one or more, as padding is."""
    batch, _, keys, _ = problem.keys.shape
    lengths = np.array([max(1, keys - 1 - item % 2) for item in range(batch)])
    return replace(problem, key_mask=np.arange(keys) < lengths[:, None])


def agree(expected: np.ndarray | None, found: np.ndarray | None, tolerance: float = TOLERANCE) -> bool:
    """Whether an answer is what was expected; NaN in what was expected stands for anything."""
    if expected is None or found is None or expected.shape != found.shape:
        return False
    judged = ~np.isnan(expected)
    if 3 * judged.sum() < judged.size:
        return False
    with np.errstate(all="ignore"):
        near = np.isfinite(expected) & (np.abs(found - expected) <= tolerance * (1 + np.abs(expected)))
    return bool((near | ~judged).all())

"""A subject before the court: problems of every size it can have, its answers, and when they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from regard.checking.problems import Answer, Problem, Subject

NEAR = 5e-5
"""How far float32 may be off in sums of a few numbers, relative to 1 and the largest of them."""
HALF = 1e-2
"""How far off it is where something is rounded to half precision on the way."""


@dataclass(frozen=True)
class Size:
    """The axes of a problem: B, H, Q, K, and D and V of each head."""

    batch: int = 2
    heads: int = 3
    queries: int = 4
    keys: int = 5
    features: int = 6
    values: int = 7


STANDARD = Size()
"""All axes differ, so that one taken for another shows."""
NARROW = replace(STANDARD, values=STANDARD.features)
SQUARE = replace(NARROW, queries=NARROW.keys)
ONE_QUERY = replace(NARROW, queries=1)

SMALL = (
    Size(1, 1, 1, 2, 1, 1),
    Size(1, 1, 2, 2, 1, 1),
    Size(1, 1, 2, 3, 1, 1),
    Size(1, 1, 2, 2, 2, 2),
    Size(1, 2, 2, 2, 1, 1),
    Size(2, 1, 2, 2, 1, 1),
    Size(1, 1, 3, 3, 2, 2),
)
"""The sizes of examples, those first that are read soonest."""


class CannotAskError(Exception):
    """The law does not apply, or the question can't be put; the reason is its text."""


class NoAnswerError(Exception):
    """A problem that the subject should have answered, and what came instead."""

    def __init__(self, problem: Problem, answer: Answer) -> None:
        super().__init__(answer.error)
        self.problem, self.answer = problem, answer


class Trial:
    """A subject, what it is meant to be, and all that it has answered so far.

    Args:
        subject: who is judged.
        causal: whether it has to hide the future without being told to.
        score, normalizer: what is meant, as names or functions; None for unknown.
        suspected: whether a mistake in its mathematics has been named already.

    Attributes:
        size: of its ordinary problems: the first of a few that it answers.
        failure: where it answers none, the first problem and what came.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        causal: bool = False,
        score: object = None,
        normalizer: object = None,
        suspected: bool = False,
    ) -> None:
        self.subject, self.causal = subject, causal
        self.score, self.normalizer, self.suspected = score, normalizer, suspected
        self.asked: list[tuple[Problem, Answer]] = []
        self._answers: dict[object, Answer] = {}
        self.failure: tuple[Problem, Answer] | None = None
        self.size = self._answered_size()

    @cached_property
    def plain(self) -> Trial | None:
        """The same with the identity for its projections, whose numbers can be known; None without one."""
        if not self.subject.projected:
            return self
        plain = self.subject.plain()
        if plain is None:
            return None
        trial = Trial(plain, causal=self.causal, score=self.score, normalizer=self.normalizer)
        return trial if trial.failure is None else None

    @property
    def numbers(self) -> Trial:
        """`plain`, or the end of a law that needs to know the numbers inside."""
        if self.plain is None:
            raise CannotAskError("Its projections are its own, so no numbers are known beforehand.")
        return self.plain

    def problem(self, size: Size | None = None, *, seed: int | None = None, **changes: object) -> Problem:
        """A problem of random numbers near 1, or of small integers where a seed for them is given.

        Args:
            size: by default the ordinary one; what the subject has no axis for becomes 1.
            seed: of small integers.
            changes: sizes that differ.
        """
        size = self.fitted(replace(size or self.size, **changes))  # type: ignore[arg-type]
        subject = self.subject
        rng = np.random.default_rng(7 if seed is None else seed)
        key_heads = size.heads // 2 if subject.grouped else size.heads

        def draw(*shape: int) -> np.ndarray:
            return rng.normal(size=shape) if seed is None else rng.integers(-2, 3, size=shape).astype(float)

        query = draw(size.batch, size.heads, size.queries, size.features)
        if subject.inputs == "self":
            return self.typed(Problem(query, query, query))
        keys = draw(size.batch, key_heads, size.keys, size.features)
        if subject.inputs == "memory":
            return self.typed(Problem(query, keys, keys))
        return self.typed(Problem(query, keys, draw(size.batch, key_heads, size.keys, size.values)))

    def typed(self, problem: Problem) -> Problem:
        """In float64 where the subject takes it, else in float32."""
        return problem if self.subject.can(problem) else replace(problem, dtype="float32")

    def fitted(self, size: Size) -> Size:
        """The size as this subject can have it."""
        subject = self.subject
        heads = size.heads if "H" in subject.axes else 1
        if subject.grouped:
            heads = 4 if size.heads > 1 else 2
        features = subject.width or size.features * subject.heads
        apart = subject.inputs == "separate" and subject.width is None and subject.heads == 1
        return Size(
            batch=size.batch if "B" in subject.axes else 1,
            heads=heads,
            queries=1 if subject.axes == "D" else size.keys if subject.inputs == "self" else size.queries,
            keys=size.keys,
            features=features,
            values=size.values if apart else features,
        )

    def replaced(
        self,
        problem: Problem,
        *,
        query: np.ndarray | None = None,
        keys: np.ndarray | None = None,
        values: np.ndarray | None = None,
    ) -> Problem:
        """Other numbers, with what is one array for the subject kept one."""
        # In memory as arrays usually are, because a view of another order is not what is judged.
        query = problem.query if query is None else np.ascontiguousarray(query)
        keys = problem.keys if keys is None else np.ascontiguousarray(keys)
        values = problem.values if values is None else np.ascontiguousarray(values)
        if self.subject.inputs == "memory":
            values = keys
        if self.subject.inputs == "self":
            query = values = keys
        return replace(problem, query=query, keys=keys, values=values)

    def with_key(self, problem: Problem, key: int, new_key: float, new_value: float) -> Problem:
        """The same with one number for all features of a key, and another for those of its value."""
        keys, values = problem.keys.copy(), problem.values.copy()
        keys[:, :, key], values[:, :, key] = new_key, new_value
        return self.replaced(problem, keys=keys, values=values)

    def answer(self, problem: Problem) -> Answer:
        """What the subject answers, asked once.

        Raises:
            CannotAskError: the problem can't be put to it.
            NoAnswerError: it raised, hung, or gave no array.
        """
        answer = self.attempt(problem)
        if answer is None:
            raise CannotAskError("The question can't be put to it.")
        if answer.context is None:
            raise NoAnswerError(problem, answer)
        if answer.context.shape != shape_of(problem):
            raise CannotAskError("Its context has another shape than it should have.")
        return answer

    def context(self, problem: Problem) -> np.ndarray:
        """(B, H, Q, V): as `answer`, the context alone."""
        context = self.answer(problem).context
        assert context is not None
        return context

    def attempt(self, problem: Problem) -> Answer | None:
        """The same, whatever came; None where the problem can't be put."""
        key = _key(problem)
        if key not in self._answers:
            if not self.subject.can(problem):
                return None
            self._answers[key] = self.subject.ask(problem)
            self.asked.append((problem, self._answers[key]))
        return self._answers[key]

    def small(self) -> Iterator[Problem]:
        """Problems of small integers, the smallest first."""
        seen = set()
        for size in SMALL:
            fitted = self.fitted(size)
            if fitted not in seen:
                seen.add(fitted)
                for seed in (1, 2, 3):
                    yield self.problem(size, seed=seed)

    def _answered_size(self) -> Size:
        for size in (STANDARD, NARROW, SQUARE, ONE_QUERY):
            problem = self.problem(size)
            answer = self.attempt(problem)
            if answer is None:
                continue
            if answer.context is not None and answer.context.shape == shape_of(problem):
                self.failure = None
                return size
            self.failure = self.failure or (problem, answer)
            if answer.hung:
                break
        if self.failure is None:
            problem = self.problem(STANDARD)
            self.failure = problem, Answer(error="no way to call it was found")
        return STANDARD


def shape_of(problem: Problem) -> tuple[int, ...]:
    """(B, H, Q, V) of the context that is due."""
    return (*problem.query.shape[:3], problem.values.shape[-1])


def off(came: np.ndarray, expected: np.ndarray) -> float:
    """How far numbers are off, relative to 1 and the largest expected; infinite for a NaN not expected."""
    if came.shape != expected.shape:
        return np.inf
    if not came.size:
        return 0.0
    with np.errstate(all="ignore"):
        apart = np.abs(came - expected)
    apart = np.where(np.isnan(apart), np.where(np.isnan(came) & np.isnan(expected), 0.0, np.inf), apart)
    finite = np.abs(expected[np.isfinite(expected)])
    return float(apart.max() / (1 + (finite.max() if finite.size else 0.0)))


def masked(problem: Problem) -> Problem:
    """The same with a mask in which each query misses two keys, not its own, or one where there are few."""
    batch, _, queries, keys = (*problem.query.shape[:3], problem.keys.shape[2])
    query, key = np.arange(queries)[:, None], np.arange(keys)
    mask = key != (query + 1) % keys
    if keys > 3:
        mask &= key != (query + 3) % keys
    return replace(problem, mask=np.broadcast_to(mask, (batch, 1, queries, keys)).copy())


def _key(problem: Problem) -> object:
    arrays = (problem.query, problem.keys, problem.values, problem.mask, problem.key_mask, problem.cotangent)
    numbers = tuple(None if array is None else (array.shape, array.tobytes()) for array in arrays)
    return numbers, problem.causal, problem.dtype, problem.gradients

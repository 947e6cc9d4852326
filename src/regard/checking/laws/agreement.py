"""The law of laws: the numbers are those of the textbook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from regard.checking.laws.causality import hides_alone
from regard.checking.laws.law import Breach, Words, name_of
from regard.checking.laws.trial import NEAR, CannotAskError, Trial, masked, off
from regard.checking.problems import Problem
from regard.checking.questions import key_masked
from regard.checking.reference import NORMALIZERS, SCORES, merge, reference, repeat, split, visible
from regard.checking.report import Law

AGREES = Words(
    "agrees_with_the_reference",
    "wrong",
    "Its numbers are those of the reference.",
    "Its numbers are not those of the reference.",
)


def agrees_with_the_reference(trial: Trial) -> Law:
    """Same score, same normaliser, same context: without and with masks, and with the future hidden."""
    score, normalizer = trial.score, trial.normalizer
    if score is None and trial.suspected:
        score, normalizer = "scaled_dot", normalizer or "softmax"
    if score is None:
        reason = "It follows none of the scores that are known here, and score= does not say which is meant."
        return AGREES.untried(reason)
    normalizer = normalizer or "softmax"
    for name, known in ((score, SCORES), (normalizer, NORMALIZERS)):
        if isinstance(name, str) and name not in known:
            return AGREES.untried(f"What {name} computes depends on parameters that are not known here.")
    try:
        numbers = trial.numbers
    except CannotAskError as reason:
        return AGREES.untried(str(reason))
    return _judge(numbers, score, normalizer)


def _judge(trial: Trial, score: object, normalizer: object) -> Law:
    kinds: list[Callable[[Problem], Problem]] = [lambda problem: problem]
    if trial.subject.takes_mask:
        kinds.append(masked)
    if trial.subject.takes_key_mask:
        kinds.append(key_masked)
    if trial.subject.causal == "flag":
        kinds.append(lambda problem: replace(problem, causal=True))
    queries = trial.problem().keys.shape[2] if trial.subject.causal != "never" or trial.causal else None
    first = trial.problem() if queries is None else trial.problem(queries=queries)
    law = AGREES.kept(f"Its numbers are those of {_named(score, normalizer)}.")
    for kind in kinds:

        def check(of: Trial, problem: Problem, kind: Callable[[Problem], Problem] = kind) -> Breach | None:
            return _differs(of, kind(problem), score, normalizer)

        words = replace(AGREES, broken=f"Its numbers are not those of {_named(score, normalizer)}.")
        found = words.judge(trial, check, first)
        if found.held is False:
            return found
        if found.held is None and kind is kinds[0]:
            return found
    return law


def _differs(trial: Trial, problem: Problem, score: object, normalizer: object) -> Breach | None:
    hidden = trial.causal or problem.causal
    if problem.causal:
        hides_alone(trial)
    if hidden and problem.query.shape[2] != problem.keys.shape[2]:
        raise CannotAskError("Queries and keys differ in number.")
    expected = _expected(replace(problem, causal=hidden), score, normalizer, trial.subject.heads)
    came = trial.context(problem)
    # Rows that may look nowhere have a law of their own.
    some = np.asarray(visible(replace(problem, causal=hidden)).any(-1))
    rows = np.broadcast_to(some[..., None], came.shape)
    far = off(np.where(rows, came, 0.0), np.where(rows, expected, 0.0))
    return None if far <= NEAR else Breach(problem, came, expected, off=far)


def _expected(problem: Problem, score: Any, normalizer: Any, heads: int) -> np.ndarray:
    if isinstance(score, str) and isinstance(normalizer, str):
        context = reference(problem, score=score, normalizer=normalizer, heads=heads).context
        assert context is not None
        return context
    query, keys, values = (split(array, heads) for array in (problem.query, problem.keys, problem.values))
    keys, values = (repeat(array, query.shape[1]) for array in (keys, values))
    compare: Any = SCORES[score] if isinstance(score, str) else score
    normalize: Any = NORMALIZERS[normalizer] if isinstance(normalizer, str) else normalizer
    try:
        with np.errstate(all="ignore"):
            scores = np.where(visible(problem), compare(query, keys), -np.inf)
            context = np.asarray(normalize(scores) @ values, dtype=float)
    except Exception as error:
        raise CannotAskError(f"{_named(score, normalizer)} can't be computed in NumPy: {error}") from error
    return merge(context) if heads > 1 else context


def _named(score: object, normalizer: object) -> str:
    return f"{name_of(score).replace('_', ' ')} scores with {name_of(normalizer)}"

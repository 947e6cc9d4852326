"""Laws of causality: what comes later has no influence, and what is there now has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regard.checking.laws.law import Breach, Words
from regard.checking.laws.trial import NEAR, CannotAskError, NoAnswerError, Trial, off
from regard.checking.laws.weights import problem_for_weights, shown
from regard.checking.problems import Problem
from regard.checking.report import Law

FUTURE = Words(
    "causal_sees_no_future",
    "wrong",
    "Later positions have no influence.",
    "Later positions have influence: the future is not hidden.",
)
PRESENT = Words(
    "causal_sees_the_present",
    "wrong",
    "Each position sees itself.",
    "A position does not see itself.",
)
ALIGNED = Words(
    "causal_last_query_sees_the_last_key",
    "fragile",
    "With fewer queries than keys, the last query stands at the last key.",
    "With fewer queries than keys, the last query does not stand at the last key.",
)


def causal_sees_no_future(trial: Trial) -> Law:
    """Query i sees the keys up to its own position."""
    return FUTURE.judge(trial, _future, _square(trial)) if hides(trial) else FUTURE.untried(_NOT_CAUSAL)


def causal_sees_the_present(trial: Trial) -> Law:
    """Query i sees the key at its own position: else the first sees nothing."""
    if not hides(trial):
        return PRESENT.untried(_NOT_CAUSAL)
    if trial.subject.inputs != "self":
        return PRESENT.judge(trial, _present, _square(trial))
    try:
        numbers = trial.numbers
    except CannotAskError:
        return PRESENT.judge(trial, _first, _square(trial))
    return PRESENT.judge(numbers, _diagonal, problem_for_weights(numbers))


def causal_last_query_sees_the_last_key(trial: Trial) -> Law:
    """As when decoding with a cache: the keys of the past are there, the queries are the newest."""
    if not hides(trial):
        return ALIGNED.untried(_NOT_CAUSAL)
    if trial.subject.inputs == "self":
        return ALIGNED.untried("Query, keys and values are one array.")
    return ALIGNED.judge(trial, _aligned, trial.problem(queries=3, keys=5))


def hides(trial: Trial) -> bool:
    """Whether it hides the future, by itself or when told to, or is meant to."""
    return trial.causal or trial.subject.causal != "never"


def hides_by_default(trial: Trial) -> bool:
    """Whether the future has no influence, though nobody told it to hide it."""
    problem = _square(trial)
    if problem.query.shape[2] != problem.keys.shape[2]:
        return False
    try:
        before, after = trial.context(problem), _changed(trial, problem, problem.keys.shape[2] - 1)
    except (CannotAskError, NoAnswerError):
        return False
    return off(after[:, :, :-1], before[:, :, :-1]) <= 1e-7 < off(after[:, :, -1], before[:, :, -1])


_NOT_CAUSAL = "It is not causal."


def _square(trial: Trial) -> Problem:
    return trial.problem(queries=5, keys=5)


def _told(trial: Trial, problem: Problem) -> Problem:
    """The problem with the future to be hidden, by the switch where there is one."""
    hides_alone(trial)
    problem = replace(problem, causal=trial.subject.causal == "flag")
    if problem.keys.shape[2] < problem.query.shape[2]:
        raise CannotAskError("There are fewer keys than queries.")
    return problem


def _changed(trial: Trial, problem: Problem, key: int) -> np.ndarray:
    """The context with other numbers at one position of the keys."""
    return trial.context(trial.with_key(problem, key, 2.0, 9.0))


def _becomes(trial: Trial) -> str:
    return "becomes key 2, value 9" if trial.subject.inputs == "separate" else "becomes 2"


def hides_alone(trial: Trial) -> None:
    """End where the switch is only a hint that goes with a mask, as in `torch.nn.MultiheadAttention`."""
    if trial.subject.causal != "flag" or not trial.subject.takes_mask:
        return
    answer = trial.attempt(replace(_square(trial), causal=True))
    if answer is not None and "mask" in answer.error:
        raise CannotAskError(f"Its switch for the future goes with a mask: {answer.error.rstrip('.')}.")


def _future(trial: Trial, problem: Problem) -> Breach | None:
    problem = _told(trial, problem)
    queries, keys = problem.query.shape[2], problem.keys.shape[2]
    if queries != keys:
        raise CannotAskError("It takes one query at a time.")
    before = trial.context(problem)
    if not np.isfinite(before).all():
        message = "With the future hidden the context is not finite, as if a position saw nothing."
        return Breach(problem, before, "finite numbers", message=message)
    for key in range(keys - 1, 0, -1):
        came = _changed(trial, problem, key)
        if off(came[:, :, :key], before[:, :, :key]) > NEAR:
            change = f"position {key} {_becomes(trial)}"
            return Breach(problem, came[:, :, :key], before[:, :, :key], change=change, label="those before")
    return None


def _present(trial: Trial, problem: Problem) -> Breach | None:
    problem = _told(trial, problem)
    if problem.query.shape[2] != problem.keys.shape[2]:
        raise CannotAskError("It takes one query at a time.")
    before = trial.context(problem)
    for key in range(problem.keys.shape[2]):
        came = _changed(trial, problem, key)[:, :, key]
        if off(came, before[:, :, key]) <= 1e-7:
            change = f"position {key} {_becomes(trial)}"
            return Breach(problem, came, "another context", change=change, label=f"query {key}")
    return None


def _first(trial: Trial, problem: Problem) -> Breach | None:
    """The first position sees itself alone, so other numbers there have to change its context."""
    problem = _told(trial, problem)
    before = trial.context(problem)[:, :, 0]
    came = _changed(trial, problem, 0)[:, :, 0]
    if np.isfinite(came).all() and off(came, before) > 1e-7:
        return None
    return Breach(problem, came, "another context", change=f"position 0 {_becomes(trial)}")


def _diagonal(trial: Trial, problem: Problem) -> Breach | None:
    found = shown(trial, _told(trial, problem))
    own = np.diagonal(found.weights, axis1=-2, axis2=-1)
    if (np.abs(own) > 1e-7).all():
        return None
    return Breach(found.problem, found.weights, "weights above 0 on the diagonal", label="weights")


def _aligned(trial: Trial, problem: Problem) -> Breach | None:
    problem = _told(trial, problem)
    queries, keys = problem.query.shape[2], problem.keys.shape[2]
    if queries >= keys:
        raise CannotAskError("It takes as many queries as keys.")
    try:
        before = trial.context(problem)
    except NoAnswerError as failure:
        message = "With fewer queries than keys it fails."
        return Breach(problem, failure.answer.error, "a context", message=message)
    last, change = _changed(trial, problem, keys - 1), f"the last position {_becomes(trial)}"
    if np.isfinite(before).all() and off(last[:, :, -1], before[:, :, -1]) > 1e-7:
        if off(last[:, :, :-1], before[:, :, :-1]) <= NEAR:
            return None
        came, expected = last[:, :, :-1], before[:, :, :-1]
        return Breach(problem, came, expected, change=change, label="the others")
    came = last[:, :, -1]
    return Breach(problem, came, "another context", change=change, label="the last")

"""Laws of shape: what has to come back, and what has to be taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regard.checking.laws.law import Breach, Words, hung, no_answer
from regard.checking.laws.trial import STANDARD, NoAnswerError, Size, Trial, shape_of
from regard.checking.problems import Answer, Problem
from regard.checking.report import Law, Severity

SHAPES = Words(
    "shapes",
    "wrong",
    "The context has a row of value features for each query, the weights a number for each query and key.",
    "What comes back has not the shape that it should have.",
)
DOCUMENTED = Words(
    "takes_documented_shapes",
    "wrong",
    "It takes one query, one key, a batch of one, and more keys than queries.",
    "It does not take every shape that attention has to take.",
)


def shapes(trial: Trial) -> Law:
    """Context (B, H, Q, V), weights (B, H, Q, K)."""
    if trial.failure is not None:
        return SHAPES.breached(trial, _smallest_failure(trial) or _failed(*trial.failure))
    problem = trial.problem()
    answer = trial.answer(problem)
    if answer.weights is None:
        return SHAPES.kept("The context has a row of value features for each query.")
    due = (*problem.query.shape[:3], problem.keys.shape[2])
    heads = {1, due[1] * trial.subject.heads}
    found = answer.weights.shape
    if found[0] == due[0] and found[1] in heads and found[2:] == due[2:]:
        return SHAPES.kept()
    message = "The weights have not a number for each query and each key."
    return SHAPES.breached(trial, Breach(problem, _axes(found), _axes(due), message=message, label="weights"))


def takes_documented_shapes(trial: Trial) -> Law:
    """Every size of every axis that it has."""
    fragile: Law | None = None
    for severity, what, size in _documented(trial):
        breach = _tried(trial, size)
        if breach is None:
            continue
        for part, axes in _ALONE if what == _ALL_AT_ONCE else ():
            apart = _tried(trial, axes)
            if apart is not None:
                what, size, breach = part, axes, apart
                break
        words = Words(DOCUMENTED.name, severity, DOCUMENTED.holds, f"With {what}: {_lower(breach.message)}")
        law = words.breached(trial, _smaller(trial, size) or replace(breach, message=""))
        if severity == "wrong":
            return law
        fragile = fragile or law
        if hung(trial):
            break
    return fragile or DOCUMENTED.kept()


_ALONE = (("a batch of one", {"batch": 1}), ("one head", {"heads": 1}))
_ALL_AT_ONCE = "one query in a batch of one"


def _tried(trial: Trial, size: dict[str, int]) -> Breach | None:
    problem = trial.problem(replace(trial.size, **size))
    answer = trial.attempt(problem)
    return None if answer is None else _refused(problem, answer)


def _smallest_failure(trial: Trial) -> Breach | None:
    if hung(trial):
        return None
    for problem in trial.small():
        answer = trial.attempt(problem)
        breach = None if answer is None else _failed(problem, answer)
        if breach and breach.message:
            return breach
    return None


def _smaller(trial: Trial, size: dict[str, int]) -> Breach | None:
    """The same in a smaller size, in which what is more stays more."""
    if hung(trial):
        return None
    axes = {axis: _SMALLER.get(number, number) for axis, number in size.items()}
    problem = trial.problem(replace(Size(1, 1, 2, 2, 1, 1), **axes), seed=1)
    answer = trial.attempt(problem)
    breach = None if answer is None else _refused(problem, answer)
    return breach and replace(breach, message="")


_SMALLER = {7: 2, 6: 1, 5: 3, 4: 2, 3: 2}


def _documented(trial: Trial) -> list[tuple[Severity, str, dict[str, int]]]:
    """What is tried, with several small axes at once, and how bad it is if it fails.

    Who hides the future may be written for as many queries as keys, others for values as wide as keys.
    """
    later: Severity = "fragile" if trial.causal else "wrong"
    if trial.subject.inputs == "self":
        return [
            ("wrong", _ALL_AT_ONCE, {"batch": 1, "heads": 1}),
            ("wrong", "one position", {"keys": 1, "queries": 1}),
        ]
    tried: list[tuple[Severity, str, dict[str, int]]] = [
        (later, _ALL_AT_ONCE, {"batch": 1, "heads": 1, "queries": 1, "keys": STANDARD.keys}),
        (later, "fewer queries than keys", {"queries": STANDARD.queries, "keys": STANDARD.keys}),
    ]
    if trial.causal:
        tried.append(("wrong", "one query and one key", {"queries": 1, "keys": 1}))
    else:
        tried.append(("wrong", "one key", {"queries": STANDARD.queries, "keys": 1}))
        tried.append(("wrong", "more queries than keys", {"queries": 5, "keys": 3}))
    wide = {"queries": trial.size.queries, "values": STANDARD.values}
    tried.append(("fragile", "values of another width than the keys", wide))
    return tried


def _refused(problem: Problem, answer: Answer) -> Breach | None:
    """What is wrong with an answer, by its shape and by its being there."""
    breach = _failed(problem, answer)
    if breach.message:
        return breach
    if answer.context is not None and not np.isfinite(answer.context).all():
        return Breach(problem, answer.context, "finite numbers", message="NaN or infinity comes back.")
    return None


def _failed(problem: Problem, answer: Answer) -> Breach:
    if answer.context is None:
        return no_answer(NoAnswerError(problem, answer))
    due, came = shape_of(problem), answer.context.shape
    if came == due:
        return Breach(problem, "", "")
    message = "The context has not a row of value features for each query."
    return Breach(problem, _axes(came), _axes(due), message=message, label="context")


def _axes(shape: tuple[int, ...]) -> str:
    letters = "(batch, heads, queries, features)"
    return f"{tuple(shape)}, as {letters}" if len(shape) == 4 else f"{tuple(shape)}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]

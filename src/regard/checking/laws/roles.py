"""Laws of the three parts: the query asks, keys are asked, values are given; and what does not matter."""

from __future__ import annotations

import re

import numpy as np

from regard.checking.laws.law import Breach, Words, name_of, written
from regard.checking.laws.trial import NEAR, CannotAskError, Trial, off
from regard.checking.problems import Problem
from regard.checking.report import Law

QUERY = Words(
    "uses_the_query",
    "wrong",
    "Another query gets another context.",
    "The context is the same whatever the query is: the weights do not depend on it.",
)
KEYS = Words(
    "uses_the_keys",
    "wrong",
    "Other keys give another context.",
    "The context is the same whatever the keys are: the weights do not depend on them.",
)
VALUES = Words(
    "uses_the_values",
    "wrong",
    "Other values give another context.",
    "The context is the same whatever the values are: something else is averaged.",
)
ORDER = Words(
    "order_of_keys_does_not_matter",
    "wrong",
    "Keys and values in another order give the same context.",
    "Keys and values in another order give another context.",
)
SHIFT = Words(
    "adding_a_constant_to_scores_changes_nothing",
    "wrong",
    "The same number added to all scores of a query changes nothing.",
    "The same number added to all scores of a query changes its context.",
)

POSITIONAL = r"(?i)alibi|rotary|\brope\b|relative|position|local|window|monotonic|locat|t5|block"
DOTS = ("dot", "scaled_dot", "general")


def uses_the_query(trial: Trial) -> Law:
    """What is asked decides what comes."""
    if name_of(trial.score) == "learned_query":
        return QUERY.untried("A learned query is the same for every input.")
    if trial.subject.inputs == "self":
        return QUERY.untried("Query, keys and values are one array.")
    return QUERY.judge(trial, _same_for_another_query)


def uses_the_keys(trial: Trial) -> Law:
    """What is there to be found decides where is looked."""
    if name_of(trial.score) == "location":
        return KEYS.untried("A location score looks at the query alone.")
    if trial.subject.inputs != "separate":
        return KEYS.untried("Keys and values are one array.")
    return KEYS.judge(trial, _same_for_other_keys)


def uses_the_values(trial: Trial) -> Law:
    """What is averaged is the values."""
    return VALUES.judge(trial, _same_for_other_values)


def order_of_keys_does_not_matter(trial: Trial) -> Law:
    """Attention sees a set: positions are for others to add."""
    if trial.causal:
        return ORDER.untried("It hides the future, so the order of the keys matters.")
    words = f"{trial.subject.name} {getattr(trial.subject, 'description', '')} {name_of(trial.score)}"
    found = re.search(POSITIONAL, words)
    law = ORDER.judge(trial, _order)
    if law.held is False and found:
        return ORDER.untried(f"Its description speaks of “{found[0]}”, so the order of the keys may matter.")
    return law


def adding_a_constant_to_scores_changes_nothing(trial: Trial) -> Law:
    """Only differences of scores count. From outside: q · (k + c) adds q · c to all scores of a query."""
    if name_of(trial.score) not in DOTS:
        return SHIFT.untried("From outside this can be tried only where scores are dot products.")
    if trial.subject.inputs == "self":
        return SHIFT.untried("Query, keys and values are one array, so scores can't be shifted alone.")
    if "sigmoid" in name_of(trial.normalizer):
        return SHIFT.untried("With this normaliser keys don't compete, so scores count by themselves.")
    try:
        return SHIFT.judge(trial.numbers, _shift)
    except CannotAskError as reason:
        return SHIFT.untried(str(reason))


def _same_for_another_query(trial: Trial, problem: Problem) -> Breach | None:
    _require_telling(problem)
    other = trial.replaced(problem, query=2.0 - problem.query[..., ::-1] * 1.5)
    before, after = trial.context(problem), trial.context(other)
    if off(after, before) > 1e-7:
        return None
    shown = other.query
    return Breach(problem, after, "another context", change=_becomes("query", shown))


def _same_for_other_keys(trial: Trial, problem: Problem) -> Breach | None:
    _require_telling(problem)
    other = trial.replaced(problem, keys=1.5 * problem.keys[:, :, ::-1] + 0.5)
    if off(trial.context(other), trial.context(problem)) > 1e-7:
        return None
    return Breach(problem, trial.context(other), "another context", change=_becomes("keys", other.keys))


def _same_for_other_values(trial: Trial, problem: Problem) -> Breach | None:
    if trial.subject.inputs == "separate":
        other = trial.replaced(problem, values=2 * problem.values[:, :, ::-1] + 3)
        name, shown = "values", other.values
    else:
        other = trial.replaced(problem, keys=2 * problem.keys + 1)
        name, shown = ("input" if trial.subject.inputs == "self" else "memory"), other.keys
    if off(trial.context(other), trial.context(problem)) > 1e-7:
        return None
    return Breach(problem, trial.context(other), "another context", change=_becomes(name, shown))


def _order(trial: Trial, problem: Problem) -> Breach | None:
    count = problem.keys.shape[2]
    if count < 2:
        raise CannotAskError("It takes one key only.")
    turned = np.roll(np.arange(count)[::-1], 1) if count > 2 else np.array([1, 0])
    other = trial.replaced(problem, keys=problem.keys[:, :, turned], values=problem.values[:, :, turned])
    expected = trial.context(problem)
    if trial.subject.inputs == "self":
        expected = expected[:, :, turned]
    came = trial.context(other)
    far = off(came, expected)
    if far <= NEAR:
        return None
    change = f"the positions in the order {turned.tolist()}"
    return Breach(problem, came, expected, change=change, off=far)


def _shift(trial: Trial, problem: Problem) -> Breach | None:
    constant = 0.5
    shifted = trial.replaced(problem, keys=problem.keys + constant)
    expected = trial.context(problem)
    if trial.subject.inputs == "memory":
        expected = expected + constant
    came = trial.context(shifted)
    far = off(came, expected)
    if far <= NEAR:
        return None
    return Breach(problem, came, expected, change=f"{constant} is added to every number in keys", off=far)


def _require_telling(problem: Problem) -> None:
    """End where every attention would give the same, as with keys or values that are all alike."""
    for array in (problem.keys, problem.values):
        if array.shape[2] < 2 or (array == array[:, :, :1]).all((2, 3)).any():
            raise CannotAskError("Its keys are too few, or all alike.")


def _becomes(name: str, array: np.ndarray) -> str:
    return f"{name} becomes {written(array)}"

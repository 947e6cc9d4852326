"""Laws of independence: what one query, one item of a batch or one head gets is nobody else's business."""

from __future__ import annotations

import re

import numpy as np

from regard.checking.laws.law import Breach, Words
from regard.checking.laws.trial import NEAR, CannotAskError, Trial, off
from regard.checking.problems import Problem
from regard.checking.report import Law

QUERIES = Words(
    "queries_independent",
    "wrong",
    "What a query gets does not depend on the other queries.",
    "What a query gets depends on the other queries.",
)
BATCH = Words(
    "batch_items_independent",
    "wrong",
    "What an item of a batch gets does not depend on the others.",
    "What an item of a batch gets depends on the others.",
)
HEADS = Words(
    "heads_independent",
    "wrong",
    "What a head gets does not depend on the other heads.",
    "What a head gets depends on the other heads.",
)


def queries_independent(trial: Trial) -> Law:
    """Softmax runs over the keys, so each row of weights stands alone."""
    if trial.subject.inputs == "self":
        return QUERIES.untried("Query, keys and values are one array.")
    if trial.problem().query.shape[2] < 2:
        return QUERIES.untried("It takes one query at a time.")
    return QUERIES.judge(trial, _queries)


def batch_items_independent(trial: Trial) -> Law:
    """Texts do not look at each other."""
    if "B" not in trial.subject.axes:
        return BATCH.untried("It has no axis of a batch.")
    return BATCH.judge(trial, _items)


def heads_independent(trial: Trial) -> Law:
    """Each head looks by itself; what mixes them comes after."""
    words = f"{trial.subject.name} {getattr(trial.subject, 'description', '')}"
    if re.search(r"(?i)talking", words):
        return HEADS.untried("Talking heads are mixed on purpose.")
    if "H" in trial.subject.axes:
        return HEADS.judge(trial, _heads)
    try:
        numbers = trial.numbers
    except CannotAskError as reason:
        return HEADS.untried(str(reason))
    if numbers.subject.heads == 1:
        return HEADS.untried("It has one head.")
    return HEADS.judge(numbers, _heads_inside)


def _queries(trial: Trial, problem: Problem) -> Breach | None:
    if problem.query.shape[2] < 2:
        raise CannotAskError("It takes one query at a time.")
    query = problem.query.copy()
    query[:, :, 0] = 2.0
    came = trial.context(trial.replaced(problem, query=query))[:, :, 1:]
    expected = trial.context(problem)[:, :, 1:]
    if off(came, expected) <= NEAR:
        return None
    return Breach(problem, came, expected, change="the first query becomes 2", label="the others")


def _items(trial: Trial, problem: Problem) -> Breach | None:
    if problem.query.shape[0] < 2:
        raise CannotAskError("It takes one item at a time.")
    came = trial.context(_moved(trial, problem, np.s_[1:]))[:1]
    expected = trial.context(problem)[:1]
    if off(came, expected) <= NEAR:
        return None
    return Breach(problem, came, expected, change="the second item becomes other numbers", label="the first")


def _heads(trial: Trial, problem: Problem) -> Breach | None:
    heads, key_heads = problem.query.shape[1], problem.keys.shape[1]
    if key_heads < 2:
        raise CannotAskError("It has one head.")
    group = heads // key_heads
    others = _moved(trial, problem, np.s_[:, group:], np.s_[:, 1:])
    came, expected = trial.context(others)[:, :group], trial.context(problem)[:, :group]
    if off(came, expected) <= NEAR:
        return None
    which = "the first" if group == 1 else f"the first {group}"
    return Breach(problem, came, expected, change="the other heads become other numbers", label=which)


def _heads_inside(trial: Trial, problem: Problem) -> Breach | None:
    """Change the features of each head in turn: they may reach as many features of the context, no more."""
    heads, width = trial.subject.heads, problem.query.shape[-1]
    # Neighbouring features are a head as a rule, but every so-manieth may be one too.
    sides = [np.arange(width) // (width // heads), np.arange(width) % heads]
    before = trial.context(problem)
    breach = None
    for side in sides:
        breach = None
        for head in range(heads):
            mine = side == head
            came = trial.context(_moved(trial, problem, np.s_[..., mine]))[..., ~mine]
            if off(came, before[..., ~mine]) > NEAR:
                change = f"the features {np.flatnonzero(mine).tolist()} become other numbers"
                breach = Breach(problem, came, before[..., ~mine], change=change, label="the others")
                break
        if breach is None:
            return None
    return breach


def _moved(trial: Trial, problem: Problem, part: object, key_part: object = None) -> Problem:
    """Other numbers in a part of every array."""
    keys_part = key_part or part
    arrays = []
    for array, here in (
        (problem.query, part),
        (problem.keys, keys_part),
        (problem.values, keys_part),
    ):
        copy = array.copy()
        copy[here] = 1.5 - 1.25 * array[here]  # type: ignore[index]
        arrays.append(copy)
    return trial.replaced(problem, query=arrays[0], keys=arrays[1], values=arrays[2])

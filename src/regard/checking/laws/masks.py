"""Laws of masks: what is hidden has no influence, not even as a NaN, and who sees nothing gets nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from regard.checking.laws.law import Breach, Words
from regard.checking.laws.trial import NEAR, CannotAskError, Trial, masked, off
from regard.checking.problems import Problem
from regard.checking.questions import key_masked
from regard.checking.report import Law

MASK = Words(
    "mask_obeyed",
    "wrong",
    "A key that a query may not look at has no influence on what it gets.",
    "A key that a query may not look at has influence on what it gets.",
)
KEY_MASK = Words(
    "key_mask_obeyed",
    "wrong",
    "A key that is not there has no influence on anybody.",
    "A key that is not there has influence.",
)
EMPTY = Words(
    "empty_row_is_zero",
    "fragile",
    "A query that may look nowhere gets zeros.",
    "A query that may look nowhere does not get zeros.",
)
NAN = Words(
    "nan_behind_a_mask_stays_there",
    "fragile",
    "A NaN in a hidden key or value reaches nobody.",
    "A NaN in a hidden key or value reaches the context of those who may not see it.",
)

Hide = Callable[[Problem], Problem]


def mask_obeyed(trial: Trial) -> Law:
    """Whatever stands where a query may not look, it gets the same; its weight there is 0."""
    if not trial.subject.takes_mask:
        return MASK.untried("It takes no mask.")
    return MASK.judge(trial, lambda of, problem: _influence(of, masked(problem)))


def key_mask_obeyed(trial: Trial) -> Law:
    """The same for keys that are not there for any query."""
    if not trial.subject.takes_key_mask:
        return KEY_MASK.untried("It takes no key mask.")
    return KEY_MASK.judge(trial, lambda of, problem: _influence(of, key_masked(problem)))


def empty_row_is_zero(trial: Trial) -> Law:
    """Neither NaN nor an average of what is hidden."""
    return _with_either(trial, EMPTY, _empty_row, _empty_item)


def nan_behind_a_mask_stays_there(trial: Trial) -> Law:
    """0 · NaN is NaN, so a weight of 0 is not enough."""
    return _with_either(trial, NAN, _last_hidden_by_mask, _last_hidden, nan=True)


def seen(problem: Problem) -> np.ndarray:
    """(B, H or 1, Q, K) booleans: who may look where, by mask and key mask."""
    batch, _, queries, _ = problem.query.shape
    allowed = np.ones((batch, 1, queries, problem.keys.shape[2]), dtype=bool)
    if problem.mask is not None:
        allowed = allowed & problem.mask
    if problem.key_mask is not None:
        allowed = allowed & problem.key_mask[:, None, None]
    return allowed


def _with_either(trial: Trial, words: Words, by_mask: Hide, by_key_mask: Hide, nan: bool = False) -> Law:
    """Judge with the mask, then with the key mask: broken by either."""
    subject, laws = trial.subject, []
    check = _nan if nan else _empty
    if subject.takes_mask:
        laws.append(words.judge(trial, lambda of, problem: check(of, by_mask(problem))))
    if subject.takes_key_mask:
        laws.append(words.judge(trial, lambda of, problem: check(of, by_key_mask(problem))))
    if not laws:
        return words.untried("It takes no mask.")
    for held in (False, True):
        for law in laws:
            if law.held is held:
                return law
    return laws[0]


def _influence(trial: Trial, problem: Problem) -> Breach | None:
    """Change each hidden key: those who may not see it must get what they got, with a weight of 0 there."""
    allowed = seen(problem)
    if allowed.all():
        raise CannotAskError("Its keys are too few to hide one.")
    answer = trial.answer(problem)
    before = trial.context(problem)
    some = np.broadcast_to(np.asarray(allowed.any(-1)), before.shape[:3])
    if not np.isfinite(before[some]).all():
        return Breach(problem, before, "finite numbers", message="Under a mask the context is not finite.")
    for key in range(allowed.shape[-1]):
        for part, other in _others(trial, problem, key):
            untouched = _blind(trial, allowed, key, before)
            if not untouched.any():
                continue
            came, expected = trial.context(other)[untouched], before[untouched]
            if off(came, expected) > NEAR:
                change = f"{part}, hidden from some"
                return Breach(problem, came, expected, change=change, label="those")
    if answer.weights is not None:
        hidden = np.broadcast_to(~allowed & allowed.any(-1, keepdims=True), answer.weights.shape)
        if (np.abs(answer.weights[hidden]) > NEAR).any():
            message = "The weights that come back are not 0 where a query may not look."
            expected = "0 where it may not look"
            return Breach(problem, answer.weights, expected, message=message, label="weights")
    return None


def _others(trial: Trial, problem: Problem, key: int) -> Iterator[tuple[str, Problem]]:
    """The same problem with other numbers at one key, and at its value."""
    if trial.subject.inputs == "separate":
        keys = problem.keys.copy()
        keys[:, :, key] = 3.0 if problem.query.mean() >= 0 else -3.0
        yield f"key {key} becomes {keys[0, 0, key, 0]:g}", trial.replaced(problem, keys=keys)
        values = problem.values.copy()
        values[:, :, key] = 100.0
        yield f"value {key} becomes 100", trial.replaced(problem, values=values)
    else:
        yield f"position {key} becomes 4", trial.with_key(problem, key, 4.0, 4.0)


def _blind(trial: Trial, allowed: np.ndarray, key: int, context: np.ndarray) -> np.ndarray:
    """(B, H, Q) booleans: who may not see a key but sees another, and is not made of it itself."""
    blind = ~allowed[..., key] & allowed.any(-1)
    if trial.subject.inputs == "self":
        blind[..., key] = False
    return np.broadcast_to(blind, context.shape[:3])


def _empty_row(problem: Problem) -> Problem:
    """The first query may look nowhere, the others everywhere."""
    batch, _, queries, _ = problem.query.shape
    mask = np.ones((batch, 1, queries, problem.keys.shape[2]), dtype=bool)
    mask[:, :, 0] = False
    return replace(problem, mask=mask)


def _empty_item(problem: Problem) -> Problem:
    """The last item has no keys."""
    there = np.ones((problem.keys.shape[0], problem.keys.shape[2]), dtype=bool)
    there[-1] = False
    return replace(problem, key_mask=there)


def _last_hidden_by_mask(problem: Problem) -> Problem:
    """Nobody may look at the last key."""
    batch, _, queries, _ = problem.query.shape
    mask = np.ones((batch, 1, queries, problem.keys.shape[2]), dtype=bool)
    mask[..., -1] = False
    return replace(problem, mask=mask)


def _last_hidden(problem: Problem) -> Problem:
    there = np.ones((problem.keys.shape[0], problem.keys.shape[2]), dtype=bool)
    there[:, -1] = False
    return replace(problem, key_mask=there)


def _empty(trial: Trial, problem: Problem) -> Breach | None:
    context = trial.context(problem)
    rows = np.broadcast_to(~seen(problem).any(-1), context.shape[:3])
    if not np.isfinite(context[rows]).all():
        message = "A query that may look nowhere gets NaN."
        return Breach(problem, context, np.where(rows[..., None], 0.0, context), message=message)
    if not np.isfinite(context).all():
        message = "A query that may look nowhere makes others NaN."
        return Breach(problem, context, "finite numbers", message=message)
    if not trial.subject.projected and off(context[rows], np.zeros_like(context[rows])) > NEAR:
        message = "A query that may look nowhere gets something: an average of what is hidden from it."
        return Breach(problem, context, np.where(rows[..., None], 0.0, context), message=message)
    return _influenced_though_empty(trial, problem, rows) if trial.subject.projected else None


def _influenced_though_empty(trial: Trial, problem: Problem, rows: np.ndarray) -> Breach | None:
    """Through projections nothing may come as a bias, but it can't depend on what is hidden."""
    if trial.subject.inputs == "self":
        other = trial.with_key(problem, problem.keys.shape[2] - 1, 3.0, 3.0)
        rows = rows.copy()
        rows[..., -1] = False
    else:
        other = trial.replaced(problem, keys=2 * problem.keys + 1, values=2 * problem.values + 1)
    if not rows.any() or off(trial.context(other)[rows], trial.context(problem)[rows]) <= NEAR:
        return None
    message = "What a query gets that may look nowhere depends on what is hidden from it."
    came, expected = trial.context(other)[rows], trial.context(problem)[rows]
    return Breach(problem, came, expected, message=message)


def _nan(trial: Trial, problem: Problem) -> Breach | None:
    last = problem.keys.shape[2] - 1
    if last < 1:
        raise CannotAskError("Its keys are too few to hide one.")
    before = trial.context(problem)
    rows = np.ones(before.shape[:3], dtype=bool)
    if trial.subject.inputs == "self":
        rows[..., last] = False
    kinds = [(np.nan, np.nan)]
    if trial.subject.inputs == "separate":
        kinds = [(1.0, np.nan), (np.nan, 1.0)]
    for kind in kinds:
        spoilt = trial.with_key(problem, last, *kind)
        came, expected = trial.context(spoilt), trial.context(trial.with_key(problem, last, 1.0, 1.0))
        # Who is influenced by hidden numbers breaks another law.
        broken = ~np.isfinite(came[rows]).all() and np.isfinite(expected[rows]).all()
        if broken:
            return Breach(spoilt, came[rows], expected[rows])
    return None

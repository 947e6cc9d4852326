"""The weights of a subject: those it gives, or those that its context shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regard.checking.laws.trial import HALF, SQUARE, STANDARD, CannotAskError, Trial, off
from regard.checking.problems import Problem


@dataclass(frozen=True, eq=False)
class Weights:
    """(B, H, Q, K) weights, the problem they belong to, and whether the subject gave them itself.

    ``rest`` is what of the context, (B, H, heads, Q, V / heads), no weights of these values can explain.
    """

    problem: Problem
    weights: np.ndarray
    given: bool
    rest: np.ndarray | None = None


def weights_of(trial: Trial, problem: Problem) -> Weights:
    """The weights for a problem: given if possible, else shown by the context.

    Raises:
        CannotAskError: it gives none, and they can't be told from its context.
    """
    answer = trial.answer(problem)
    if answer.weights is not None:
        return Weights(problem, answer.weights, given=True)
    found = shown(trial, problem)
    if found.rest is not None and off(found.rest, np.zeros_like(found.rest)) > HALF:
        raise CannotAskError("Its context is no sum of the values by any weights.")
    if trial.subject.inputs == "separate":
        twice = trial.replaced(found.problem, values=2 * found.problem.values)
        if off(trial.context(twice), 2 * trial.context(found.problem)) > HALF:
            raise CannotAskError("Its context does not follow the values, so it shows no weights.")
    return found


def shown(trial: Trial, problem: Problem) -> Weights:
    """The weights that the context shows, solved for values that are independent of each other."""
    subject = trial.subject
    if subject.projected:
        raise CannotAskError("It gives no weights, and its projections are its own.")
    keys, width = problem.keys.shape[2], problem.values.shape[-1]
    if subject.inputs == "separate":
        free = trial.size is STANDARD and subject.width is None and subject.heads == 1
        width = max(keys, width) if free else width
        one_head = np.eye(keys, width // subject.heads)
        everywhere = np.broadcast_to(np.tile(one_head, subject.heads), (*problem.keys.shape[:3], width))
        problem = trial.replaced(problem, values=everywhere.copy())
    if width // subject.heads < keys:
        raise CannotAskError("It gives no weights, and has too few features to tell them from the context.")
    context = _split(trial.context(problem), subject.heads)
    values = _split(problem.values, subject.heads)
    values = np.repeat(values, context.shape[1] // values.shape[1], axis=1)
    if not np.isfinite(context).all():
        raise CannotAskError("Its context is not finite, so no weights can be told from it.")
    weights = context @ np.linalg.pinv(values)
    batch, _, queries, _ = problem.query.shape
    rest = context - weights @ values
    return Weights(problem, weights.reshape(batch, -1, queries, keys), given=False, rest=rest)


def problem_for_weights(trial: Trial) -> Problem:
    """An ordinary problem with so few keys that the context shows their weights."""
    fitted = trial.fitted(trial.size)
    most = max(2, min(fitted.keys, fitted.features // trial.subject.heads))
    if trial.size == SQUARE or trial.subject.inputs == "self":
        return trial.problem(keys=most, queries=most)
    # One key less and one query less is fine too; more queries than keys is not for who hides the future.
    return trial.problem(keys=most, queries=min(fitted.queries, most))


def _split(array: np.ndarray, heads: int) -> np.ndarray:
    """(B, H, N, V) to (B, H, heads, N, V / heads)."""
    batch, outer, count, width = array.shape
    return array.reshape(batch, outer, count, heads, width // heads).swapaxes(2, 3)

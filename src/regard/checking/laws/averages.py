"""Laws of the average: weights are shares of one whole, and the context is the values by these shares."""

from __future__ import annotations

import numpy as np

from regard.checking.laws.law import Breach, Words
from regard.checking.laws.trial import NEAR, CannotAskError, Trial, masked, off
from regard.checking.laws.weights import problem_for_weights, shown, weights_of
from regard.checking.problems import Problem
from regard.checking.report import Law

NEGATIVE = Words(
    "weights_not_negative",
    "wrong",
    "No weight is below 0.",
    "Some weights are below 0, so it does not average.",
)
SUM = Words(
    "weights_sum_to_one",
    "wrong",
    "The weights of each query sum to 1 over the keys.",
    "The weights of a query do not sum to 1 over the keys.",
)
AVERAGE = Words(
    "context_is_the_weighted_average",
    "wrong",
    "The context is the average of the values by the weights.",
    "The context is not the average of the values by the weights.",
)


def weights_not_negative(trial: Trial) -> Law:
    """Weights are shares: none is below 0."""
    judged = _who_shows(trial)
    if isinstance(judged, str):
        return NEGATIVE.untried(judged)
    return NEGATIVE.judge(judged, _negative, problem_for_weights(judged))


def weights_sum_to_one(trial: Trial) -> Law:
    """Each query's weights sum to 1 over the keys, unless keys don't compete or a sink takes a share."""
    if not sums_to_one(trial.normalizer):
        return SUM.untried("This normaliser does not make weights sum to 1.")
    judged = _who_shows(trial)
    if not isinstance(judged, str):
        return SUM.judge(judged, _sum, problem_for_weights(judged))
    if trial.subject.inputs == "self":
        return SUM.untried(judged)
    return SUM.judge(trial, _alike)


def context_is_the_weighted_average(trial: Trial) -> Law:
    """The context is Σ_k w_k v_k; where the weights stay inside, it is at least linear in the values."""
    plain = trial.plain
    if plain is not None and _gives_heads(plain):
        first = AVERAGE.judge(plain, _average)
        if first.held is not True or not plain.subject.takes_mask:
            return first
        with_mask = AVERAGE.judge(plain, lambda of, problem: _average(of, masked(problem)))
        return first if with_mask.held is None else with_mask
    if trial.subject.inputs == "separate":
        return AVERAGE.judge(trial, _linear)
    if plain is None:
        return AVERAGE.untried("It gives no weights, and its projections are its own.")
    return AVERAGE.judge(plain, _spanned, problem_for_weights(plain))


def sums_to_one(normalizer: object) -> bool:
    """Whether weights by this normaliser, a name, a function or None, sum to 1."""
    name = normalizer if isinstance(normalizer, str) else getattr(normalizer, "__name__", "")
    if "sigmoid" in str(name) or type(normalizer).__name__ == "Sigmoid" or name == "softmax_with":
        return False
    if normalizer is None or isinstance(normalizer, str):
        return True
    with np.errstate(all="ignore"):
        try:
            total = np.asarray(normalizer(np.array([[1.0, -0.5, 0.25]])), dtype=float).sum()  # type: ignore[operator]
        except Exception:  # a normaliser of another library, or one that needs more
            return False
    return bool(abs(total - 1) < NEAR)


def _who_shows(trial: Trial) -> Trial | str:
    """The trial whose weights can be seen, or why none can."""
    if trial.subject.gives_weights:
        return trial
    if trial.plain is None:
        return "It gives no weights, and its projections are its own."
    return trial.plain


def _gives_heads(trial: Trial) -> bool:
    """Whether weights come back for each head."""
    weights = trial.answer(trial.problem()).weights
    heads = trial.fitted(trial.size).heads * trial.subject.heads
    return weights is not None and weights.shape[1] == heads


def _negative(trial: Trial, problem: Problem) -> Breach | None:
    found = weights_of(trial, problem)
    if not (found.weights < -NEAR).any():
        return None
    return Breach(found.problem, found.weights, "none below 0", label="weights")


def _sum(trial: Trial, problem: Problem) -> Breach | None:
    found = weights_of(trial, problem)
    sums = found.weights.sum(-1)
    far = off(sums, np.ones_like(sums))
    if far <= NEAR:
        return None
    return Breach(found.problem, sums, np.ones_like(sums), off=far, label="sums")


def _alike(trial: Trial, problem: Problem) -> Breach | None:
    """The same value at every key is everybody's average, whatever the projections."""
    if problem.query.shape[2] < 2:
        raise CannotAskError("It gives no weights, and takes one query at a time.")
    values = np.ones_like(problem.values)
    keys = problem.keys if trial.subject.inputs == "separate" else values
    alike = trial.replaced(problem, keys=keys, values=values)
    context = trial.context(alike)
    far = off(context, np.broadcast_to(context[:, :, :1], context.shape))
    if far <= NEAR:
        return None
    return Breach(alike, context, "the same for every query, since all values are the same", off=far)


def _average(trial: Trial, problem: Problem) -> Breach | None:
    answer = trial.answer(problem)
    assert answer.context is not None and answer.weights is not None
    heads = trial.subject.heads
    values = _heads_apart(problem.values, heads)
    values = np.repeat(values, answer.weights.shape[1] // values.shape[1], axis=1)
    expected = _heads_together(answer.weights @ values, heads)
    far = off(answer.context, expected)
    return None if far <= NEAR else Breach(problem, answer.context, expected, off=far)


def _linear(trial: Trial, problem: Problem) -> Breach | None:
    """The context of a mean of values is the mean of the contexts."""
    other = problem.values[:, :, ::-1] * 2 - 1
    mean = trial.replaced(problem, values=(problem.values + other) / 2)
    expected = (trial.context(problem) + trial.context(trial.replaced(problem, values=other))) / 2
    far = off(trial.context(mean), expected)
    if far <= NEAR:
        return None
    message = "The context is not linear in the values, so it is no average of them."
    return Breach(mean, trial.context(mean), expected, off=far, message=message)


def _spanned(trial: Trial, problem: Problem) -> Breach | None:
    found = shown(trial, problem)
    assert found.rest is not None
    far = off(found.rest, np.zeros_like(found.rest))
    if far <= NEAR:
        return None
    if trial.subject.heads == 1:
        raise CannotAskError("It may have heads inside that are not known, so its values are not either.")
    context = trial.context(found.problem)
    return Breach(found.problem, context, "a sum of the values by some weights", off=far)


def _heads_apart(array: np.ndarray, heads: int) -> np.ndarray:
    """(B, 1, N, heads · V) to (B, heads, N, V); as it is for one head."""
    if heads == 1:
        return array
    batch, _, count, width = array.shape
    return array.reshape(batch, count, heads, width // heads).swapaxes(1, 2)


def _heads_together(array: np.ndarray, heads: int) -> np.ndarray:
    if heads == 1:
        return array
    batch, _, count, width = array.shape
    return array.swapaxes(1, 2).reshape(batch, 1, count, heads * width)

"""Laws of arithmetic: large scores, half precision, dtypes and gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regard.checking.laws.averages import sums_to_one
from regard.checking.laws.law import Breach, Words
from regard.checking.laws.trial import CannotAskError, Size, Trial, masked, off
from regard.checking.problems import Answer, Problem
from regard.checking.report import Law

LARGE = Words(
    "large_scores_stay_finite",
    "wrong",
    "Scores of some thousands, above or below 0, give finite numbers.",
    "Large scores overflow: NaN or infinity comes back.",
)
UNLIKE = Words(
    "unlike_queries_stay_finite",
    "fragile",
    "A query of small scores beside one of large scores gets finite numbers.",
    "A query of small scores beside one of large scores gets NaN or infinity.",
)
DTYPE = Words(
    "dtype_kept",
    "fragile",
    "The context has the dtype of what was handed in.",
    "The context has another dtype than what was handed in.",
)
HALVES = Words(
    "half_precision_sums_to_one",
    "fragile",
    "In half precision the weights of thousands of keys still sum to 1.",
    "In half precision the weights of many keys do not sum to 1.",
)
GRADIENTS = Words(
    "gradients_finite",
    "wrong",
    "Gradients are finite.",
    "A gradient is NaN or infinite.",
)

MANY = 4096
"""As many keys as make a sum of ones in half precision come to rest at 2,048."""


def large_scores_stay_finite(trial: Trial) -> Law:
    """exp of some hundreds is infinity, unless the largest score is subtracted first."""
    return LARGE.judge(trial, _large, _alone(trial) if _may_differ(trial) else None)


def unlike_queries_stay_finite(trial: Trial) -> Law:
    """What is subtracted before exp is each query's own largest score, not that of all."""
    if not _may_differ(trial) or trial.problem().query.shape[2] < 2:
        return UNLIKE.untried("Its queries can't be made large one by one.")
    if _large(trial, _alone(trial)) is not None:
        return UNLIKE.untried("Large scores overflow for a query alone.")
    return UNLIKE.judge(trial, _unlike)


def dtype_kept(trial: Trial) -> Law:
    """float16 in, float16 out."""
    tried: list[str] = []
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        if not trial.subject.can(replace(trial.problem(), dtype=dtype)):
            continue

        def check(of: Trial, problem: Problem, dtype: str = dtype) -> Breach | None:
            return _dtype(of, replace(problem, dtype=dtype))

        law = DTYPE.judge(trial, check)
        if law.held is False:
            return law
        tried.append(dtype)
    if not tried:
        return DTYPE.untried("Its dtype can't be chosen.")
    return DTYPE.kept(f"The context has the dtype of what was handed in: {', '.join(tried)}.")


def half_precision_sums_to_one(trial: Trial) -> Law:
    """A sum of thousands of numbers has to be kept in float32."""
    if trial.subject.inputs == "self" or trial.subject.axes == "D" or trial.subject.projected:
        return HALVES.untried("It can't be handed thousands of keys with one value.")
    if trial.suspected:
        return HALVES.untried("Its weights may be off for another reason.")
    if not sums_to_one(trial.normalizer):
        return HALVES.untried("This normaliser does not make weights sum to 1.")
    problem = trial.problem(Size(1, 1, 2, MANY, trial.size.features, trial.size.features))
    ones = np.ones_like(problem.values)
    keys = problem.keys if trial.subject.inputs == "separate" else ones
    problem = trial.replaced(problem, query=0.1 * problem.query, keys=keys, values=ones)
    tried = False
    # bfloat16 comes to rest sooner; where there is none, float16.
    for dtype in ("bfloat16", "float16"):
        answer = None if tried else trial.attempt(replace(problem, dtype=dtype))
        if answer is None or answer.context is None:
            continue
        tried = True
        expected = np.ones_like(answer.context)
        far = off(answer.context, expected)
        if far > 2e-2:
            asked, total = replace(problem, dtype=dtype), f"{float(answer.context.flat[0]):.4g}"
            message = f"In {dtype} the weights of {MANY:,} keys sum to {total}, not to 1."
            return HALVES.breached(trial, Breach(asked, total, "1", message=message, label="sum"))
    return HALVES.kept() if tried else HALVES.untried("It takes no half precision.")


def gradients_finite(trial: Trial) -> Law:
    """Whoever trains through it needs them: in ordinary problems, behind masks, and where a row is empty."""
    if not trial.subject.differentiable:
        return GRADIENTS.untried("Its library has no gradients.")
    law = GRADIENTS.judge(trial, _gradients)
    if law.held is not True or not trial.subject.takes_mask:
        return law
    for message, hide in (("Behind a mask a gradient is NaN or infinite.", masked), (_EMPTY, _empty)):
        severity = "fragile" if hide is _empty else "wrong"
        words = replace(GRADIENTS, broken=message, severity=severity)

        def check(of: Trial, problem: Problem, hide=hide) -> Breach | None:
            return _gradients(of, hide(problem))

        other = words.judge(trial, check)
        if other.held is False:
            return other
    return law


_EMPTY = "Where one query may look nowhere, a gradient is NaN or infinite: training stops there."


def _may_differ(trial: Trial) -> bool:
    return trial.subject.inputs != "self"


def _alone(trial: Trial) -> Problem:
    return trial.problem(queries=1, batch=1, heads=1)


def _large(trial: Trial, problem: Problem) -> Breach | None:
    for sign in (1.0, -1.0):
        if _may_differ(trial):
            # All scores of one sign: far above what exp can bear, or so far below that all shares are 0.
            query = np.full_like(problem.query, 1000.0 * sign)
            keys = 1.0 + np.abs(problem.keys)
            large = trial.replaced(problem, query=query, keys=keys)
        else:
            large = trial.replaced(problem, keys=60.0 * sign * (1 + np.abs(problem.keys)))
        answer = trial.answer(large)
        assert answer.context is not None
        if not np.isfinite(answer.context).all():
            return Breach(large, answer.context, "finite numbers")
    return None


def _unlike(trial: Trial, problem: Problem) -> Breach | None:
    query, keys = problem.query.copy(), 1.0 + np.abs(problem.keys)
    if query.shape[2] < 2:
        raise CannotAskError("It takes one query at a time.")
    query[:, :, 0], query[:, :, 1:] = 1000.0, 0.5
    unlike = trial.replaced(problem, query=query, keys=keys)
    context = trial.context(unlike)
    if np.isfinite(context).all():
        return None
    return Breach(unlike, context, "finite numbers")


def _dtype(trial: Trial, problem: Problem) -> Breach | None:
    answer = trial.attempt(problem)
    if answer is None or answer.context is None or not answer.dtype:
        raise CannotAskError("It does not take this dtype.")
    if answer.dtype == problem.dtype:
        return None
    message = f"{problem.dtype} goes in, {answer.dtype} comes back."
    return Breach(problem, answer.dtype, problem.dtype, message=message)


def _gradients(trial: Trial, problem: Problem) -> Breach | None:
    answer: Answer = trial.answer(replace(problem, gradients=True))
    for role, gradient in answer.gradients.items():
        if not np.isfinite(gradient).all():
            return Breach(problem, gradient, "finite numbers", label=f"gradient of {role}")
    if not answer.gradients:
        raise CannotAskError("It gave no gradients.")
    return None


def _empty(problem: Problem) -> Problem:
    mask = np.ones((problem.query.shape[0], 1, problem.query.shape[2], problem.keys.shape[2]), dtype=bool)
    mask[:, :, 0] = False
    return replace(problem, mask=mask)

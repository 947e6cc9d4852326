"""Mistakes that show at the edges: large scores, NaN behind a mask, rows without keys, half precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regard.checking import reference
from regard.checking.mistakes.pipeline import Known, Pipeline, run
from regard.checking.problems import Answer, Problem, Subject
from regard.checking.questions import agree, pose, question

LARGE = 4e4
"""What a query is multiplied by: scores of some ten thousands, past the range of exp in float64 too."""


def large_scores(subject: Subject) -> list[str]:
    """Whether scores of some ten thousands give NaN or infinity: of one query alone, or of unlike queries."""
    names = []
    one = question(subject, queries=1, keys=5, batch=1, heads=1)
    if subject.inputs != "self" and _overflows(subject, one):
        names.append("softmax_unstable")
    elif _overflows(subject, question(subject)):
        # With one array for all, the largest score is a position's with itself, and rows are alike in height.
        names.append("softmax_unstable" if subject.inputs == "self" else "maximum_over_all_rows")
    return names


def masked_edges(subject: Subject) -> list[str]:
    """What a hidden NaN does, and what a query gets that may look nowhere. For masks that work otherwise."""
    plain = question(subject)
    batch, _, queries, _ = plain.query.shape
    keys = plain.keys.shape[2]
    if keys < 3:
        return []
    names: list[str] = []
    for kind in ("mask", "key_mask"):
        column = np.ones((batch, 1, queries, keys), dtype=bool)
        column[..., 1] = False
        problem = _with(plain, kind, column)
        if not subject.can(problem) or not _hides(subject, problem):
            continue
        if not _clean(subject.ask(_filled(problem, np.nan)), subject):
            names.append("masked_nan_leaks")
        names += _empty(subject, plain, kind)
    return list(dict.fromkeys(names))


def half_precision(subject: Subject, pipeline: Pipeline) -> list[str]:
    """Whether sums over many keys are lost in half precision.

    Args:
        subject: who is asked, with 4,096 keys of equal weight, those that come first with larger
            values. A sum in float16 no longer grows from 2,048 on, one in bfloat16 from 256 on.
        pipeline: what explains its answers in full precision.
    """
    if subject.inputs == "self" or subject.width is not None:
        return []
    problem = question(subject, queries=2, keys=4096, batch=1, heads=1)
    values = np.zeros_like(problem.values)
    values[:, :, :2048] = 2.0
    keys = values if subject.inputs == "memory" else problem.keys
    # A query of 0 makes all terms of the sums 1, and a 1 is what is lost first; a cosine has none of 0.
    query = problem.query if pipeline.score is reference.cosine else 0 * problem.query
    problem = replace(problem, query=query, keys=keys, values=values)
    expected = run(pipeline, problem, subject.heads)
    for dtype in ("float16", "bfloat16") if subject.framework != "jax" else ("float16",):
        posed = pose(subject, replace(problem, dtype=dtype))
        if expected is None or posed is None or not posed.answered:
            continue
        if not agree(expected[0], posed.answer.context, 2e-2):
            return ["half_precision_accumulation"]
    return []


def _overflows(subject: Subject, problem: Problem) -> bool:
    query = LARGE * problem.query
    if subject.inputs == "self":
        # The diagonal of a position's scores with itself is what overflows; 200² times it is LARGE.
        query = 200 * problem.query
        large = Problem(query, query, query)
    else:
        large = replace(problem, query=query)
    if not subject.can(problem) or not subject.can(large):
        return False
    before, after = subject.ask(problem).context, subject.ask(large).context
    if before is None or after is None:
        return False
    return bool(np.isfinite(before).all() and not np.isfinite(after).all())


def _with(problem: Problem, kind: str, mask: np.ndarray) -> Problem:
    return replace(problem, mask=mask) if kind == "mask" else replace(problem, key_mask=mask[:, 0, 0])


def _filled(problem: Problem, number: float) -> Problem:
    """The same with another number at key 1, and at that place in the query where they are one array."""
    keys, values = problem.keys.copy(), problem.values.copy()
    keys[:, :, 1], values[:, :, 1] = number, number
    if problem.query is problem.keys:
        return replace(problem, query=keys, keys=keys, values=keys)
    return replace(problem, keys=keys, values=keys if problem.keys is problem.values else values)


def _others(answer: Answer, subject: Subject) -> np.ndarray | None:
    """The context of the queries that are not made of key 1."""
    if answer.context is None or subject.inputs != "self":
        return answer.context
    return np.delete(answer.context, 1, axis=2)


def _hides(subject: Subject, problem: Problem) -> bool:
    before = _others(subject.ask(problem), subject)
    return agree(before, _others(subject.ask(_filled(problem, 3.0)), subject))


def _clean(answer: Answer, subject: Subject) -> bool:
    context = _others(answer, subject)
    return context is None or bool(np.isfinite(context).all())


def _empty(subject: Subject, plain: Problem, kind: str) -> list[str]:
    batch, _, queries, _ = plain.query.shape
    mask = np.ones((batch, 1, queries, plain.keys.shape[2]), dtype=bool)
    mask[0, :, slice(0, 1) if kind == "mask" else slice(None)] = False
    problem = _with(plain, kind, mask)
    if not subject.can(problem):
        return []
    answer, other = subject.ask(problem), subject.ask(_filled(problem, 3.0))
    if answer.context is None or other.context is None:
        return []
    if np.isnan(answer.context[0, :, 0]).any():
        return ["empty_rows_nan"]
    if not agree(answer.context[0, :, 0], other.context[0, :, 0]):
        return ["finite_fill_makes_empty_rows_uniform"]
    return []


KNOWN = {
    "softmax_unstable": Known(
        "wrong",
        "Large scores overflow: exp of some hundreds is infinity, and infinity by infinity is NaN.",
        "exp(s - max(s)) / Σ exp(s - max(s)), the maximum taken over the keys of each query.",
    ),
    "maximum_over_all_rows": Known(
        "fragile",
        "What is subtracted before exp is the maximum of all rows: a row far below it sums to zero.",
        "scores - scores.max(axis=-1, keepdims=True): each query's own maximum.",
    ),
    "masked_nan_leaks": Known(
        "fragile",
        "A NaN in a key or value behind the mask reaches the context: 0 · NaN is NaN.",
        "values = where(seen by anyone, values, 0) before weights @ values; scores by where, not by +.",
    ),
    "empty_rows_nan": Known(
        "fragile",
        "A query that may look nowhere gets NaN: softmax of a row of -inf is 0 / 0.",
        "weights = where(mask.any(axis=-1, keepdims=True), weights, 0).",
    ),
    "finite_fill_makes_empty_rows_uniform": Known(
        "fragile",
        "A query that may look nowhere looks at what is hidden: with a finite fill its scores are all alike.",
        "weights = where(mask.any(axis=-1, keepdims=True), weights, 0).",
    ),
    "half_precision_accumulation": Known(
        "fragile",
        "Scores or sums are kept in half precision: over many keys the weights don't sum to one.",
        "Compute scores, softmax and sums in float32, and turn only the context back.",
    ),
}

"""Evidence where no reference knows the numbers: the weights as they come, or as the values show them.

A subject with learned projections or a score of its own has weights that nobody can compute from outside. But
they must sum to one over the keys, follow the query, and obey masks; and how they fail often says which
mistake it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from regard.checking import reference
from regard.checking.mistakes import causality, masking
from regard.checking.mistakes.pipeline import Array, Deviation, Known
from regard.checking.problems import Problem, Subject
from regard.checking.questions import TOLERANCE, Posed, agree, key_masked, masked, pose


def weights_of(subject: Subject, posed: Posed) -> Array | None:
    """(B, H, Q, K) weights, where needed up to one factor: those returned, or those that the values show.

    With values of 0 but at one key, the context is that key's weight times what the value is turned into.
    """
    if posed.answer.weights is not None:
        return posed.answer.weights
    if posed.answer.context is None:
        return None
    if subject.inputs != "separate":
        return _solved(posed.problem.values, posed.answer.context)
    values = posed.problem.values
    empty = subject.ask(replace(posed.problem, values=np.zeros_like(values))).context
    columns = []
    for key in range(values.shape[2]):
        only = np.zeros_like(values)
        only[:, :, key] = 1.0
        context = subject.ask(replace(posed.problem, values=only)).context
        if context is None or empty is None or context.shape != empty.shape:
            return None
        columns.append(context - empty)
    turned = np.stack(columns, axis=-2)
    flat = turned.reshape(-1, turned.shape[-1])
    if not np.isfinite(flat).all():
        return None
    direction = flat[np.abs(flat).sum(-1).argmax()]
    size = float(direction @ direction)
    if size == 0:
        return None
    shares = turned @ direction / size
    # Several heads inside give several directions: then one number a key is not enough.
    if not agree(shares[..., None] * direction, turned):
        return None
    return shares if subject.projected else shares * direction[0]


def _solved(values: Array, context: Array) -> Array | None:
    """The weights by which context (B, H, Q, V) is made of no more than V values, if it is."""
    if values.shape[2] > values.shape[3] or values.shape[:2] != context.shape[:2]:
        return None
    weights = context @ np.linalg.pinv(values)
    return weights if agree(weights @ values, context) else None


def normalised_over(weights: Array, *, exact: bool) -> list[str]:
    """Over which axis the weights sum to one (or to one number), if not over the keys.

    A single row or column always sums to one number, so with ``exact`` unset axes of length 1 say nothing.
    """
    axes = {
        "": (3,),
        "softmax_over_queries": (2,),
        "softmax_over_heads": (1,),
        "softmax_over_batch": (0,),
        "softmax_over_everything": (2, 3),
    }
    if (weights < -TOLERANCE).any():
        return []
    for name, axis in axes.items():
        if name and all(weights.shape[one] == 1 for one in axis):
            continue
        sums = weights.sum(axis)
        wanted = 1.0 if exact else float(sums.flat[0])
        if sums.size > 1 and np.abs(sums - wanted).max() <= 10 * TOLERANCE * max(1.0, abs(wanted)):
            return [name] if name else []
    total = weights.sum()
    return ["softmax_over_everything"] if exact and abs(total - 1) < 10 * TOLERANCE else []


def ignored_inputs(subject: Subject, posed: Posed, score: object, words: str) -> list[str]:
    """Which inputs the context does not depend on, where attention has to, unless the score is meant so."""
    if subject.inputs == "self" or posed.answer.context is None:
        return []
    problem, names = posed.problem, []
    queries = np.random.default_rng(41).normal(size=problem.query.shape)
    same_query = _same(subject, posed, replace(problem, query=queries))
    if same_query and score != "learned_query" and not ("pool" in words and score is None):
        names.append("query_ignored")
    if subject.inputs == "separate":
        made = np.random.default_rng(42).normal(size=problem.keys.shape)
        alone = score == "location" or ("location" in words and score is None)
        if not same_query and not alone and _same(subject, posed, replace(problem, keys=made)):
            names.append("keys_ignored")
        made = np.random.default_rng(43).normal(size=problem.values.shape)
        if _same(subject, posed, replace(problem, values=made)):
            names.append("keys_used_as_values")
    return names


def linear_in_keys(subject: Subject, posed: Posed) -> bool:
    """Whether the logarithms of the weights are linear in the keys, as v · (W_q q + W_k k) makes them."""
    keys = posed.problem.keys.copy()
    if keys.shape[2] < 3:
        return False
    keys[:, :, 2] = (keys[:, :, 0] + keys[:, :, 1]) / 2
    values = keys if subject.inputs == "memory" else posed.problem.values
    again = pose(subject, replace(posed.problem, keys=keys, values=values))
    weights = weights_of(subject, again) if again is not None else None
    if weights is None or (weights[..., :3] <= 0).any():
        return False
    logs = np.log(weights[..., :3])
    return agree((logs[..., 0] + logs[..., 1]) / 2, logs[..., 2], 1e-4)


def mask_mistakes(subject: Subject, posed: Posed) -> list[str]:
    """How a mask is mistreated, from the weights without and with it, or from what influences what."""
    names: list[str] = []
    for make, deviations in ((masked, masking.MASK), (key_masked, masking.KEY_MASK)):
        again = pose(subject, make(posed.problem))
        if again is None or not again.answered:
            continue
        seen = np.broadcast_to(
            reference.visible(again.problem), (*again.problem.query.shape[:3], again.problem.keys.shape[2])
        )
        before, after = weights_of(subject, posed), weights_of(subject, again)
        if before is not None and after is not None and before.shape == after.shape and (before > 0).all():
            names += _by_weights(before, after, seen[:, : before.shape[1]], deviations)
        elif agree(posed.answer.context, again.answer.context):
            names.append("mask_ignored" if make is masked else "key_mask_ignored")
        else:
            names += _by_influence(subject, again, seen[:, 0])
    return list(dict.fromkeys(names))


def causal_mistakes(subject: Subject, posed: Posed) -> list[str]:
    """How the future is hidden, if not rightly, from what influences what."""
    influence = _influence(subject, posed)
    if influence is None:
        return []
    queries, keys = influence.shape[1:]
    if queries < 3 or (influence == causality.lower(queries, keys)).all():
        return []
    if influence.all():
        return [causality.MISSING.name]
    for deviation in causality.SHAPES:
        pattern = deviation.wrong(queries, keys)
        # What a finite fill gives to an empty row is not known.
        rows = pattern.any(-1)
        if (influence == pattern)[:, rows].all():
            return [deviation.name]
    return []


def _same(subject: Subject, posed: Posed, problem: Problem) -> bool:
    return agree(posed.answer.context, subject.ask(problem).context)


def _by_weights(before: Array, after: Array, seen: Array, deviations: Sequence[Deviation]) -> list[str]:
    scores = np.log(before)
    with np.errstate(all="ignore"):
        right = np.where(seen.any(-1, keepdims=True), masking_right(scores, seen), np.nan)
        if agree(right, after):
            return []
        for deviation in deviations:
            if agree(deviation.wrong(scores, seen, reference.softmax), after):
                return [deviation.name]
        filled = _log_share(scores, after, seen)
    return ["mask_multiplied_before_softmax"] if filled else []


def masking_right(scores: Array, seen: Array) -> Array:
    return reference.softmax(np.where(seen, scores, -np.inf))


def _log_share(scores: Array, after: Array, seen: Array) -> bool:
    """Whether hidden keys have equal, positive weights, and the seen ones their former ratios."""
    shift = np.where(seen, np.log(after) - scores, np.nan)
    hidden = np.where(seen, np.nan, np.log(after))
    rows = (seen.sum(-1) > 1) & ((~seen).sum(-1) > 1)
    if not rows.any() or not np.isfinite(hidden[rows][~seen[rows]]).all():
        return False
    spread = [np.nanmax(x[rows], -1) - np.nanmin(x[rows], -1) for x in (shift, hidden)]
    return max(float(one.max()) for one in spread) < 1e-4


def _influence(subject: Subject, posed: Posed) -> Array | None:
    """(B, Q, K) booleans: whether what stands at a key's place changes a query's context."""
    problem = posed.problem
    if posed.answer.context is None or not np.isfinite(posed.answer.context).all():
        return None
    columns = []
    for key in range(problem.keys.shape[2]):
        keys, values = problem.keys.copy(), problem.values.copy()
        keys[:, :, key], values[:, :, key] = 1.5, -1.5
        other = replace(problem, keys=keys, values=values)
        if subject.inputs != "separate":
            other = replace(other, values=keys)
        if subject.inputs == "self":
            other = replace(other, query=keys)
        context = subject.ask(other).context
        if context is None or context.shape != posed.answer.context.shape:
            return None
        with np.errstate(all="ignore"):
            moved = ~(np.abs(context - posed.answer.context) <= TOLERANCE)
        if subject.inputs == "self" and moved.shape[2] > key:
            # Its own query changed too, which says nothing about whether it sees itself.
            moved[:, :, key] = True
        columns.append(moved.any((1, 3)))
    return np.stack(columns, axis=-1)


def _by_influence(subject: Subject, posed: Posed, seen: Array) -> list[str]:
    influence = _influence(subject, posed)
    if influence is None:
        return []
    judged = ~np.eye(*seen.shape[1:], dtype=bool) if subject.inputs == "self" else np.ones_like(seen[0])
    if (influence == ~seen)[:, judged].all():
        return ["mask_inverted"]
    if seen.shape[1] == seen.shape[2] and (influence == seen.swapaxes(1, 2))[:, judged].all():
        return ["mask_transposed"] if not (influence == seen)[:, judged].all() else []
    return []


KNOWN = {
    "additive_without_tanh": Known(
        "wrong",
        "The additive score has no tanh: v · (W_q q + W_k k) splits in two sums, and the query's cancels in "
        "softmax.",
        "scores = v · tanh(W_q q + W_k k) (Bahdanau 2015): tanh between the sum and v.",
    ),
}

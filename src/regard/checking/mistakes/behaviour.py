"""Mistakes that show in what a function does, whatever it computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regard.checking.mistakes.pipeline import Known
from regard.checking.problems import Problem, Subject
from regard.checking.questions import Posed, agree, pose, question
from regard.checking.report import Mistake

ASKED_AGAIN = 3
_FEWER = "fewer queries than keys"


def unsteady(subject: Subject, posed: Posed) -> list[str]:
    """Whether the same question gets different answers."""
    context = posed.answer.context
    if context is None or not np.isfinite(context).all():
        return []
    # A little dropout may leave a small answer as it is, once or twice.
    again = (subject.ask(posed.problem).context for _ in range(ASKED_AGAIN))
    differs = any(other is not None and not agree(context, other, 1e-6) for other in again)
    return ["dropout_active_in_evaluation"] if differs else []


def written_to(answered: list[Posed]) -> list[str]:
    return ["inputs_written_to"] if any(posed.answer.changed for posed in answered) else []


def leaking(subject: Subject, posed: Posed) -> list[str]:
    """Whether what one item, or one head, gets depends on another's inputs."""
    names = []
    axes = [("batch_items_mixed", 0)] if posed.problem.query.shape[0] > 1 else []
    if posed.problem.query.shape[1] > 1 and not subject.grouped:
        axes.append(("heads_mixed", 1))
    for name, axis in axes:
        other = subject.ask(_changed(posed.problem, axis))
        if posed.answer.context is None or other.context is None:
            continue
        first = (slice(None),) * axis + (0,)
        if not agree(posed.answer.context[first], other.context[first]):
            names.append(name)
    return names


def crashes(subject: Subject, *, causal: bool) -> list[Mistake]:
    """Whether shapes raise that attention has to take, of a subject that answers an ordinary problem.

    Where the future is hidden, fewer queries than keys are somewhat special, and raising is only fragile.
    """
    sizes: dict[str, dict[str, int]] = {
        "one query": {"queries": 1},
        "one key": {"queries": 1 if subject.inputs == "self" else 5, "keys": 1},
        "a batch of one": {"batch": 1},
        "one head": {"heads": 1},
        _FEWER: {"queries": 3},
    }
    if subject.framework == "jax":
        # Each shape is compiled anew, which takes longer than all else here.
        sizes = {"one query in a batch of one": {"batch": 1, "heads": 1, "queries": 1}, _FEWER: sizes[_FEWER]}
    if subject.inputs == "self":
        del sizes[_FEWER]
    failed = []
    for what, size in sizes.items():
        posed = pose(subject, question(subject, **size))
        if posed is not None and posed.answer.error and not posed.answer.hung:
            failed.append(what)
    if not failed:
        return []
    known = KNOWN["crashes_on_documented_shapes"]
    lenient = causal and _FEWER in failed and not {"a batch of one", "one head"} & set(failed)
    text = f"{known.explanation} Here: {', '.join(failed)}."
    return [
        replace(known, explanation=text).mistake(
            "crashes_on_documented_shapes", "fragile" if lenient else None
        )
    ]


def _changed(problem: Problem, axis: int) -> Problem:
    """The same with other numbers in the last item, or head."""
    last = (slice(None),) * axis + (-1,)
    made: dict[int, np.ndarray] = {}
    arrays = {}
    for seed, role in enumerate(("query", "keys", "values")):
        array = getattr(problem, role)
        if id(array) not in made:
            copy = array.copy()
            copy[last] = 2 * np.random.default_rng(seed + 70).normal(size=copy[last].shape)
            made[id(array)] = copy
        arrays[role] = made[id(array)]
    return replace(problem, **arrays)


KNOWN = {
    "dropout_active_in_evaluation": Known(
        "wrong",
        "The same question gets different answers: dropout (or some state) is active in evaluation.",
        "F.dropout(weights, p, training=self.training), and model.eval() before it is used.",
    ),
    "inputs_written_to": Known(
        "wrong",
        "The inputs are changed in place: whoever calls it finds other numbers in them afterwards.",
        "query = query / sqrt(D), not query /= sqrt(D); copy before writing.",
    ),
    "batch_items_mixed": Known(
        "wrong",
        "What one item of a batch gets depends on the others: texts look at each other's keys.",
        "scores (B, Q, K) = query @ keys.transpose(0, 2, 1): the batch is an axis of every product.",
    ),
    "heads_mixed": Known(
        "wrong",
        "What one head gets depends on the other heads' inputs.",
        "scores (B, H, Q, K) = einsum('bhqd,bhkd->bhqk'): the head is an axis of every product.",
    ),
    "crashes_on_documented_shapes": Known(
        "wrong",
        "It raises for shapes that attention has to take.",
        "Take sizes from query.shape and keys.shape apart, and name the axes in reshape and squeeze.",
    ),
}

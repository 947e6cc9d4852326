"""From a few questions to the names of mistakes, likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from regard.checking import reference
from regard.checking.mistakes import (
    behaviour,
    causality,
    expected,
    heads,
    masking,
    measured,
    normalising,
    numerics,
    roles,
    scaling,
)
from regard.checking.mistakes.expected import Expected, explain_core
from regard.checking.mistakes.pipeline import Deviation, Known, Pipeline, hidden, run, unscaled
from regard.checking.mistakes.search import Explanation, explain, fitted
from regard.checking.problems import Subject
from regard.checking.questions import Posed, agree, key_masked, masked, pose, question, willing
from regard.checking.report import Mistake

KNOWN: dict[str, Known] = {
    **normalising.KNOWN,
    **scaling.KNOWN,
    **roles.KNOWN,
    **heads.KNOWN,
    **masking.KNOWN,
    **causality.KNOWN,
    **measured.KNOWN,
    **expected.KNOWN,
    **behaviour.KNOWN,
    **numerics.KNOWN,
}
"""All mistakes by name."""

SHARED_WITH_MASKS = 3
"""So many explanations of the answers without masks, which are alike there, are tried with masks."""


def find_mistakes(
    subject: Subject,
    *,
    causal: bool = False,
    score: str | reference.Score | None = None,
    normalizer: str | reference.Normalizer | None = None,
) -> list[Mistake]:
    """Find which known mistakes a subject makes.

    It is asked a few small problems, and its answers are compared with those of a right attention in which
    one step is wrong, or two, or three: the fewest that agree with everything are named, and all names that
    can't be told apart. Where learned numbers leave nothing to compare with, the weights are judged as they
    come.

    Args:
        subject: who is asked. Its name and, where it has one, its ``description`` (docstrings) tell whether
            plain dot attention is meant; elsewhere q · k unscaled counts as one whose scale is missing.
        causal: whether the future has to be hidden.
        score, normalizer: what is meant, by name or as a function of NumPy arrays; None for what is usual or
            can be recognised.

    Returns:
        Mistakes, those that are wrong before those that are fragile, each once; empty where nothing is known
        to be wrong.
    """
    subject = willing(subject)
    posed = pose(subject, question(subject))
    if posed is None or not posed.answered:
        crashed = posed is not None and posed.answer.error and not posed.answer.hung
        return _mistakes(["crashes_on_documented_shapes"] if crashed else [])
    with_mask = pose(subject, masked(posed.problem))
    names = behaviour.written_to([one for one in (posed, with_mask) if one is not None])
    unsteady = behaviour.unsteady(subject, posed)
    if unsteady:
        return _mistakes([*unsteady, *names])
    plain_dot = reference.unscaled_is_meant(subject)
    score, normalizer = _by_name(score), _by_name(normalizer)
    meant = Expected(
        score,
        normalizer,
        causal=subject.causal != "flag" and (causal or subject.causal == "always"),
        dot=score is None and plain_dot != "no",
        words=reference.words_of(subject),
    )
    judged, explained, answered = _core(subject, meant, posed)
    if explained:
        if score is None and plain_dot == "perhaps":
            explained = _both_scales(explained)
        names = [*_named(explained), *_switched(judged, explained, answered), *names]
    else:
        names += _measured(judged, meant, answered)
    # What raises because of a mistake named already is not worth another name.
    crashed = [] if _named(explained) else behaviour.crashes(subject, causal=meant.causal)
    found = _mistakes([*names, *_edges(subject, judged, explained, names)])
    return sorted([*found, *crashed], key=lambda mistake: mistake.severity == "fragile")


def _core(subject: Subject, meant: Expected, posed: Posed) -> tuple[Subject, list[Explanation], Posed]:
    """Who is judged (with identities for its projections, if it can be), what explains it, and its answer."""
    judged = subject.plain() if subject.projected else subject
    if judged is None:
        return subject, [], posed
    first = posed if judged is subject else pose(judged, question(judged))
    if first is None or not first.answered:
        return subject, [], posed
    other = pose(judged, question(judged, queries=3, keys=5, features=4, value_features=7, seed=1))
    answered = [one for one in (first, other) if one is not None and one.answered]
    return judged, explain_core(judged, meant, answered), first


def _by_name(function: Any) -> Any:
    """The name of a function that has a known one, so that mistakes in it have theirs too."""
    name = getattr(function, "__name__", None)
    return name if name in (*reference.SCORES, *reference.NORMALIZERS) else function


def _both_scales(explained: list[Explanation]) -> list[Explanation]:
    """Name the missing scale of what is wrong anyhow, where it isn't certain that none is meant."""
    return [
        Explanation((*one.names, "missing_scale"), one.pipeline)
        if one.names and (one.pipeline.score, one.pipeline.scale) == (reference.dot, unscaled)
        else one
        for one in explained
    ]


OF_ANY_MASK = {
    "causal_added_as_number": "mask_added_as_number",
    "causal_after_softmax_without_renormalising": "mask_after_softmax_without_renormalising",
    "causal_multiplied_before_softmax": "mask_multiplied_before_softmax",
}
"""Mistakes with a mask of the future that go by another name too, that of the same mistake with any mask."""


def _mistakes(names: Iterable[str]) -> list[Mistake]:
    both = [each for name in names for each in (name, OF_ANY_MASK.get(name, name))]
    return [KNOWN[name].mistake(name) for name in dict.fromkeys(both)]


def _named(explained: Sequence[Explanation]) -> list[str]:
    """All names, in the catalogue's order within one explanation."""
    return list(dict.fromkeys(name for explanation in explained for name in explanation.names))


def _switched(judged: Subject, explained: Sequence[Explanation], main: Posed) -> list[str]:
    """Mistakes in masks, in the switch that hides the future, and in the weights returned."""
    found = _returned(explained[0], main, judged)
    for make, steps in ((masked, masking.MASK), (key_masked, masking.KEY_MASK)):
        posed = pose(judged, make(main.problem))
        if posed is not None and posed.answered and explained[0].pipeline.hide is hidden:
            found += _mask(judged, explained[:SHARED_WITH_MASKS], posed, steps)
    return [*found, *_flag(judged, explained)] if judged.causal == "flag" else found


def _mask(
    judged: Subject, explained: Sequence[Explanation], posed: Posed, steps: Sequence[Deviation]
) -> list[str]:
    both = replace(explained[0].pipeline, hide=masking.hiding_both)
    of_one_text = judged.inputs == "self" and posed.problem.mask is None
    right = [*explained, *([Explanation(explained[0].names, both)] if of_one_text else [])]
    found = explain(right, steps, [posed], judged.heads, most=1)
    if found:
        names = _named(found)
        if "key_mask_ignored" in names:
            # Rows of hidden queries may be anything, so that ignoring the mask looks like hiding queries.
            names = ["key_mask_ignored"] if judged.takes_mask else ["mask_ignored", "key_mask_ignored"]
        return [*names, *_returned(found[0], posed, judged)]
    for treatment in (masking.filled, masking.lowered):

        def made(number: float, treatment: Callable[..., Any] = treatment) -> Pipeline:
            return replace(explained[0].pipeline, hide=partial(treatment, number))

        if fitted(made, masking.NUMBERS, [posed], judged.heads) is not None:
            return ["mask_fill_too_small"]
    return []


def _flag(judged: Subject, explained: Sequence[Explanation]) -> list[str]:
    """What the switch does: first where queries and keys are as many or not, else where they are as many."""
    sizes = [{}, {"queries": 3}] if judged.inputs != "self" else [{}]
    asked = [pose(judged, replace(question(judged, **size), causal=True)) for size in sizes]
    posed = [one for one in asked if one is not None and one.answered]
    bases = [
        Explanation(one.names, replace(one.pipeline, future=reference.future_hidden)) for one in explained
    ]
    steps = [*causality.SHAPES, *causality.WAYS, causality.MISSING]
    found = explain(bases, steps, posed, judged.heads, most=1)
    return _named(found or explain(bases, steps, posed[:1], judged.heads, most=1))


def _returned(explanation: Explanation, posed: Posed, judged: Subject) -> list[str]:
    """Whether the weights returned are those that explain the context, or at least their mean over heads."""
    weights = posed.answer.weights
    if weights is None or "half_precision_accumulation" in explanation.names:
        return []
    unmasked = replace(posed.problem, mask=None, key_mask=None)
    for problem, name in ((posed.problem, ""), (unmasked, "weights_returned_before_masking")):
        found = run(explanation.pipeline, problem, judged.heads)
        if found is None:
            continue
        # Where a query sees nothing, the weights may be anything: only the context is judged there.
        shares = np.where((found[1] == 0).all(-1, keepdims=True), np.nan, found[1])
        if any(agree(one, weights) for one in (shares, shares.mean(1, keepdims=True))):
            return [name] if name else []
    return ["weights_returned_are_not_those_used"]


def _measured(subject: Subject, meant: Expected, posed: Posed) -> list[str]:
    """What the weights and the behaviour say of a subject that nothing explains."""
    ignored = measured.ignored_inputs(subject, posed, meant.score, meant.words)
    weights = measured.weights_of(subject, posed)
    names = list(ignored)
    linear = "query_ignored" in ignored and measured.linear_in_keys(subject, posed)
    if linear and (meant.score in (None, "additive", "concat") or callable(meant.score)):
        spoken = any(word in meant.words for word in ("additive", "bahdanau", "concat"))
        first = meant.score in ("additive", "concat") or spoken
        names.insert(0 if first else 1, "additive_without_tanh")
    if weights is not None and meant.normalizer != "sigmoid":
        exact = posed.answer.weights is not None or not subject.projected
        over = measured.normalised_over(weights, exact=exact)
        names += over
    if not {"softmax_over_batch", "softmax_over_heads", "softmax_over_everything"} & set(names):
        names += behaviour.leaking(subject, posed)
    if subject.takes_mask or subject.takes_key_mask:
        names += measured.mask_mistakes(subject, posed)
    if meant.causal:
        names += measured.causal_mistakes(subject, posed)
    return names


def _edges(
    subject: Subject, judged: Subject, explained: Sequence[Explanation], names: list[str]
) -> list[str]:
    """What large scores, hidden NaN, empty rows and half precision do."""
    found = numerics.large_scores(judged)
    mistreated = any(name.startswith(("mask_", "key_mask_")) for name in names)
    if (subject.takes_mask or subject.takes_key_mask) and not mistreated:
        found += numerics.masked_edges(subject)
    if explained and not names:
        found += numerics.half_precision(judged, explained[0].pipeline)
    return found

"""What an attention is expected to compute, and the explanation of what it does compute without masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from regard.checking import reference
from regard.checking.mistakes import causality, heads, masking, normalising, roles, scaling
from regard.checking.mistakes.pipeline import (
    Deviation,
    Known,
    Pipeline,
    Sizes,
    root_of_features,
    unscaled,
)
from regard.checking.mistakes.search import Explanation, explain, fits, fitted
from regard.checking.problems import Subject
from regard.checking.questions import Posed, masked, pose

EXPONENTS = [0.2 * place - 5 for place in range(46)]
"""Powers of e among which an unusual scale is looked for."""

HALF = 1e-2
"""How far half precision may be off."""


@dataclass(frozen=True)
class Expected:
    """What is meant.

    Attributes:
        score, normalizer: names, functions of NumPy arrays, or None for what is usual or can be recognised.
        causal: whether the future has to be hidden without a switch.
        dot: whether plain dot products may stand where scaled ones are usual.
        words: name and docstrings, which may speak of a normalizer, or of a temperature.
    """

    score: str | reference.Score | None
    normalizer: str | reference.Normalizer | None
    causal: bool
    dot: bool
    words: str = ""

    def pipelines(self) -> list[Pipeline]:
        """Right ones, the likeliest first."""
        scores: list[tuple[reference.Score, Callable]] = []
        if self.score in (None, "scaled_dot"):
            scores.append((reference.dot, root_of_features))
        if self.dot or self.score in ("dot", "general"):
            scores.append((reference.dot, unscaled))
        others = [name for name in ("cosine", "negative_squared_distance") if self.score in (None, name)]
        scores += [(reference.SCORES[name], unscaled) for name in others]
        if callable(self.score):
            scores.append((self.score, unscaled))
        spoken = [name for name in ("sigmoid", "hardmax") if name.removesuffix("max") in self.words]
        wanted = [self.normalizer] if self.normalizer else ["softmax", "sparsemax", "entmax15", *spoken]
        known = [
            name if callable(name) else reference.NORMALIZERS[name]
            for name in wanted
            if callable(name) or name in reference.NORMALIZERS
        ]
        future = reference.future_hidden if self.causal else None
        return [
            Pipeline(score=score, scale=scale, normalize=normalize, future=future)
            for normalize in known
            for score, scale in scores
        ]

    def bases(self) -> list[Explanation]:
        """The same as explanations without a mistake, and all variants that are none."""
        bases = [Explanation((), pipeline) for pipeline in self.pipelines()]
        if not self.causal:
            # Nobody said that the future is to be seen, so a function may well hide it by itself.
            bases += [
                Explanation((), replace(base.pipeline, future=reference.future_hidden)) for base in bases
            ]
        dealt = {"split": heads.split_alternating, "merge": heads.merge_alternating}
        return bases + [Explanation((), replace(bases[0].pipeline, **dealt)) for _ in bases[:1]]

    def steps(self, subject: Subject) -> list[Deviation]:
        """Wrong steps that this subject can make at all."""
        steps = [*normalising.DEVIATIONS, *self._scales(), *roles.DEVIATIONS]
        steps += [
            deviation
            for deviation in heads.DEVIATIONS
            if (subject.grouped if deviation.step == "group" else subject.heads > 1 or "H" in subject.axes)
        ]
        steps += [*causality.SHAPES, *causality.WAYS]
        return [*steps, causality.MISSING] if self.causal else steps

    def _scales(self) -> list[Deviation]:
        if self.score in (None, "scaled_dot"):
            return list(scaling.DEVIATIONS)
        others = [deviation for deviation in scaling.DEVIATIONS if deviation.name != "missing_scale"]
        return [Deviation("scaled_though_not_asked", "scale", root_of_features), *others]


def explain_core(subject: Subject, expected: Expected, posed: Sequence[Posed]) -> list[Explanation]:
    """Find which wrong steps, or none, give a subject's answers.

    Args:
        subject: who answered.
        expected: what is meant.
        posed: problems without masks, and the answers. Where no explanation is found and the subject takes
            masks, it is asked with one, in case that it reads a mask of all True in a way of its own.

    Returns:
        The simplest explanations; empty where there is none.
    """
    bases, steps, own = expected.bases(), expected.steps(subject), subject.heads
    single = explain(bases, steps, posed, own, most=1)
    if single and single[0].names == ("uniform_weights",):
        # So is a mask of all True that is read the other way round, with a finite fill.
        return _needing_a_mask(subject, bases, steps, posed) or single
    return (
        single
        or _rounded(bases, posed, own)
        or _asked_for_another(expected, posed, own)
        or _needing_a_mask(subject, bases, steps, posed)
        or _unusual_scale(expected, posed, own)
        or explain(bases[:1], steps, posed, own, most=2)
        or explain(bases[:1], steps, posed, own, most=3)
    )


def _needing_a_mask(
    subject: Subject, bases: Sequence[Explanation], steps: Sequence[Deviation], posed: Sequence[Posed]
) -> list[Explanation]:
    """Whether it mistreats masks, and so even one that hides nothing, which it may need to be called."""
    with_mask = pose(subject, masked(posed[0].problem)) if subject.takes_mask and posed else None
    if with_mask is None or not with_mask.answered:
        return []
    treated = [
        Explanation((*base.names, step.name), replace(base.pipeline, hide=step.wrong))
        for step in masking.MASK
        for base in bases[:1]
    ]
    found = explain(treated, [], [with_mask], subject.heads, most=0)
    return found or [
        one for base in treated for one in explain([base], steps, [with_mask], subject.heads, most=1)
    ]


def _rounded(bases: Sequence[Explanation], posed: Sequence[Posed], own: int) -> list[Explanation]:
    """Whether all answers are right to three digits, though what came in had more."""
    return [
        Explanation(("half_precision_accumulation",), base.pipeline)
        for base in bases[:1]
        if posed and fits(base.pipeline, posed, own, HALF)
    ]


def _asked_for_another(expected: Expected, posed: Sequence[Posed], own: int) -> list[Explanation]:
    """Whether it computes rightly what was not asked for."""
    if expected.score is None and expected.normalizer is None:
        return []
    for score, scale in ((expected.score, True), (None, True), (None, False)):
        for normalizer in (expected.normalizer, *reference.NORMALIZERS):
            other = replace(expected, score=score, normalizer=normalizer, dot=not scale)
            names = () if score == expected.score else ("another_score",)
            names += () if normalizer == expected.normalizer else ("another_normalizer",)
            found = [base for base in other.bases() if names and fits(base.pipeline, posed, own)]
            if found and posed:
                return [Explanation(names, found[0].pipeline)]
    return []


def _unusual_scale(expected: Expected, posed: Sequence[Posed], own: int) -> list[Explanation]:
    """Whether all answers are right but for a number that the scores are multiplied by."""
    for pipeline in expected.pipelines():

        def scaled(exponent: float, pipeline: Pipeline = pipeline) -> Pipeline:
            return replace(pipeline, scale=partial(_constant, math.exp(exponent)))

        found = [fitted(scaled, EXPONENTS, [one], own) for one in posed]
        if found and found[0] is not None and None not in found:
            # A temperature is part of a cosine or a distance.
            free = pipeline.score is not reference.dot or "temperature" in expected.words
            names = () if free else ("scale_unusual",)
            return [Explanation(names, scaled(found[0]))]
    return []


def _constant(number: float, sizes: Sizes) -> float:
    return number


KNOWN = {
    "another_score": Known(
        "wrong",
        "It computes another score than the one asked for, rightly.",
        "Take the score that is meant, or say by score= which one that is.",
    ),
    "another_normalizer": Known(
        "wrong",
        "It normalises in another way than asked for, rightly.",
        "Take the normalizer that is meant, or say by normalizer= which one that is.",
    ),
    "scaled_though_not_asked": Known(
        "wrong",
        "The scores are divided by √D, which the score that is asked for is not.",
        "Leave the scale out, or say score='scaled_dot'.",
    ),
}

"""The length penalty that suits a model best, found by trying some on texts that it has not learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from regard.decoding.translator import Model
from regard.errors import InputError
from regard.evaluation.text import bleu

PENALTIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0)

Measure = Callable[[Sequence[str], Sequence[str]], float]
"""Outputs and references to a number, more being better."""


@dataclass(frozen=True)
class Tried:
    """One length penalty: the score with it, and how many words are said for each of the references."""

    length_penalty: float
    score: float
    length: float


@dataclass(frozen=True)
class Tuning:
    """All that were tried, in order."""

    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """The one with the highest score; of several the nearest to 1."""
        return max(self.tried, key=lambda each: (each.score, -abs(each.length_penalty - 1)))

    def __str__(self) -> str:
        rows = [
            f"{each.length_penalty:>7.2f}  {each.score:>6.2f}  {each.length:>6.3f}"
            + ("  best" if each == self.best else "")
            for each in self.tried
        ]
        return "\n".join(["penalty   score  length", *rows])

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return {
            "best": self.best.length_penalty,
            "tried": [
                {"length_penalty": each.length_penalty, "score": each.score, "length": each.length}
                for each in self.tried
            ],
        }


def tune_length_penalty(
    model: Model,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    penalties: Sequence[float] = PENALTIES,
    beam: int | None = None,
    measure: Measure | None = None,
) -> Tuning:
    """Search once with each length penalty, and score what is found.

    Args:
        model: trained.
        sources, references: texts it has not learned from, and not those that it will be judged by.
        penalties: α of the length penalty, each to be tried.
        beam: hypotheses kept at each step, at least 2; the model's own setting where None.
        measure: how outputs are scored; BLEU with the 13a tokenizer where None.

    Raises:
        InputError: no texts, not as many references, nothing to try, or a greedy search, which has no use for
            a length penalty.
    """
    if not sources or len(sources) != len(references):
        raise InputError(
            f"tune_length_penalty(): {len(sources)} sources but {len(references)} references; one is needed "
            f"for each, and at least one in all."
        )
    if not penalties:
        raise InputError("tune_length_penalty(): penalties is empty; give some to be tried.")
    width = model.search.beam if beam is None else beam
    if width < 2:
        raise InputError(
            f"tune_length_penalty(): a beam of {width} compares no outputs; the penalty would not matter. "
            f"Give beam=5."
        )
    score = measure or (lambda outputs, wanted: bleu(outputs, wanted, confidence=False).value)
    words = sum(len(reference.split()) for reference in references)
    tried = []
    for penalty in penalties:
        found = model.predict(sources, beam=width, length_penalty=penalty)
        outputs = [prediction.text for prediction in found]
        length = sum(len(output.split()) for output in outputs) / max(1, words)
        tried.append(Tried(penalty, score(outputs, references), length))
    return Tuning(tuple(tried))

"""Verify: examine an attention function, judge it by the laws, and name its mistakes."""

from __future__ import annotations

from typing import Any

from regard.checking import calling, reference
from regard.checking.laws import Trial, judge
from regard.checking.laws.causality import hides_by_default
from regard.checking.laws.law import name_of
from regard.checking.mistakes import find_mistakes
from regard.checking.problems import Framework, Subject
from regard.checking.report import Mistake, Report
from regard.core import normalizers, scores
from regard.errors import InputError

_FRAMEWORKS = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
_INPUTS = {"separate": "query, keys and values", "memory": "queries and a memory", "self": "one input"}
_HELPERS = ("is_pairwise", "log_sum_exp")


def verify(
    function: Any,
    *,
    score: Any = None,
    normalizer: Any = None,
    causal: bool | None = None,
    heads: int | None = None,
    width: int | None = None,
    grouped: bool | None = None,
    framework: Framework | None = None,
) -> Report:
    """Find out whether an attention function is right, and if not, which known mistake it makes.

    It is called with small designed inputs of many shapes, in this process: what its code does, it does here.
    Nothing is downloaded, and nothing is written. What it raises, and that it hangs, is a finding.

    Args:
        function: a function, a module or a class, on NumPy, PyTorch or JAX arrays, in any usual layout. Names
            of parameters, docstrings and what it does tell how to call it.
        score: what it is meant to compute: a name in `regard.scores`, such as ``"additive"``, or a function
            of query (…, Q, D) and keys (…, K, D). Without it the known ones are recognised, and anything else
            is judged by the laws alone.
        normalizer: the same for scores to weights: a name in `regard.normalizers`, or a function.
        causal: whether it is meant to hide the future. Without it, it may, and is then judged as if meant to.
        heads: into how many heads it splits its features.
        width: the number of features that it is made for; needed for classes.
        grouped: whether it takes fewer key heads than query heads.
        framework: ``"numpy"``, ``"torch"`` or ``"jax"``, where it can't be told.

    Returns:
        A Report: true where nothing is wrong, so that ``assert regard.verify(f)`` is a test. It prints as a
        text, in a notebook as a table.

    Raises:
        InputError: what is handed in can't be called, or an option can't be meant.
    """
    _require_meant(score=score, normalizer=normalizer)
    _require_form(heads=heads, width=width, framework=framework, causal=causal, grouped=grouped)
    score_name = None if score is None else name_of(score)
    normalizer_name = None if normalizer is None else name_of(normalizer)
    subject = calling.examine(function, heads=heads, width=width, grouped=grouped, framework=framework)
    trial = Trial(subject)
    always = subject.causal == "always" or (bool(causal) and subject.causal == "never")
    trial.causal = always or (causal is None and trial.failure is None and hides_by_default(trial))
    mistakes: list[Mistake] = []
    if trial.failure is None:
        mistakes = find_mistakes(
            subject, causal=bool(causal) or trial.causal, score=score_name, normalizer=normalizer_name
        )
        trial.score, trial.normalizer = _meant(subject, score, normalizer)
        trial.suspected = any(mistake.severity == "wrong" for mistake in mistakes)
    return Report(
        name=subject.name,
        called=_called(trial),
        laws=tuple(judge(trial)),
        mistakes=tuple(mistakes),
    )


def _require_meant(**options: Any) -> None:
    """Refuse a score or a normalizer that is neither known by its name nor a function."""
    for name, module in (("score", scores), ("normalizer", normalizers)):
        known = sorted(each for each in module.__all__ if each[0].islower() and each not in _HELPERS)
        given = options[name]
        if isinstance(given, str) and given not in known:
            raise InputError(f"verify(): {given} is not a {name}. Known: {', '.join(known)}.")
        if given is not None and not isinstance(given, str) and not callable(given):
            raise InputError(f"verify(): {name} must be a name or a function. Got {type(given).__name__}.")


def _require_form(*, heads: Any, width: Any, framework: Any, **switches: Any) -> None:
    """Refuse numbers, a framework or switches that can't be meant."""
    for name, number in (("heads", heads), ("width", width)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise InputError(f"verify(): {name} must be a whole number of at least 1. Got {number!r}.")
    if heads and width and width % heads:
        raise InputError(f"verify(): width {width} can't be split evenly into {heads} heads.")
    if framework is not None and framework not in _FRAMEWORKS:
        raise InputError(f"verify(): {framework} is not a framework. Known: {', '.join(_FRAMEWORKS)}.")
    for name, switch in switches.items():
        if switch is not None and not isinstance(switch, bool):
            raise InputError(f"verify(): {name} must be True, False or None. Got {switch!r}.")


def _meant(subject: Subject, score: Any, normalizer: Any) -> tuple[Any, Any]:
    """What was said, and for what was not said what is recognised."""
    guessed = reference.guess(subject)
    if guessed is None:
        return score, normalizer
    if score is None and normalizer in (None, guessed[1]):
        return guessed
    if normalizer is None and name_of(score) == guessed[0]:
        return score, guessed[1]
    return score, normalizer


def _called(trial: Trial) -> str:
    """The subject's profile in words: how it is called, and what it was found to be."""
    subject = trial.subject
    words = [_FRAMEWORKS[subject.framework], _INPUTS[subject.inputs]]
    words.append(f"axes ({', '.join(subject.axes)})")
    if subject.heads > 1:
        words.append(f"{subject.heads} heads inside")
    if subject.width is not None:
        words.append(f"width {subject.width}")
    masks = {"mask": subject.takes_mask, "key mask": subject.takes_key_mask}
    if any(masks.values()):
        words.append(" and ".join(name for name, there in masks.items() if there))
    if trial.causal or subject.causal != "never":
        words.append("causal" if trial.causal or subject.causal == "always" else "causal when told to")
    if subject.grouped:
        words.append("grouped heads")
    words.append("gives weights" if subject.gives_weights else "gives the context alone")
    if trial.score is not None:
        words.append(f"{name_of(trial.score)} score with {name_of(trial.normalizer or 'softmax')}")
    return " · ".join(words)

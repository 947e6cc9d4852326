"""How a law comes to its verdict, and how the smallest example of a broken one is found and written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from regard.checking.laws.trial import HALF, CannotAskError, NoAnswerError, Trial
from regard.checking.problems import Problem
from regard.checking.report import Law, Severity

PATIENCE = 1.0
"""Seconds that an example may take: some libraries compile anew for each size."""
MOST_NUMBERS = 24
"""Arrays with more numbers are not written out."""


@dataclass(frozen=True, eq=False)
class Breach:
    """An input that breaks a law.

    Attributes:
        problem: what was asked.
        came, expected: arrays, or words.
        change: what was changed before it was asked again, for laws that compare two answers.
        off: how far it is off, for laws that half precision breaks a little.
        message: what is broken here, where the law's own words are too general.
        label: what came: the context, or its weights.
    """

    problem: Problem
    came: np.ndarray | str
    expected: np.ndarray | str
    change: str = ""
    off: float = np.inf
    message: str = ""
    label: str = "came"


Check = Callable[[Trial, Problem], Breach | None]
Judge = Callable[[Trial], Law]


@dataclass(frozen=True)
class Words:
    """A law's name and severity, and what it says when it holds and when it is broken."""

    name: str
    severity: Severity
    holds: str
    broken: str

    def kept(self, message: str = "") -> Law:
        return Law(self.name, self.severity, True, message or self.holds)

    def untried(self, reason: str) -> Law:
        return Law(self.name, self.severity, None, reason)

    def breached(self, trial: Trial, breach: Breach) -> Law:
        message, severity = breach.message or self.broken, self.severity
        if breach.off <= HALF:
            severity = "fragile"
            message = (
                "Right to two or three digits only, as if something inside were rounded to half precision."
            )
        return Law(self.name, severity, False, message, example(trial, breach))

    def judge(self, trial: Trial, check: Check, problem: Problem | None = None) -> Law:
        """Hold, or broken by the smallest problem that shows it.

        Args:
            trial: who is judged.
            check: finds whether a problem breaks the law.
            problem: the first to be tried; by default the ordinary one.
        """
        try:
            breach = check(trial, problem or trial.problem())
        except CannotAskError as reason:
            return self.untried(str(reason))
        except NoAnswerError as failure:
            breach = no_answer(failure)
        return self.kept() if breach is None else self.breached(trial, smallest(trial, check, breach))


def smallest(trial: Trial, check: Check, breach: Breach) -> Breach:
    """The same breach in a smaller problem, where one is found."""
    if hung(trial):
        return breach
    until = time.monotonic() + PATIENCE
    for problem in trial.small():
        if time.monotonic() > until:
            break
        try:
            found = check(trial, problem)
        except CannotAskError:
            continue
        except NoAnswerError as failure:
            found = no_answer(failure) if isinstance(breach.came, str) else None
        if found is not None and (found.off <= HALF) == (breach.off <= HALF):
            return found
    return breach


def hung(trial: Trial) -> bool:
    """Whether it did not come back from some question: then each further one may cost seconds."""
    return any(answer.hung for _, answer in trial.asked)


def no_answer(failure: NoAnswerError) -> Breach:
    """A crash as a breach."""
    if failure.answer.hung:
        return Breach(failure.problem, "nothing, for seconds", "an answer", message="It does not come back.")
    error = failure.answer.error or "no array"
    return Breach(failure.problem, error, "a context", message=f"It fails: {error.rstrip('.')}.")


def example(trial: Trial, breach: Breach) -> str:
    """The breach as a few lines: the call, its inputs, what came and what was expected."""
    problem, inputs = breach.problem, trial.subject.inputs
    shown: dict[str, np.ndarray | None]
    shown = {"query": problem.query, "keys": problem.keys, "values": problem.values}
    if inputs == "memory":
        shown = {"query": problem.query, "memory": problem.keys}
    if inputs == "self":
        shown = {"input": problem.query}
    shown |= {"may look": problem.mask, "key is there": problem.key_mask}
    rows = [(name, written(array)) for name, array in shown.items() if array is not None]
    if problem.dtype in ("float16", "bfloat16"):
        rows.append(("dtype", problem.dtype))
    if breach.change:
        rows.append(("then", breach.change))
    rows += [(breach.label, written(breach.came)), ("expected", written(breach.expected))]
    width = max(len(name) for name, _ in rows)
    return "\n".join([trial.subject.call(problem), *(f"  {name:<{width}}  {text}" for name, text in rows)])


def written(array: np.ndarray | str) -> str:
    """An array as nested lists of short numbers, without the outer axes of length 1."""
    if isinstance(array, str):
        return array
    if array.size > MOST_NUMBERS:
        return f"{' × '.join(map(str, array.shape))} numbers"
    outer = [size for size in array.shape[:-2] if size > 1]
    return _listed(array.reshape((*outer, *array.shape[-2:])))


def name_of(thing: object) -> str:
    """A score or normaliser as it is called."""
    return thing if isinstance(thing, str) else getattr(thing, "__name__", type(thing).__name__)


def _listed(array: np.ndarray) -> str:
    if array.ndim == 0:
        return _number(array)
    return f"[{', '.join(_listed(one) for one in array)}]"


def _number(number: np.ndarray) -> str:
    if number.dtype == bool:
        return str(bool(number))
    value = float(number)
    if np.isnan(value):
        return "NaN"
    return f"{round(value, 4) + 0.0:.4g}" if abs(value) < 1e4 else f"{value:.3g}"

"""Laws of behaviour: what it does beside computing."""

from __future__ import annotations

from dataclasses import replace

from regard.checking.laws.law import Breach, Words
from regard.checking.laws.trial import Trial, off
from regard.checking.problems import Answer, Problem
from regard.checking.report import Law

WRITTEN = Words(
    "inputs_not_written",
    "wrong",
    "What is handed in is left as it was.",
    "What is handed in is written to: whoever called it finds other numbers there.",
)
TWICE = Words(
    "same_answer_twice_in_evaluation",
    "wrong",
    "The same question gets the same answer.",
    "The same question gets another answer the second time.",
)


def inputs_not_written(trial: Trial) -> Law:
    """Inputs are the caller's. Judged by all that was asked."""
    written = [(problem, answer) for problem, answer in trial.asked if answer.changed]
    if not written:
        return WRITTEN.kept()
    # The smallest that is written to; masks as well as numbers.
    for problem in trial.small():
        answer = trial.attempt(replace(problem))
        if answer is not None and answer.changed:
            return WRITTEN.breached(trial, _written(problem, answer))
    return WRITTEN.breached(trial, _written(*min(written, key=lambda pair: pair[0].query.size)))


def same_answer_twice_in_evaluation(trial: Trial) -> Law:
    """Dropout belongs to training, and state to the caller."""
    return TWICE.judge(trial, _twice)


def steady(trial: Trial) -> bool:
    """Whether answers can be compared with each other at all."""
    return _twice(trial, trial.problem()) is None


def _written(problem: Problem, answer: Answer) -> Breach:
    names = " and ".join(answer.changed)
    return Breach(problem, f"other numbers in {names}", f"{names} as before")


def _twice(trial: Trial, problem: Problem) -> Breach | None:
    first = trial.context(problem)
    for _ in range(2):
        again = trial.subject.ask(problem).context
        if again is None or off(again, first) > 1e-6:
            came = "nothing the second time" if again is None else again
            return Breach(problem, came, first, change="the same is asked again")
    return None

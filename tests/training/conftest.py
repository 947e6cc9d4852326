"""What tests of training look at: the lines a run writes down, and somebody who listens while it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.training.display import Silent

CLOCK = {"seconds", "tokens_per_second"}


class Listener(Silent):
    """Remembers what it hears, and does something at some steps.

    Args:
        deeds: what to do when a step has been made.
    """

    def __init__(self, deeds: dict[int, Callable[[], Any]] | None = None) -> None:
        self.deeds = deeds or {}
        self.notes: list[str] = []
        self.steps: list[int] = []
        self.validations: list[tuple[int, float, float]] = []
        self.closed = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, step: int, total: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        self.steps.append(step)
        if step in self.deeds:
            self.deeds.pop(step)()

    def validation(self, step: int, metric: str, score: float, best: float) -> None:
        self.validations.append((step, score, best))

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="session")
def listener() -> type[Listener]:
    """Somebody who listens."""
    return Listener


@pytest.fixture(scope="session")
def lines_of() -> Callable[[Path], list[dict[str, Any]]]:
    """The lines of `metrics.jsonl`, without what the clock has a part in."""

    def read(run: Path) -> list[dict[str, Any]]:
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]

    return read


@pytest.fixture(scope="session")
def unbroken(pairs: Any, recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from its first step to its last, in one go."""
    import regard

    folder = tmp_path_factory.mktemp("unbroken") / "run"
    regard.fit(pairs, recipe=recipe, out=folder)
    return folder


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the validations of the next run have given scores, one after the other."""

    def give(*values: float) -> None:
        waiting = iter(values)
        monkeypatch.setattr("regard.training.fit.validation_score", lambda *_: next(waiting))

    return give

"""What somebody sees while a model trains: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class Reporter(Protocol):
    """Whoever wants to hear how training goes."""

    def note(self, text: str) -> None:
        """A sentence worth reading."""
        ...

    def step(self, step: int, total: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """An update has been made. The loss is in nats a token."""
        ...

    def validation(self, step: int, metric: str, score: float, best: float) -> None:
        """The model has been validated."""
        ...

    def close(self) -> None:
        """Training has ended, one way or another."""
        ...


class Silent:
    """Says nothing."""

    def note(self, text: str) -> None:
        """Pass over a sentence."""

    def step(self, step: int, total: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """Pass over an update."""

    def validation(self, step: int, metric: str, score: float, best: float) -> None:
        """Pass over a validation."""

    def close(self) -> None:
        """Nothing to put away."""


def reporter(stream: TextIO) -> Reporter:
    """A live display where the stream is a terminal that can move its cursor, plain lines elsewhere."""
    console = Console(file=stream)
    return Live(console) if stream.isatty() and not console.is_dumb_terminal else PlainLines(stream)


class PlainLines:
    """A line every so often.

    Args:
        stream: where to.
        every: seconds between two lines about the loss.
    """

    def __init__(self, stream: TextIO, every: float = 10.0) -> None:
        self.stream, self.every, self.last = stream, every, time.monotonic()

    def note(self, text: str) -> None:
        """Print a sentence."""
        print(text, file=self.stream, flush=True)

    def step(self, step: int, total: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """Print how training stands, if it is time."""
        now = time.monotonic()
        if now - self.last >= self.every or step == total:
            self.last = now
            self.note(
                f"step {step:,} of {total:,}  loss {loss:.3f}  {tokens_per_second:,.0f} tokens/s  "
                f"{duration(seconds_left)} left"
            )

    def validation(self, step: int, metric: str, score: float, best: float) -> None:
        """Print a validation's score."""
        mark = "  (best so far)" if score >= best else f"  (best {best:.2f})"
        self.note(f"step {step:,}  validation {metric} {score:.2f}{mark}")

    def close(self) -> None:
        """Nothing to put away."""


class Live:
    """A bar with loss, speed, validation score and time left; sentences scroll by above it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.score = "–"
        self.progress = Progress(
            TextColumn("[bold]training"),
            BarColumn(),
            TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} tokens/s"),
            TextColumn("validation {task.fields[score]}"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            refresh_per_second=4,
        )
        self.task = None

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, step: int, total: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """Move the bar."""
        fields: dict[str, Any] = {
            "loss": f"{loss:.3f}",
            "speed": f"{tokens_per_second:,.0f}",
            "score": self.score,
            "left": duration(seconds_left),
        }
        if self.task is None:
            self.progress.start()
            self.task = self.progress.add_task("", total=total, **fields)
        self.progress.update(self.task, completed=step, total=total, **fields)

    def validation(self, step: int, metric: str, score: float, best: float) -> None:
        """Show the latest score in the bar."""
        self.score = f"{metric} {score:.2f}" + ("" if score >= best else f" (best {best:.2f})")

    def close(self) -> None:
        """Leave the bar as it is and give the terminal back."""
        self.progress.stop()


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 1 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

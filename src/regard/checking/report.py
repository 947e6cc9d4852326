"""What was found out about an attention function."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

Severity = Literal["wrong", "fragile"]


@dataclass(frozen=True)
class Law:
    """Something that holds for every attention, and whether it holds here.

    Attributes:
        name: such as ``weights_sum_to_one``.
        severity: how bad it is when it is broken.
        held: None where it does not apply or could not be tried.
        message: one or two sentences: what holds, or what is broken; or why it was not tried.
        example: the smallest input that shows it broken, with what came and what was expected; else empty.
    """

    name: str
    severity: Severity
    held: bool | None
    message: str
    example: str = ""


@dataclass(frozen=True)
class Mistake:
    """A known mistake that there is evidence for.

    Attributes:
        name: such as ``softmax_over_queries``.
        severity: ``wrong`` or ``fragile``.
        explanation: what the function does.
        remedy: the line of mathematics or code that mends it.
    """

    name: str
    severity: Severity
    explanation: str
    remedy: str


@dataclass(frozen=True, repr=False)
class Report:
    """Whether an attention function is right: the result of `regard.verify`.

    It is true where nothing is wrong, so ``assert regard.verify(f)`` is a test, whose failure shows it.
    ``print(report)`` writes it as text, a Rich console in colour, a notebook shows it as a page.

    Attributes:
        name: the function's.
        called: how it was called and what it was found to be, in words.
        laws: all laws, each kept, broken or not tried.
        mistakes: those there is evidence for, the likeliest first.
    """

    name: str
    called: str
    laws: tuple[Law, ...]
    mistakes: tuple[Mistake, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not any(found.severity == "wrong" for found in (*self.broken, *self.mistakes))

    @property
    def robust(self) -> bool:
        """Whether nothing is fragile either."""
        return not self.broken and not self.mistakes

    @property
    def verdict(self) -> str:
        """``right``, ``right but fragile`` or ``wrong``."""
        return "right" if self.robust else "right but fragile" if self.passed else "wrong"

    @property
    def broken(self) -> tuple[Law, ...]:
        """The laws that are broken, those that are wrong before those that are fragile."""
        found = [law for law in self.laws if law.held is False]
        return tuple(sorted(found, key=lambda law: law.severity == "fragile"))

    @property
    def kept(self) -> tuple[Law, ...]:
        """The laws that hold."""
        return tuple(law for law in self.laws if law.held)

    @property
    def untried(self) -> tuple[Law, ...]:
        """The laws that do not apply or could not be tried."""
        return tuple(law for law in self.laws if law.held is None)

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON knows."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "passed": self.passed,
            "robust": self.robust,
            "called": self.called,
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
            "laws": [asdict(law) for law in self.laws],
        }

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        from regard.checking.drawing import text

        return text(self)

    def __repr__(self) -> str:
        # One short line, because pytest cuts off what is longer.
        names = [mistake.name for mistake in self.mistakes] or [law.name for law in self.broken]
        return f"<Report: {self.name} is {self.verdict}{': ' * bool(names)}{', '.join(names)}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from regard.checking.drawing import lines

        yield from lines(self, ascii_only=options.ascii_only)

    def _repr_html_(self) -> str:
        from regard.checking.html import page

        return page(self)

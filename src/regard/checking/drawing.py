"""A report in characters: in colour where there is any, as plain text elsewhere."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import groupby

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from regard.checking.report import Law, Mistake, Report, Severity

WIDTH = 88
"""Columns of plain text."""

_MARKS = {"right": "✓", "fragile": "!", "wrong": "✗", "untried": "–", "remedy": "→"}
_ASCII = str.maketrans("✓✗–→·×−Σ", "+x->.x-S")
_STYLES = {"right": "green", "fragile": "yellow", "wrong": "red"}


def text(report: Report) -> str:
    """A report as plain text, at most WIDTH columns wide, without trailing spaces."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, legacy_windows=False)
    for part in lines(report):
        console.print(part)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in written.splitlines())


def lines(report: Report, ascii_only: bool = False) -> Iterator[RenderableType]:
    """The parts of a report from the top, for a Rich console, which wraps them at its width."""
    pen = _Pen(ascii_only)
    yield pen.verdict(report)
    yield Padding(pen.text(report.called, "dim"), (0, 0, 0, 2))
    if report.mistakes:
        several = "Likeliest mistakes" if len(report.mistakes) > 1 else "Likeliest mistake"
        yield pen.heading(several)
        for place, mistake in enumerate(report.mistakes):
            yield from pen.mistake(mistake, first=place == 0)
    if report.broken:
        yield pen.heading("Laws broken")
        for place, law in enumerate(report.broken):
            yield from pen.broken(law, first=place == 0)
    if report.kept:
        yield pen.heading(counted(report.kept, "kept"))
        yield Padding(pen.names(report.kept), (0, 0, 0, 2))
    if report.untried:
        yield pen.heading(counted(report.untried, "not tried"))
        yield Padding(pen.reasons(report.untried), (0, 0, 0, 2))


def clean(written: str) -> str:
    """A text in which nothing commands a terminal: control characters as their escapes."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in written
    )


def counted(laws: tuple[Law, ...], what: str) -> str:
    """How many laws, as a heading."""
    return f"{len(laws)} law{'s' * (len(laws) > 1)} {what}"


class _Pen:
    """Turns what was found into styled text, in ASCII alone where a terminal knows no more."""

    def __init__(self, ascii_only: bool) -> None:
        self.ascii_only = ascii_only

    def text(self, written: str, style: str = "") -> Text:
        written = clean(written)
        if self.ascii_only:
            written = written.translate(_ASCII).encode("ascii", "replace").decode()
        return Text(written, style)

    def mark(self, kind: str, style: str = "") -> Text:
        return self.text(_MARKS[kind], style or f"bold {_STYLES[kind]}")

    def verdict(self, report: Report) -> Text:
        kind = "right" if report.robust else "fragile" if report.passed else "wrong"
        verdict = self.text(report.verdict, f"bold {_STYLES[kind]}")
        return Text.assemble(self.mark(kind), self.text(f" {report.name} is ", "bold"), verdict)

    def heading(self, written: str) -> Text:
        return Text.assemble("\n", self.text(written, "bold"))

    def named(self, name: str, severity: Severity) -> Text:
        kind = self.text(" · fragile" if severity == "fragile" else "", "yellow")
        return Text.assemble(self.text(name, f"bold {_STYLES[severity]}"), kind)

    def mistake(self, mistake: Mistake, first: bool) -> Iterator[RenderableType]:
        if not first:
            yield Text()
        yield self._marked(self.mark(mistake.severity), self.named(mistake.name, mistake.severity))
        yield Padding(self.text(mistake.explanation), (0, 0, 0, 4))
        remedy = self._marked(self.mark("remedy", "bold cyan"), self.text(mistake.remedy, "cyan"))
        yield Padding(remedy, (0, 0, 0, 2))

    def broken(self, law: Law, first: bool) -> Iterator[RenderableType]:
        if not first:
            yield Text()
        yield self._marked(self.mark(law.severity), self.named(law.name, law.severity))
        yield Padding(self.text(law.message), (0, 0, 0, 4))
        if law.example:
            yield Padding(self.example(law.example), (0, 0, 0, 6))

    def example(self, written: str) -> RenderableType:
        """The call, and below it a column of names and a column of numbers, which wraps by itself."""
        call, *rows = written.split("\n")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for row in rows:
            name, _, value = row.strip().partition("  ")
            style = {"expected": "green"}.get(name, "")
            table.add_row(self.text(name), self.text(value.strip(), style))
        whole = Table.grid()
        whole.add_row(self.text(call, "italic"))
        whole.add_row(Padding(table, (0, 0, 0, 2)))
        return whole

    def names(self, laws: tuple[Law, ...]) -> RenderableType:
        marked = [Text.assemble(self.mark("right", "green"), self.text(f" {law.name}")) for law in laws]
        return Columns(marked, padding=(0, 2), equal=True, column_first=True)

    def reasons(self, laws: tuple[Law, ...]) -> RenderableType:
        """Each reason once, with the laws that it keeps from being tried."""
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(style="dim")
        ordered = sorted(laws, key=lambda law: [one.message for one in laws].index(law.message))
        for reason, group in groupby(ordered, key=lambda law: law.message):
            mark = self.mark("untried", "dim")
            names = Text("\n").join(mark + self.text(" " + law.name, "dim") for law in group)
            table.add_row(names, self.text(reason))
        return table

    def _marked(self, mark: Text, written: Text) -> RenderableType:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=1)
        grid.add_column()
        grid.add_row(mark, written)
        return Padding(grid, (0, 0, 0, 2))

"""Attention in the terminal: a map with its words where it fits, else the strongest sources of each word.

The map is a panel with its own background, so it reads the same in a light and in a dark terminal. Nothing
that a token holds can command the terminal: control characters and escape sequences are drawn as symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from regard.errors import InputError
from regard.record import AttentionRecord
from regard.viewer.cells import EIGHTHS, Colour, Pen, clusters, finish, fit, to_ascii
from regard.viewer.tokens import is_character, is_quiet, isolate, show, shown_order

__all__ = ["Drawing", "draw"]

_LONGEST_LABEL = 18
_LONGEST_DENSE_LABEL = 9
_TALLEST_HEADER = 12
_MOST_STAIRS = 24
_OVERVIEW = 24


def draw(record: AttentionRecord, *, width: int | None = None, colour: Colour | None = None) -> Drawing:
    """A Rich renderable of one record.

    Args:
        record: what to draw; layers and heads are averaged, and a long text's map is drawn as its overview.
        width: the most columns that a line may take; None takes the window's.
        colour: ``"truecolor"``, ``"256"`` or ``"none"`` (shading characters); None asks the terminal.

    Returns:
        A `Drawing`, to be printed by a `rich.console.Console`.

    Raises:
        InputError: the colour is not one of the three, or the width is below 1.
    """
    if colour not in ("truecolor", "256", "none", None):
        raise InputError(f"draw(): colour {colour!r} is not one of truecolor, 256, none.")
    if width is not None and width < 1:
        raise InputError(f"draw(): width {width} is no number of columns; at least 1 is needed.")
    return Drawing(record if record.whole else _overview(record), width, colour)


def _overview(record: AttentionRecord) -> AttentionRecord:
    """A pooled record as a map of few rows, each named by the first of its words.

    A weight is the largest of its rectangle where the record knows it, so that thin diagonals stay.
    """
    maps = record.alignment if record.largest is None else record.largest
    weights = maps.reshape(-1, *maps.shape[-2:]).max(axis=0)
    words = []
    for axis, tokens in ((0, record.query_tokens), (1, record.key_tokens)):
        count = min(weights.shape[axis], _OVERVIEW)
        starts = np.arange(count) * weights.shape[axis] // max(count, 1)
        weights = np.maximum.reduceat(weights, starts, axis=axis) if count else weights
        words.append([tokens[start * record.pooled[axis]] for start in starts])
    title = f"{record.title} · {len(record.key_tokens):,} tokens".removeprefix(" · ")
    return AttentionRecord(weights, *words, title=title)


@dataclass(frozen=True)
class Drawing:
    """One record, laid out when the width and the colours of the console are known."""

    record: AttentionRecord
    width: int | None = None
    colour: Colour | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self.width or options.max_width, options.max_width)
        for line in self.lines(max(width, 1), self.colour or _colours_of(console)):
            yield to_ascii(line) if options.ascii_only else line

    def lines(self, width: int, colour: Colour) -> list[Text]:
        """The drawing as lines of at most ``width`` columns."""
        page = _Page(self.record, width, colour)
        body = page.body()
        return [finish(line, width) for line in (*page.heading(), *body, *page.legend())]


def _colours_of(console: Console) -> Colour:
    systems: dict[str | None, Colour] = {"truecolor": "truecolor", "256": "256"}
    return "none" if console.no_color else systems.get(console.color_system, "none")


class _Page:
    """Chooses between a roomy map, a dense map and a list, the first that the width allows."""

    def __init__(self, record: AttentionRecord, width: int, colour: Colour) -> None:
        self.record, self.width = record, width
        self.pen = Pen(colour, gold=bool(record.sure or record.possible))
        self.weights = np.clip(record.alignment, 0.0, 1.0)
        self.order = shown_order(record.key_tokens)
        self.keys = [record.key_tokens[index] for index in self.order]
        self.names = [show(token) for token in record.query_tokens]
        if self.pen.plain:
            self.names = [name + "*" * (query in record.copied) for query, name in enumerate(self.names)]
        self.drawn = ""  # "roomy", "dense" or "list" once the body is drawn

    def heading(self) -> list[Text]:
        averaged = ", ".join(show(axis) for axis in self.record.axes[:-2])
        title = Text(show(self.record.title), "bold") if self.record.title else Text()
        mean = Text(f"mean over {averaged}" if averaged else "", "dim")
        line = Text(" · ", "dim").join(part for part in (title, mean) if part.plain)
        return [line, Text()] if line.plain else []

    def body(self) -> list[Text]:
        if not self.names:
            return [Text("no output words", "dim")]
        if not self.keys:
            return [Text("no input words to look at", "dim")]
        return self._roomy() or self._dense() or self._list()

    def legend(self) -> list[Text]:
        parts = [self.pen.scale()] if self.drawn in ("roomy", "dense") else []
        if self.drawn == "roomy" and self.record.sure:
            parts.append(Text("[] sure", "dim"))
        if self.drawn == "roomy" and self.record.possible:
            parts.append(Text("() possible", "dim"))
        if self.drawn and self.record.copied:
            parts.append(Text("* copied", "dim") if self.pen.plain else Text("copied", "dim underline"))
        lines = [Text()] if parts else []
        for part in parts:
            if len(lines) > 1 and cell_len(lines[-1].plain) + 3 + cell_len(part.plain) <= self.width:
                lines[-1] = Text("   ").join([lines[-1], part])
            else:
                lines.append(part)
        return lines

    def _roomy(self) -> list[Text]:
        margin = min(max(map(cell_len, self.names)), _LONGEST_LABEL)
        start, pitch = margin + 2, self.pen.pitch
        edge = Text("│" if self.pen.plain else "", "dim")
        header = self._header(start, pitch)
        if not header or start + pitch * len(self.keys) + len(edge) > self.width:
            return []
        self.drawn = "roomy"
        rows = []
        for query in range(len(self.names)):
            cells = [
                self.pen.cell(float(self.weights[query, key]), self._gold(query, key)) for key in self.order
            ]
            gap = Text(" ") + (edge if self.pen.plain else Text(" "))
            rows.append(Text("").join([self._label(query, margin, ">"), gap, *cells, edge]))
        return header + rows

    def _dense(self) -> list[Text]:
        """Half-blocks: a word is a column across and half a line down, so two output words share a line."""
        margin = min(max(map(cell_len, self.names)), _LONGEST_DENSE_LABEL)
        together = 1 if self.pen.plain else 2
        start = together * (margin + 1) + 1
        header = self._header(start, 1)
        if not header or start + len(self.keys) > self.width:
            return []
        self.drawn = "dense"
        rows = []
        for first in range(0, len(self.names), together):
            queries = range(first, min(first + together, len(self.names)))
            labels = [self._label(query, margin, ">") + Text(" ") for query in queries]
            line = Text("").join(labels)
            line.append(" " * (start - cell_len(line.plain)))
            upper, lower = self.weights[first], self.weights[queries[-1]] if len(queries) > 1 else None
            cells = [
                self.pen.halves(float(upper[k]), None if lower is None else float(lower[k]))
                for k in self.order
            ]
            rows.append(Text("").join([line, *cells]))
        return header + rows

    def _list(self) -> list[Text]:
        """A row for each output word with its strongest sources: three, or as many as fit."""
        self.drawn = "list"
        margin = min(max(map(cell_len, self.names)), _LONGEST_LABEL, max(1, self.width // 3))
        room = max(self.width - margin - 1, 0)
        count = min(3, max(1, room // 14), len(self.keys))
        each = min(room // count - 1, 8 + max(cell_len(show(key)) for key in self.keys))
        rows = []
        for query, weights in enumerate(self.weights):
            best = [int(key) for key in np.argsort(-weights, kind="stable")[:count] if weights[key] >= 0.005]
            sources = [self._source(float(weights[key]), self.record.key_tokens[key], each) for key in best]
            sources = sources or [Text("looks nowhere", "dim")]
            rows.append(Text(" ").join([self._label(query, margin, "<"), *sources]))
        return rows

    def _source(self, weight: float, token: str, width: int) -> Text:
        bar = Text(EIGHTHS[round(weight * 8)])
        if width < 9:
            return bar + _word(token, max(width - 1, 0), "<")
        return Text(" ").join([bar, _word(token, width - 7, "<"), Text(f"{weight:.2f}", "dim")])

    def _header(self, start: int, pitch: int) -> list[Text]:
        """Input words over the columns: characters upright, a stair of words, or letters beneath each other.

        Returns:
            Lines, or none if the words cannot be set in columns of this width.
        """
        shown = [show(key) for key in self.keys]
        if all(map(is_character, self.keys)) and max(map(cell_len, shown)) <= pitch:
            indent = Text(" " * (start + (pitch == 3)))
            return [Text("").join([indent, *(_word(key, pitch, "<") for key in self.keys)])]
        room = self.width - start - pitch * (len(shown) - 1) - 2
        if pitch > 1 and len(shown) <= _MOST_STAIRS and room >= min(cell_len(shown[-1]), 6):
            return [self._stair(start, pitch, index) for index in range(len(shown))]
        return _letters(start, pitch, [clusters(text) for text in shown])

    def _stair(self, start: int, pitch: int, index: int) -> Text:
        indent = " " * (start + (pitch - 1) // 2)
        stems = ("│" + " " * (pitch - 1)) * index + "╭ "
        room = self.width - len(indent) - len(stems)
        return Text(indent) + Text(stems, "dim") + _word(self.keys[index], room)

    def _gold(self, query: int, key: int) -> str:
        if (query, key) in self.record.sure:
            return "[]"
        return "()" if (query, key) in self.record.possible else ""

    def _label(self, query: int, width: int, align: str) -> Text:
        style = "dim" if is_quiet(self.record.query_tokens[query]) else ""
        if query in self.record.copied and not self.pen.plain:
            style += " underline"
        return fit(self.names[query], width, align, style.strip())


def _word(token: str, width: int, align: str = "") -> Text:
    return fit(show(token), width, align, "dim" if is_quiet(token) else "")


def _letters(start: int, pitch: int, words: Sequence[list[str]]) -> list[Text]:
    if any(cell_len(letter) > pitch for word in words for letter in word):
        return []
    height = min(max(map(len, words)), _TALLEST_HEADER)
    words = [word if len(word) <= height else [*word[: height - 1], "…"] for word in words]
    lines = []
    for level in range(height):
        line = Text(" " * start)
        for index, word in enumerate(words):
            place = level - height + len(word)
            letter = word[place] if place >= 0 else ""
            line.append(isolate(letter) + " " * (pitch - cell_len(letter)), "dim" if index % 2 else "")
        lines.append(line)
    return lines

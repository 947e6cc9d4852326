"""Text and weights in terminal columns: what fits, what lines up, what a terminal of few colours can show."""

from __future__ import annotations

from typing import Literal

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from regard.viewer.colours import lightness, ramp
from regard.viewer.tokens import isolate, reads_right_to_left

__all__ = ["Colour", "Pen", "clusters", "finish", "fit", "to_ascii"]

Colour = Literal["truecolor", "256", "none"]

SHADES = " ░▒▓█"
EIGHTHS = " ▁▂▃▄▅▆▇█"
# Steps of xterm's fixed colours, dark to light along cividis.
_XTERM = (234, 236, 238, 60, 243, 101, 143, 185, 221)
_LEFT_TO_RIGHT_MARK = "\u200e"
_ASCII = str.maketrans("░▒▓█▁▂▃▄▅▆▇│╭…·␣⊢⊣↵∅", ".:+#_.:-=+*||~-_<>/0")


class Pen:
    """Turns weights between 0 and 1 into styled cells for one kind of terminal.

    Args:
        colour: ``"truecolor"``, ``"256"`` or ``"none"``.
        gold: whether gold links are drawn, as brackets around a cell.
    """

    def __init__(self, colour: Colour, gold: bool) -> None:
        self.colour = colour
        self.gold = gold
        self.plain = colour == "none"
        self.pitch = 3 if self.plain and gold else 2  # columns that a cell takes
        self._ramp = ramp("cividis", "dark")

    def ink(self, weight: float) -> str:
        """A Rich colour name for a weight."""
        if self.colour == "256":
            return f"color({_XTERM[round(weight * (len(_XTERM) - 1))]})"
        red, green, blue = self._ramp[round(weight * 255)]
        return f"#{red:02x}{green:02x}{blue:02x}"

    def cell(self, weight: float, mark: str = "") -> Text:
        """One line high, `pitch` columns wide; ``mark`` is a pair of brackets for a gold link."""
        left, right = mark or "  "
        if self.plain:
            return Text(left + shade(weight) + right if self.gold else shade(weight) * 2)
        light = lightness(self._ramp[round(weight * 255)])
        front = "#a9b1c2" if light < 30 else "#ffffff" if light < 50 else "#000000"
        return Text(left + right, Style(color=front, bgcolor=self.ink(weight), bold=bool(light >= 50)))

    def halves(self, upper: float, lower: float | None) -> Text:
        """One column wide: two cells above each other, each half a line high."""
        if self.plain:
            return Text(shade(upper))
        if lower is None:
            return Text("▀", Style(color=self.ink(upper)))
        return Text("▄", Style(color=self.ink(lower), bgcolor=self.ink(upper)))

    def scale(self) -> Text:
        """The colours from 0 to 1."""
        if self.plain:
            return Text("0 " + "".join(2 * step for step in SHADES) + " 1", "dim")
        steps = [Text(" ", Style(bgcolor=self.ink(step / 15))) for step in range(16)]
        return Text("0 ", "dim") + Text("").join(steps) + Text(" 1", "dim")


def shade(weight: float) -> str:
    """A shading character; anything above a fiftieth leaves a trace."""
    return " " if weight < 0.02 else SHADES[max(round(weight * 4), 1)]


def clusters(text: str) -> list[str]:
    """What a reader takes for one character each: a letter with its marks, a joined emoji."""
    found: list[str] = []
    for character in text:
        if found and (cell_len(character) == 0 or found[-1].endswith("\u200d")):
            found[-1] += character
        else:
            found.append(character)
    return found


def fit(text: str, width: int, align: str = "", style: str = "") -> Text:
    """Text cut to ``width`` columns with ``…`` and padded there; right-to-left text cannot leave its place.

    Args:
        text: free of control characters.
        width: columns; wide characters take two, marks none.
        align: ``"<"`` or ``">"`` to pad, ``""`` not to.
        style: Rich style of the text; the padding has none.
    """
    if cell_len(text) > width:
        kept, room = "", width - 1
        for cluster in clusters(text):
            if cell_len(kept + cluster) > room:
                break
            kept += cluster
        text = kept + "…" if width > 0 else ""
    padding = " " * max(width - cell_len(text), 0)
    word = Text(isolate(text), style)
    return Text(padding) + word if align == ">" else word + Text(padding if align == "<" else "")


def finish(line: Text, width: int) -> Text:
    """A line as it goes to the terminal: never wider than the window, and running from left to right."""
    line.no_wrap, line.overflow, line.end = True, "crop", "\n"
    if cell_len(line.plain) > width:
        line.truncate(width, overflow="crop")
    if reads_right_to_left(line.plain):
        return Text(_LEFT_TO_RIGHT_MARK, no_wrap=True, overflow="crop") + line
    return line


def to_ascii(line: Text) -> Text:
    """The same columns for a terminal that knows no other characters."""
    plain = "".join(
        cluster if cluster.isascii() else "?" * cell_len(cluster)
        for cluster in clusters(line.plain.translate(_ASCII))
    )
    return Text(plain, no_wrap=True, overflow="crop")

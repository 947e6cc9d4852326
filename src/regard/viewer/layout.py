"""Where the words and cells of a picture go, in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, cos, radians

from regard.record import AttentionRecord
from regard.viewer.tokens import is_character, show, shown_order

__all__ = ["POINT", "TITLE_FONT", "Layout", "Ruler"]

POINT = 25.4 / 72  # mm
TITLE_FONT = 10.0  # points
_LARGEST, _SMALLEST = 9.0, 4.0  # points
_LARGEST_CELL = 6.5
_TALLEST = 240.0
_LABEL_LENGTHS = (
    28,
    18,
    10,
    6,
)  # characters; shorter ones are tried when labels leave the cells too little room
_COMFORTABLE_CELL = 4.0
_SLANT = cos(radians(45))
_LINE = 1.16  # height of a line in sizes of its font
_SLANTED_LINE = 1.0  # the same for slanted words, which may come closer
_GAP = 1.2
_TITLE = 5.5


class Ruler:
    """Measures text as matplotlib will set it."""

    def __init__(self) -> None:
        self._widths: dict[str, float] = {}

    @cached_property
    def _pen(self):
        from matplotlib.backends.backend_agg import RendererAgg

        return RendererAgg(1, 1, 72)

    @cached_property
    def _face(self):
        from matplotlib.font_manager import FontProperties

        return FontProperties(size=32)

    def width(self, text: str, size: float) -> float:
        """Millimetres that a text takes at a font size in points."""
        if text not in self._widths:
            self._widths[text] = (
                self._pen.get_text_width_height_descent(text, self._face, ismath=False)[0] / 32
            )
        return self._widths[text] * size * POINT


@dataclass(frozen=True)
class Layout:
    """The sizes of one record's drawing.

    ``left`` and ``above`` are the labels as shown, ``order`` the key index in each column, ``cell`` the
    side of a cell, ``font`` the size of the labels in points, ``margin`` and ``head`` the room left of and
    above the cells, ``indent`` what centres the drawing, ``every_row`` and ``every_column`` which labels
    are set when there is no room for all.
    """

    title: str
    left: tuple[str, ...]
    above: tuple[str, ...]
    order: tuple[int, ...]
    upright: bool
    cell: float
    font: float
    margin: float
    head: float
    indent: float
    ruler: Ruler

    @classmethod
    def of(cls, record: AttentionRecord, width: float, ruler: Ruler) -> Layout:
        """The layout of a record that is ``width`` mm wide: the largest font and cells that fit.

        The font shrinks until the labels fit their cells, then labels are cut; below `_SMALLEST` points
        only every n-th label is set.
        """
        tried = [cls._fit(record, width, ruler, longest) for longest in _LABEL_LENGTHS]
        roomy = [
            one for one in tried if one.cell >= _COMFORTABLE_CELL or one.columns * one.cell >= 0.4 * width
        ]
        return roomy[0] if roomy else tried[-1]

    @classmethod
    def _fit(cls, record: AttentionRecord, width: float, ruler: Ruler, longest: int) -> Layout:
        order = tuple(shown_order(record.key_tokens))
        left = tuple(_short(token, longest) for token in record.query_tokens)
        above = tuple(_short(record.key_tokens[key], longest) for key in order)
        upright = all(map(is_character, record.key_tokens))
        title, font, margin, head, right, cell = _title(record), _LARGEST, 0.0, 0.0, 0.0, 0.0
        while left and above:
            margin = max(ruler.width(text, font) for text in left) + _GAP
            lengths = [0.0 if upright else ruler.width(text, font) * _SLANT for text in above]
            cell = _cell(width - margin, lengths, len(left))
            right = max(0.0, max(length - (len(above) - n - 0.5) * cell for n, length in enumerate(lengths)))
            head = _GAP + (font * POINT * _LINE if upright else max(lengths) + 0.6 * font * POINT)
            if font <= _SMALLEST or font <= _fitting(cell, above if upright else (), ruler):
                break
            font -= 0.25
        head += _TITLE if title else 0.0
        used = margin + len(above) * cell + right
        indent = max(0.0, (width - used) / 2) if cell else 0.0
        title = _cut(title, width - indent, ruler)
        return cls(title, left, above, order, upright, cell, font, margin, head, indent, ruler)

    @property
    def rows(self) -> int:
        return len(self.left)

    @property
    def columns(self) -> int:
        return len(self.above)

    @property
    def height(self) -> float:
        return self.head + self.rows * self.cell if self.cell else 2 * _TITLE

    @property
    def every_row(self) -> int:
        return ceil(self.font * POINT * 0.95 / self.cell)

    @property
    def every_column(self) -> int:
        if self.upright:
            return ceil(max(self.ruler.width(text, self.font) for text in self.above) / self.cell)
        return ceil(self.font * POINT * 0.9 * _SLANTED_LINE / _SLANT / self.cell)


def _cell(room: float, lengths: list[float], rows: int) -> float:
    """The largest cell at which the columns, and the slanted words that reach beyond them, fit the room."""
    count = len(lengths)
    fitting = min((room - length) / (n + 0.5) for n, length in enumerate(lengths))
    return max(min(fitting, room / count, _LARGEST_CELL, _TALLEST / rows), 0.02)


def _fitting(cell: float, upright: tuple[str, ...], ruler: Ruler) -> float:
    """The font size in points at which neighbouring labels just do not touch."""
    points = cell / POINT
    if upright:
        widest = max(ruler.width(text, 1.0) for text in upright)
        return min(points / _LINE, 0.95 * cell / max(widest, 1e-6))
    return min(points / _LINE, points * _SLANT / _SLANTED_LINE)


def _short(token: str, longest: int) -> str:
    shown = show(token)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _cut(title: str, width: float, ruler: Ruler) -> str:
    if ruler.width(title, TITLE_FONT) <= width:
        return title
    while title and ruler.width(title + "…", TITLE_FONT) > width:
        title = title[:-1]
    return title + "…"


def _title(record: AttentionRecord) -> str:
    averaged = ", ".join(show(axis) for axis in record.axes[:-2])
    parts = [show(record.title)] if record.title else []
    parts += [f"mean over {averaged}"] if averaged else []
    return " · ".join(parts)

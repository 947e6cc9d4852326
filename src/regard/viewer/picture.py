"""Attention as a picture for a paper: PNG or SVG, at a stated width, the same bytes for the same record."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regard.errors import InputError
from regard.record import AttentionRecord, write_atomically
from regard.viewer.colours import ramp
from regard.viewer.fonts import FIRST, families_for
from regard.viewer.grid import LONG, Grid, needs_grid
from regard.viewer.layout import POINT, TITLE_FONT, Layout, Ruler
from regard.viewer.tokens import is_quiet, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_INK = "#1b1e23"
_QUIET = "#6d7278"
_GRID = "#e9e9e9"
_FRAME = "#b9bcc0"
_GOLD = "#d1480f"
_MARGIN = 2.5  # mm
_BETWEEN = 7.0  # mm between two records
_LEGEND = 6.5  # mm
_NARROWEST, _WIDEST = 30.0, 2000.0  # mm
_MOST_PIXELS = 2**16  # matplotlib's limit
_MOST_SHAPES = 4000  # cells drawn one by one; more are one image


def draw(
    record: AttentionRecord | Sequence[AttentionRecord],
    path: str | os.PathLike[str],
    *,
    width_mm: float = 120.0,
    colours: str = "cividis",
    dpi: int = 300,
) -> Path:
    """Draw one record, or several beneath each other, as PNG or SVG.

    Words stand upright on the left and slanted on top, characters upright; cells are square, so the height
    follows from the number of tokens. White is a weight of nothing, full colour is one. SVG holds real
    text. A character that no installed font has is drawn as a box.

    Args:
        record: what to draw; of several layers and heads a small map each, of a long text its map without
            words.
        path: where to; the suffix ``.png`` or ``.svg`` says which.
        width_mm: width of the picture, 30 to 2000 mm.
        colours: ``"cividis"``, ``"viridis"`` or ``"greys"``.
        dpi: pixels an inch of a PNG.

    Returns:
        The path written.

    Raises:
        InputError: another suffix, an unknown ramp, a width out of range, or no matplotlib.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise InputError(f"{path}: a picture ends in .png or .svg.")
    if not _NARROWEST <= width_mm <= _WIDEST:
        raise InputError(
            f"draw(): width_mm is {width_mm}; {_NARROWEST:g} to {_WIDEST:g} millimetres can be drawn."
        )
    if find_spec("matplotlib") is None:
        raise InputError("draw(): a picture needs matplotlib. Install it with: pip install 'regard[look]'")
    records = [record] if isinstance(record, AttentionRecord) else list(record)
    return write_atomically(path, _render(records, kind, width_mm, ramp(colours, "light"), dpi))


def _render(records: list[AttentionRecord], kind: str, width: float, inks: np.ndarray, dpi: int) -> bytes:
    with _own_settings(records):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        ruler = Ruler()
        room = width - 2 * _MARGIN
        layouts = [Grid.of(one, room) if needs_grid(one) else Layout.of(one, room, ruler) for one in records]
        height = (
            sum(layout.height for layout in layouts) + _BETWEEN * (len(layouts) - 1) + _LEGEND + 2 * _MARGIN
        )
        if kind == "png" and height / 25.4 * dpi >= _MOST_PIXELS:
            raise InputError(
                f"draw(): {len(records)} records make a PNG of {height:.0f} mm, too tall; save fewer, or SVG."
            )
        figure = Figure(figsize=(width / 25.4, height / 25.4))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        top = _MARGIN
        for record, layout in zip(records, layouts, strict=True):
            if isinstance(layout, Grid):
                layout.paint(axes, _MARGIN + layout.indent, top, inks)
                axes.set(xlim=(0, width), ylim=(height, 0))
            else:
                _Painter(axes, record, layout, inks, _MARGIN + layout.indent, top).paint()
            top += layout.height + _BETWEEN
        left = _MARGIN + (layouts[0].indent if len(layouts) == 1 else 0)
        _legend(axes, ruler, records, inks, left, top - _BETWEEN + _LEGEND - 1.2)
        stream = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
        return _in_millimetres(stream.getvalue(), width, height) if kind == "svg" else stream.getvalue()


def _in_millimetres(svg: bytes, width: float, height: float) -> bytes:
    stated = f'width="{width:g}mm" height="{height:.6g}mm"'.encode()
    return re.sub(rb'width="[\d.]+pt" height="[\d.]+pt"', stated, svg, count=1)


@contextmanager
def _own_settings(records: Sequence[AttentionRecord]) -> Iterator[None]:
    """Matplotlib's defaults for one picture, whatever the user's style, without a word of missing glyphs."""
    import matplotlib
    import matplotlib.style

    texts = [show(t) for record in records for t in (*record.query_tokens, *record.key_tokens, record.title)]
    settings: dict[Any, Any] = {
        "font.family": [*families_for(texts), "sans-serif"],
        "font.sans-serif": [FIRST],
        "svg.fonttype": "none",
        "svg.hashsalt": "regard",
        "image.composite_image": False,
    }
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.style.use("default")
        matplotlib.rcParams.update(settings)
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@dataclass
class _Painter:
    """Paints one record with its upper left corner at ``left, top``; all lengths are millimetres."""

    axes: Axes
    record: AttentionRecord
    layout: Layout
    inks: np.ndarray
    left: float
    top: float

    def paint(self) -> None:
        place = self.layout
        if place.title:
            self._text(self.left, self.top, place.title, TITLE_FONT, va="top")
        if not place.rows or not place.columns:
            self._text(self.left, self.top + place.height, "nothing to look at", 8, color=_QUIET)
            return
        self.x0 = self.left + place.margin
        self.y0 = self.top + place.head
        self.x1, self.y1 = self.x0 + place.columns * place.cell, self.y0 + place.rows * place.cell
        self._cells()
        self._gold()
        self._row_labels()
        self._column_labels()

    def _text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        style = {"color": _INK, "va": "center", "ha": "left", "parse_math": False, **style}
        self.axes.text(x, y, text, fontsize=size, **style)

    def _cells(self) -> None:
        from matplotlib.collections import LineCollection, PolyCollection
        from matplotlib.patches import Rectangle

        cell, rows, columns = self.layout.cell, self.layout.rows, self.layout.columns
        weights = np.clip(self.record.alignment, 0.0, 1.0)[:, list(self.layout.order)]
        paint = self.inks[np.round(weights * 255).astype(int)]
        if weights.size > _MOST_SHAPES or cell < 1.0:
            extent = (self.x0, self.x1, self.y1, self.y0)
            self.axes.imshow(paint, extent=extent, interpolation="none", aspect="auto", origin="upper")
            self.axes.set(xlim=self.axes.get_xlim(), ylim=self.axes.get_ylim())
        else:
            if cell >= 3.0:
                across = [[(self.x0, y), (self.x1, y)] for y in self.y0 + cell * np.arange(1, rows)]
                down = [[(x, self.y0), (x, self.y1)] for x in self.x0 + cell * np.arange(1, columns)]
                self.axes.add_collection(
                    LineCollection(across + down, colors=_GRID, linewidths=0.4), autolim=False
                )
            row, column = np.nonzero(np.round(weights * 255))
            corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
            squares = (np.stack([column, row], -1)[:, None] + corners) * cell + (self.x0, self.y0)
            shapes = PolyCollection(
                list(squares), facecolors=paint[row, column] / 255, antialiased=False, linewidths=0
            )
            self.axes.add_collection(shapes, autolim=False)
        frame = Rectangle((self.x0, self.y0), self.x1 - self.x0, self.y1 - self.y0)
        frame.set(fill=False, edgecolor=_FRAME, linewidth=0.5)
        self.axes.add_patch(frame)

    def _gold(self) -> None:
        place = {key: column for column, key in enumerate(self.layout.order)}
        for query, key in sorted(self.record.sure | self.record.possible):
            x, y = self.x0 + place[key] * self.layout.cell, self.y0 + query * self.layout.cell
            _gold_mark(self.axes, x, y, self.layout.cell, sure=(query, key) in self.record.sure)

    def _row_labels(self) -> None:
        place, size = self.layout, self.layout.font
        for query in range(0, place.rows, place.every_row):
            token = self.record.query_tokens[query]
            x, y = self.x0 - 1.2, self.y0 + (query + 0.5) * place.cell
            colour = _QUIET if is_quiet(token) else _INK
            # "baseline" and not "center": words with and without descenders then stand on even lines
            self._text(
                x, y + 0.36 * size * POINT, place.left[query], size, ha="right", va="baseline", color=colour
            )
            if query in self.record.copied:
                below = y + 0.5 * size * POINT
                self.axes.plot(
                    [x - place.ruler.width(place.left[query], size), x],
                    [below, below],
                    color=_INK,
                    lw=0.07 * size,
                )

    def _column_labels(self) -> None:
        place, size = self.layout, self.layout.font
        for column in range(0, place.columns, place.every_column):
            colour = _QUIET if is_quiet(self.record.key_tokens[place.order[column]]) else _INK
            x = self.x0 + (column + 0.5) * place.cell
            if place.upright:
                y = self.y0 - 1.0 - 0.22 * size * POINT
                self._text(x, y, place.above[column], size, ha="center", va="baseline", color=colour)
            else:
                slant = {"rotation": 45, "rotation_mode": "anchor", "va": "center_baseline"}
                self._text(x, self.y0 - 1.2, place.above[column], size, color=colour, **slant)


def _gold_mark(axes: Axes, x: float, y: float, cell: float, *, sure: bool) -> None:
    """A square for a sure link, a circle for a possible one, with a light edge that shows on dark ink."""
    from matplotlib.patches import Circle, Rectangle
    from matplotlib.patheffects import withStroke

    width = min(max(0.16 * cell, 0.35), 1.1)  # points
    if sure:
        inset = 0.5 * (width + 0.7) * POINT
        shape = Rectangle((x + inset, y + inset), cell - 2 * inset, cell - 2 * inset, joinstyle="miter")
    else:
        shape = Circle((x + 0.5 * cell, y + 0.5 * cell), 0.33 * cell)
    shape.set(
        fill=False,
        edgecolor=_GOLD,
        linewidth=width,
        path_effects=[withStroke(linewidth=width + 0.7, foreground="white")],
    )
    axes.add_patch(shape)


def _legend(
    axes: Axes, ruler: Ruler, records: Sequence[AttentionRecord], inks: np.ndarray, left: float, y: float
) -> None:
    size, style = 7.0, {"color": _QUIET, "va": "center", "parse_math": False, "fontsize": 7.0}
    x = left

    def say(text: str, after: float) -> None:
        nonlocal x
        axes.text(x, y, text, **style)
        x += ruler.width(text, size) + after

    long = [
        needs_grid(record) and max(len(record.query_tokens), len(record.key_tokens)) > LONG
        for record in records
    ]
    scale = "weight, logarithmic  0" if all(long) else "weight (long texts: logarithmic)  0"
    say(scale if any(long) else "weight  0", 1.0)
    axes.imshow(inks[None, ::4], extent=(x, x + 20, y + 1, y - 1), interpolation="none", aspect="auto")
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.plot([x, x + 20, x + 20, x, x], [y - 1, y - 1, y + 1, y + 1, y - 1], color=_FRAME, lw=0.4)
    x += 21
    say("1", 5.0)
    for sure, name in ((True, "sure"), (False, "possible")):
        if any(record.sure if sure else record.possible for record in records):
            _gold_mark(axes, x, y - 1.4, 2.8, sure=sure)
            x += 3.8
            say(name, 4.0)
    if any(record.copied for record in records):
        axes.plot([x, x + ruler.width("copied", size)], [y + 1.4, y + 1.4], color=_QUIET, lw=0.5)
        say("copied", 0.0)

"""The heads of a record in a picture: a small map of each, layers down and heads across, in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regard.record import AttentionRecord
from regard.viewer.layout import TITLE_FONT
from regard.viewer.tokens import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Grid", "needs_grid", "shares"]

LONG = 64  # tokens from which a weight of 1 / tokens could no longer be seen on a linear scale
_TITLE, _MARK = 5.5, 5.0  # mm
_LARGEST_MAP, _GAP = 70.0, 0.8  # mm
_EDGE = 0.1  # mm from a map to its frame, which must not hide the first column: it is often a sink
_MOST_PIXELS = 512  # of a small map; more weights share them
_INK, _QUIET, _FRAME = "#1b1e23", "#6d7278", "#b9bcc0"


def needs_grid(record: AttentionRecord) -> bool:
    """Whether one map with its words cannot show a record: it has several, or holds means of rectangles."""
    several = record.weights.size > int(np.prod(record.weights.shape[-2:])) > 0
    return several or not record.whole


def shares(record: AttentionRecord, weights: np.ndarray) -> np.ndarray:
    """How much ink weights get, from 0 to 1: linear for a short text, logarithmic for a long one.

    Nothing gets none on either scale.
    """
    if max(len(record.query_tokens), len(record.key_tokens)) <= LONG:
        return np.clip(weights, 0.0, 1.0)
    floor = min(1e-3, 0.1 / max(len(record.key_tokens), 1))
    inked = 1 - np.log(np.clip(weights, floor, 1.0)) / np.log(floor)
    return np.where(weights > 0, np.clip(inked, 0.02, 1.0), 0.0)


@dataclass(frozen=True)
class Grid:
    """The sizes of one record's drawing; all lengths are millimetres.

    ``size`` is the longer side of a small map, ``indent`` what centres the drawing.
    """

    record: AttentionRecord
    layers: int
    across: int
    size: float
    indent: float

    @classmethod
    def of(cls, record: AttentionRecord, width: float) -> Grid:
        """The largest maps of a record that fit side by side."""
        leading = record.weights.shape[:-2]
        across = leading[-1] if leading and record.axes[-3] != "layer" else 1
        layers = int(np.prod(leading)) // max(across, 1)
        size = min((width - _MARK) / max(across, 1) - _GAP, _LARGEST_MAP)
        return cls(record, layers, across, size, max(0.0, (width - _MARK - across * (size + _GAP)) / 2))

    @property
    def height(self) -> float:
        return _TITLE + _MARK + self.layers * (self._high + _GAP)

    @property
    def _high(self) -> float:
        rows, columns = self.record.weights.shape[-2:]
        return self.size * min(1.0, rows / max(columns, 1))

    def paint(self, axes: Axes, left: float, top: float, inks: np.ndarray) -> None:
        """Draw the title, the numbers of layers and heads, and each map."""
        rows, columns = self.record.weights.shape[-2:]
        wide = self.size * min(1.0, columns / max(rows, 1))
        style = {"va": "center", "ha": "center", "parse_math": False, "fontsize": 6, "color": _QUIET}
        title = " · ".join(filter(None, [show(self.record.title) if self.record.title else "", self._note()]))
        axes.text(
            left, top, title, **style | {"ha": "left", "va": "top", "fontsize": TITLE_FONT, "color": _INK}
        )
        maps = self.record.weights if self.record.largest is None else self.record.largest
        left, top = left + _MARK, top + _TITLE + _MARK
        for number, weights in enumerate(maps.reshape(-1, rows, columns)):
            layer, head = divmod(number, self.across)
            x, y = left + head * (self.size + _GAP), top + layer * (self._high + _GAP)
            if self.layers * self.across > 1 and layer == 0:
                axes.text(x + wide / 2, y - 2, f"{head}", **style)
            if self.layers * self.across > 1 and head == 0:
                axes.text(x - 2.5, y + self._high / 2, f"{layer}", **style)
            paint = inks[np.round(shares(self.record, _pooled(weights)) * 255).astype(int)]
            axes.imshow(paint, extent=(x, x + wide, y + self._high, y), interpolation="none", aspect="auto")
            x, y, right, bottom = x - _EDGE, y - _EDGE, x + wide + _EDGE, y + self._high + _EDGE
            corners = ([x, right, right, x, x], [y, y, bottom, bottom, y])
            axes.plot(*corners, color=_FRAME, lw=0.3)

    def _note(self) -> str:
        if self.layers * self.across > 1:
            return "layers down, heads across"
        return "" if self.record.whole else f"{len(self.record.query_tokens):,} tokens"


def _pooled(weights: np.ndarray) -> np.ndarray:
    """A map of at most `_MOST_PIXELS` each way: the largest of the weights that share a pixel."""
    for axis in (0, 1):
        if weights.shape[axis] > _MOST_PIXELS:
            starts = np.arange(_MOST_PIXELS) * weights.shape[axis] // _MOST_PIXELS
            weights = np.maximum.reduceat(weights, starts, axis=axis)
    return weights

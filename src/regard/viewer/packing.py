"""Weights made small for a page: a byte for each, chosen so that the two decimals shown of it are right.

A short record travels as float32. Of a longer one each weight is a code, an index into a table of at most
256 `levels`. A code stands for an interval of weights, and no interval reaches across a point where rounding
to two decimals changes: what a reader is shown, such as 0.83, is what the weight itself would have shown.
Below 0.005, where that is "<0.01", the intervals grow by a constant factor (a logarithmic scale), which is as
fine as the page's budget of bytes allows. Code 0 is a weight of exactly nothing, and nothing else.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["BUDGET", "MOST_FLOATS", "Codes", "as_floats", "suited"]

MOST_FLOATS = 2**18  # weights of a record that still travel as float32
BUDGET = 14_000_000  # bytes of codes, deflated; base64 makes 18.7 MB of them

_FIRST_SHOWN = 0.005  # smaller weights are shown as "<0.01"
_STEPS = ((1.19, 1e-6), (1.41, 1e-6), (2.0, 1e-5), (2.83, 1e-5), (4.0, 1e-5))  # growth, smallest edge
_SAMPLE = 2**21  # weights that are packed to see how many bytes a scale takes


@dataclass(frozen=True)
class Codes:
    """A scale of weights between 0 and 1.

    Args:
        growth: how many times wider each interval below 0.005 is than the one before, above 1; a weight there
            is known within a factor of ``√growth``.
        smallest: weights below are known to be above nothing and below this.
    """

    growth: float
    smallest: float

    @cached_property
    def edges(self) -> np.ndarray:
        """(C,) float64, where the interval of each code begins; the first is code 0, nothing."""
        count = int(np.ceil(np.log(_FIRST_SHOWN / self.smallest) / np.log(self.growth)))
        small = _FIRST_SHOWN / self.growth ** np.arange(count, 0, -1)
        parts = {1: 6, 2: 4, 3: 3}
        shown = [
            (hundredth - 0.5 + np.arange(n) / n) / 100
            for hundredth in range(1, 101)
            for n in [parts.get(hundredth, 2 if hundredth < 30 else 1)]
        ]
        return np.concatenate([[0.0, 0.0], small, *shown])

    @cached_property
    def levels(self) -> np.ndarray:
        """(C,) float64, the weight that each code is shown as: the middle of its interval."""
        start, end = self.edges, np.append(self.edges[1:], 1.005)
        middle = np.where(end <= _FIRST_SHOWN * 1.0001, np.sqrt(start * end), (start + end) / 2)
        middle[:2] = 0.0, self.edges[2] / 2
        middle[-1] = 1.0
        return middle

    def encode(self, weights: np.ndarray) -> np.ndarray:
        """(…) uint8 codes of weights between 0 and 1."""
        exact = self.edges[1:]
        edges = exact.astype(np.float32)
        edges[edges < exact] = np.nextafter(edges[edges < exact], np.float32(2))  # no weight changes its side
        codes = np.searchsorted(edges, weights.ravel(), side="right").astype(np.uint8)
        codes[weights.ravel() <= 0] = 0
        return codes.reshape(weights.shape)

    def pack(self, weights: np.ndarray) -> str:
        """The codes of one map, row by row, deflated (zlib), as base64."""
        return _text(zlib.compress(self.encode(weights).tobytes(), 6))


def suited(maps: Sequence[np.ndarray], budget: int = BUDGET) -> Codes | None:
    """The finest scale on which all maps fit the budget, else the coarsest.

    Args:
        maps: (…, Q, K) float32 each, all that the record holds.
        budget: bytes, deflated.

    Returns:
        None where the maps should travel as float32: they are short, or a weight is below 0 or above 1.
    """
    count = sum(one.size for one in maps)
    outside = any(one.size and (one.min() < 0 or one.max() > 1.0001) for one in maps)
    if count <= MOST_FLOATS or outside:
        return None
    each = [flat for one in maps for flat in one.reshape(-1, *one.shape[-2:])]
    sample = each[:: max(1, -(-count // _SAMPLE))]
    share = sum(one.size for one in sample) / count
    scales = [Codes(*step) for step in _STEPS]
    for scale in scales[:-1]:
        taken = sum(len(zlib.compress(scale.encode(one).tobytes(), 6)) for one in sample)
        if taken / share <= budget * 0.97:
            return scale
    return scales[-1]


def as_floats(weights: np.ndarray) -> str:
    """Base64 of little-endian float32, row by row."""
    return _text(weights.astype("<f4").tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

"""Few shapes for the batches of a corpus, chosen from the lengths of its pairs.

Every shape that a processor sees for the first time costs it a compilation, and every padded position costs
as much as a real one. So target widths are chosen, and for each of them some source widths: those for which
padding and a price on each shape add up to the least, found by dynamic programming.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROW_STEP = 8
WIDTH_STEP = 2
PRICE = 0.0025
"""A shape has to save this share of all positions."""

_CANDIDATES = 40
_SAMPLE = 100_000
_TRIMMED = 0.04


@dataclass(frozen=True)
class Shapes:
    """The shapes that batches may have: target widths, and for each of them source widths, both rising.

    Args:
        targets: (N,), target widths.
        sources: for each of them its source widths.
        tokens: about how many positions a batch has on its longer side.
    """

    targets: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]
    tokens: int

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def rows(self, source: int, target: int) -> int:
        """How many pairs a batch of these widths holds: a multiple of eight where there is room for eight."""
        rows = max(1, self.tokens // max(source, target))
        return rows // ROW_STEP * ROW_STEP if rows >= ROW_STEP else rows

    @classmethod
    def chosen(cls, sources: np.ndarray, targets: np.ndarray, tokens: int) -> Shapes:
        """The best shapes for pairs of these lengths.

        Args:
            sources, targets: (N,), lengths as they will stand in a batch, start or end tokens included.
            tokens: about how many positions a batch has on its longer side.
        """
        if not len(sources):
            return cls((), (), tokens)
        most = (max(1, int(sources.max())), max(1, int(targets.max())))
        step = -(-len(sources) // _SAMPLE)  # of a large corpus every so many-th pair tells enough
        sources, targets = sources[::step], targets[::step]
        s, t = _widths(sources, most[0]), _widths(targets, most[1])
        pairs = np.zeros((len(t), len(s)))
        np.add.at(pairs, (np.searchsorted(t, targets), np.searchsorted(s, sources)), 1)
        price = max(PRICE * float(sources.sum() + targets.sum()), tokens / 2 / step)
        bands = _bands(pairs, s, t, price)
        return cls(tuple(target for target, _ in bands), tuple(widths for _, widths in bands), tokens)


def rounded_up(length: int) -> int:
    """A length, rounded up to `WIDTH_STEP`."""
    return -(-length // WIDTH_STEP) * WIDTH_STEP


def _widths(lengths: np.ndarray, longest: int) -> np.ndarray:
    """The widths to choose from: all where they are few, else with as many pairs between any two."""
    widths = np.unique(-(-lengths // WIDTH_STEP) * WIDTH_STEP)
    if len(widths) > _CANDIDATES:
        shares = np.linspace(0, 1, _CANDIDATES)
        widths = np.quantile(-(-lengths // WIDTH_STEP) * WIDTH_STEP, shares, method="higher")
    return np.unique(np.append(widths[widths > 0], rounded_up(longest)))


def _bands(
    pairs: np.ndarray, s: np.ndarray, t: np.ndarray, price: float
) -> list[tuple[int, tuple[int, ...]]]:
    """Target widths with their source widths, at the least cost over all ways to cut `t` into bands.

    Args:
        pairs: (T, S), how many pairs have each target and source width.
        s, t: these widths.
        price: of each shape, in positions.
    """
    below = np.concatenate([np.zeros((1, len(s))), np.cumsum(pairs, axis=0)])
    cost, best = [0.0], [(0, ())]
    for last in range(1, len(t) + 1):
        ways = []
        for first in range(last):
            counts = below[last] - below[first]
            kept = _trimmed(counts, last == len(t))
            widths, padded = _levels(kept, s, price)
            moved = (
                np.maximum(counts - kept, 0).sum() * (widths[-1] if widths else 0) * 1.25
            )  # they join the next band
            ways.append((cost[first] + padded + moved + counts.sum() * t[last - 1], first, widths))
        least, first, widths = min(ways, key=lambda way: way[0])
        cost.append(least)
        best.append((first, widths))
    bands = []
    last = len(t)
    while last:
        first, widths = best[last]
        bands.append((int(t[last - 1]), widths))
        last = first
    return bands[::-1]


def _trimmed(counts: np.ndarray, last: bool) -> np.ndarray:
    """Without the few longest sources, which the next band has room for; the last has room for all."""
    if last:
        return np.append(counts[:-1], max(1.0, counts[-1]))
    from_here_on = np.cumsum(counts[::-1])[::-1]
    return np.where(from_here_on <= _TRIMMED * counts.sum(), 0, counts)


def _levels(counts: np.ndarray, widths: np.ndarray, price: float) -> tuple[tuple[int, ...], float]:
    """Some of the widths, the longest that is met among them, at the least cost of positions and prices."""
    met = np.nonzero(counts)[0]
    counts, widths = counts[met], widths[met]
    below = np.concatenate([[0.0], np.cumsum(counts)])
    cost, best = np.zeros(len(widths) + 1), np.zeros(len(widths) + 1, dtype=int)
    for last in range(1, len(widths) + 1):
        ways = cost[:last] + (below[last] - below[:last]) * widths[last - 1] + price
        best[last] = ways.argmin()
        cost[last] = ways[best[last]]
    chosen: list[int] = []
    last = len(widths)
    while last:
        chosen.append(int(widths[last - 1]))
        last = best[last]
    return tuple(chosen[::-1]), float(cost[-1])

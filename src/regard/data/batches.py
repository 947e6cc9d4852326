"""Batches of a few fixed shapes, in an order that a seed repeats.

Pairs that fit one of a corpus's few shapes (see `shapes`) are dealt out together, in full batches; what is
left over of one shape goes on to the next larger one. Token ids lie in flat arrays, and a batch is gathered
from them without a Python object for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from regard.data.links import WordLinks
from regard.data.ragged import Ragged
from regard.data.shapes import Shapes, rounded_up
from regard.data.tokenization import END, PAD, START


@dataclass(frozen=True)
class Batch:
    """Some pairs as rectangles of token ids, padded behind.

    Args:
        rows: (B,), which pairs of the corpus these are.
        source: (B, S); source_lengths: (B,).
        given: (B, T), what the decoder is given: the start token, then the target.
        wanted: (B, T), what it shall say: the target, then the end token.
        wished: (B, T, S), where each step should look, if that is known; see `regard.data.links`.
    """

    rows: np.ndarray
    source: np.ndarray
    source_lengths: np.ndarray
    given: np.ndarray
    wanted: np.ndarray
    wished: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """Real target tokens, end tokens included."""
        return int(np.count_nonzero(self.wanted != PAD))

    def part(self, rank: int, of: int) -> Batch:
        """The rows that process `rank` of so many works on, in rectangles as wide as the whole batch's.

        The parts are the batch, in order; their sizes differ by at most one row, and where there are fewer
        rows than processes some parts have none.
        """
        if not 0 <= rank < of:
            raise ValueError(f"part(): rank is one of 0 … {of - 1}; got {rank}.")
        rows = slice(len(self.rows) * rank // of, len(self.rows) * (rank + 1) // of)
        return Batch(
            self.rows[rows],
            self.source[rows],
            self.source_lengths[rows],
            self.given[rows],
            self.wanted[rows],
            None if self.wished is None else self.wished[rows],
        )


class Place(NamedTuple):
    """A place in training: the next batch is found at `position` of epoch `epoch`."""

    epoch: int
    position: int


class Coming(Protocol):
    """Where batches come from, in memory or not."""

    def coming(self, epoch: int = 0, position: int = 0) -> Iterator[tuple[Place, Batch]]:
        """The batches from a place on, without end, each with the place behind it."""
        ...

    def an_epoch(self) -> int:
        """About how many batches an epoch has."""
        ...


def rectangle(rows: Sequence[Sequence[int]], width: int | None = None) -> np.ndarray:
    """Token ids of different lengths as one array, padded behind to ``width`` or to the longest."""
    ragged = Ragged.of(rows)
    return _rectangle(ragged, np.arange(len(ragged)), width)


def _rectangle(
    ids: Ragged, rows: np.ndarray, width: int | None = None, *, before: int | None = None, after: int = PAD
) -> np.ndarray:
    """(B, width): some rows, each with one token `before` it and one `after` it, padded behind."""
    lengths = ids.offsets[rows + 1] - ids.offsets[rows]
    shift = before is not None
    width = int(lengths.max(initial=0)) + shift if width is None else width
    array = np.full((len(rows), width), PAD, dtype=np.int64)
    if before is not None:
        array[:, 0] = before
    array[:, int(shift) :][np.arange(width - shift) < lengths[:, None]] = ids.values[ids.places(rows)]
    if after != PAD:
        array[np.arange(len(rows)), lengths] = after
    return array


@dataclass(frozen=True, eq=False)
class Epoch:
    """The batches of an epoch, each of them gathered when it is asked for.

    Args:
        sources, targets: token ids of all pairs, as they are cut in this epoch.
        plan: the pairs of each batch, in the order in which they are to be trained on.
        widths: (N, 2), at least how wide the source and the target of each batch are.
        links: between the words of all pairs, if they are known.
    """

    sources: Ragged
    targets: Ragged
    plan: list[np.ndarray]
    widths: np.ndarray
    links: WordLinks | None = None

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Batch:
        rows, (source, target) = self.plan[position], self.widths[position].tolist()
        lengths = self.sources.offsets[rows + 1] - self.sources.offsets[rows]
        longest = (self.targets.offsets[rows + 1] - self.targets.offsets[rows]).max() + 1
        source = max(source, rounded_up(int(lengths.max())))
        target = max(target, rounded_up(int(longest)))
        return Batch(
            rows=rows,
            source=_rectangle(self.sources, rows, source),
            source_lengths=lengths,
            given=_rectangle(self.targets, rows, target, before=START),
            wanted=_rectangle(self.targets, rows, target, after=END),
            wished=self.links and self.links.shares(rows, self.sources, self.targets, (target, source)),
        )


class Batches:
    """The pairs of a corpus, ready to be dealt out epoch after epoch.

    Args:
        sources, targets: token ids of each pair, without start and end.
        tokens: about how many positions a batch has on its longer side.
        seed: of the order; epoch n of one seed is always the same.
        anew: gives sources and targets as they are cut in an epoch, where they are not always the same.
        shapes: that batches may have; by default chosen from the lengths in the first epoch.
        links: between the words of each pair, if they are known.
    """

    def __init__(
        self,
        sources: Ragged | Sequence[Sequence[int]],
        targets: Ragged | Sequence[Sequence[int]],
        *,
        tokens: int,
        seed: int = 0,
        anew: Callable[[int], tuple[Ragged, Ragged]] | None = None,
        shapes: Shapes | None = None,
        links: WordLinks | None = None,
    ) -> None:
        if anew is None:
            always = (Ragged.of(sources), Ragged.of(targets))
            anew = lambda _: always  # noqa: E731
        self._anew, self._count, self.seed, self.links = anew, len(sources), seed, links
        if shapes is None:
            first, its_targets = anew(0)
            shapes = Shapes.chosen(first.lengths, its_targets.lengths + 1, tokens)
        self.shapes = shapes

    def __len__(self) -> int:
        return self._count

    def epoch(self, number: int) -> Epoch:
        """The batches of an epoch."""
        random = np.random.default_rng([self.seed, number])
        sources, targets = self._anew(number)
        shuffled = random.permutation(len(sources))
        dealt = list(_dealt(self.shapes, sources.lengths, targets.lengths + 1, shuffled))
        order = random.permutation(len(dealt))
        widths = np.array([dealt[i][1:] for i in order], dtype=np.int64).reshape(-1, 2)
        return Epoch(sources, targets, [dealt[i][0] for i in order], widths, self.links)

    def coming(self, epoch: int = 0, position: int = 0) -> Iterator[tuple[Place, Batch]]:
        """The batches from a place on, without end, each with the place behind it."""
        while len(self):
            batches = self.epoch(epoch)
            for here in range(position, len(batches)):
                yield Place(epoch, here + 1), batches[here]
            epoch, position = epoch + 1, 0

    def an_epoch(self) -> int:
        """How many batches an epoch has; a few more or less where pairs are cut anew each time."""
        return len(self.epoch(0))


def _dealt(
    shapes: Shapes, sources: np.ndarray, targets: np.ndarray, order: np.ndarray
) -> Iterator[tuple[np.ndarray, int, int]]:
    """The pairs of each batch, with its source and target width, from the smallest shape to the largest.

    Args:
        shapes: that they may have.
        sources, targets: (N,), the lengths of all pairs; one that no shape has room for goes into the last.
        order: (N,), the pairs, as chance would have them follow each other.
    """
    if not len(order):
        return
    band = np.minimum(np.searchsorted(shapes.targets, targets), len(shapes.targets) - 1)[order]
    left = order[:0]
    target = source = 0
    for number, target in enumerate(shapes.targets):
        waiting = np.concatenate([left, order[band == number]])
        widths = shapes.sources[number]
        last = number == len(shapes.targets) - 1
        fitting = np.searchsorted(widths, sources[waiting])
        fitting = np.minimum(fitting, len(widths) - 1) if last else fitting
        left = order[:0]
        for level, source in enumerate(widths):
            left = np.concatenate([left, waiting[fitting == level]])
            count = shapes.rows(source, target)
            full = len(left) // count * count
            yield from ((rows, source, target) for rows in left[:full].reshape(-1, count))
            left = left[full:]
        left = np.concatenate([left, waiting[fitting == len(widths)]])
    if len(left):
        yield left, source, target

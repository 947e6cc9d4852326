"""Rows of different lengths behind each other in one array, so that no Python object stands for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of whole numbers, each of its own length; a sequence of arrays.

    Args:
        values: (N,), the rows behind each other.
        offsets: (R + 1,), where each row begins; the last one is N.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Ragged | Sequence[Sequence[int]], dtype: type = np.int32) -> Ragged:
        """The same rows; what is ragged already is taken as it is."""
        if isinstance(rows, Ragged):
            return rows
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        values = np.fromiter(chain.from_iterable(rows), dtype=dtype, count=int(lengths.sum()))
        return cls.with_lengths(values, lengths)

    @classmethod
    def with_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> Ragged:
        """Rows of these lengths, whose values stand behind each other."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    @property
    def lengths(self) -> np.ndarray:
        """(R,), how long each row is."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def tolist(self) -> list[list[int]]:
        """The rows as lists."""
        values, offsets = self.values.tolist(), self.offsets.tolist()
        return [values[a:b] for a, b in pairwise(offsets)]

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where in ``values`` the values of these rows stand, row after row."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        return np.arange(total) + np.repeat(self.offsets[rows] - ends + lengths, lengths)

    def take(self, rows: np.ndarray) -> Ragged:
        """Some of the rows, in the order asked for."""
        return Ragged.with_lengths(
            self.values[self.places(rows)], self.offsets[rows + 1] - self.offsets[rows]
        )

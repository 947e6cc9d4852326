"""How much of a test was in the training data: a run remembers a fingerprint of each pair it learned from.

training-pairs.safetensors: "pairs" and "sources", 64-bit hashes, each sorted and there once. The texts cannot
be read from them. That two different texts have the same is less likely than one in a million even where a
thousand pairs are compared with a billion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from regard.data.corpora import Pair
from regard.errors import RunError
from regard.training.files import saving

FILE = "training-pairs.safetensors"


@dataclass(frozen=True)
class Overlap:
    """What of a corpus was in the training data.

    Args:
        pairs: how many of its pairs were, with source and target.
        sources: how many of its source texts were, whatever their target.
        of: how many pairs it has.
    """

    pairs: int
    sources: int
    of: int

    def __bool__(self) -> bool:
        return self.sources > 0

    def __str__(self) -> str:
        others = self.sources - self.pairs
        more = f", and {others:,} more sources with other targets" if others and self.pairs else ""
        if not self.pairs:
            return f"{self.sources:,} of {self.of:,} sources were in the training data, with other targets"
        return f"{self.pairs:,} of {self.of:,} pairs were in the training data{more}"

    def to_dict(self) -> dict[str, int]:
        """The counts by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is remembered of training pairs: sorted hashes of pairs and of source texts, each there once."""

    pairs: np.ndarray
    sources: np.ndarray

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Fingerprints:
        """Of pairs that are read once, one after the other; 16 bytes a pair are kept."""
        source, target = _hashed(pairs)
        return cls(np.unique(_together(source, target)), np.unique(source))

    def overlap(self, pairs: Iterable[Pair]) -> Overlap:
        """How many of these pairs, and of their sources, are among them. White space does not count."""
        source, target = _hashed(pairs)
        found = np.isin(_together(source, target), self.pairs), np.isin(source, self.sources)
        return Overlap(int(found[0].sum()), int(found[1].sum()), len(source))

    def save(self, folder: Path) -> None:
        """Write them into a run's folder, whole or not at all; TrainingError where that cannot be."""
        with saving(folder / FILE) as temporary:
            temporary.write_bytes(save({"pairs": self.pairs, "sources": self.sources}))

    @classmethod
    def load(cls, folder: Path) -> Fingerprints | None:
        """Those of a run; None where it has none, as runs of earlier versions.

        Raises:
            RunError: the file is cut short.
        """
        path = folder / FILE
        try:
            tensors = load(path.read_bytes())
            return cls(tensors["pairs"], tensors["sources"])
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError) as error:
            raise RunError(
                f"{path}: not a whole file of fingerprints ({error}). Restore it, or remove it to evaluate "
                "without knowing whether the test was in the training data."
            ) from None


def _hashed(pairs: Iterable[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """A hash of each source and of each target."""
    hashes = chain.from_iterable((_hash(pair.source), _hash(pair.target)) for pair in pairs)
    both = np.fromiter(hashes, dtype=np.uint64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "little")


def _together(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One hash of both, in which their order counts."""
    return (source * np.uint64(0x9E3779B97F4A7C15)) ^ (target >> np.uint64(29)) ^ (target << np.uint64(35))

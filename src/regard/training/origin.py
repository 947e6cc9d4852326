"""Where pairs come from, in words that a run can write down and read again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from regard.data.corpora import Corpus, Pair, format_of, from_pairs, read_pairs, stream_pairs
from regard.data.lines import error_at

Column = str | int | None


@dataclass(frozen=True)
class PairFiles:
    """A file of pairs, or two plain files whose lines belong together; see `corpora.read_pairs`."""

    path: str | os.PathLike[str]
    target_path: str | os.PathLike[str] | None = None
    source_column: Column = None
    target_column: Column = None

    def read(self) -> Corpus:
        """The pairs."""
        return read_pairs(
            self.path, self.target_path, source_column=self.source_column, target_column=self.target_column
        )

    def stream(self) -> Iterator[Pair | None]:
        """The pairs one by one, None for one with an empty side; see `corpora.stream_pairs`."""
        return stream_pairs(
            self.path, self.target_path, source_column=self.source_column, target_column=self.target_column
        )

    @property
    def name(self) -> str:
        """As errors and corpora call them."""
        return " + ".join(os.fspath(path) for path in self._paths)

    @property
    def format(self) -> str:
        """One of `corpora.FORMATS`."""
        return format_of(self.path) if self.target_path is None else "plain"

    @property
    def _paths(self) -> tuple[str | os.PathLike[str], ...]:
        return (self.path,) if self.target_path is None else (self.path, self.target_path)

    def hold_more_than(self, pairs: int) -> bool:
        """Whether there are more pairs than these; files too small to matter are not looked into."""
        sizes = [Path(path).stat().st_size for path in self._paths if Path(path).is_file()]
        return sum(sizes) > 5 * pairs and any(True for _ in islice(self.stream(), pairs, None))

    def fingerprint(self) -> list[list[str | int | None]]:
        """What changes where the files do: name, size and time of each, and which columns are read."""
        stats = [(path, Path(path).stat()) for path in self._paths]
        return [
            *([_absolute(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats),
            [self.source_column, self.target_column],
        ]

    def recorded(self) -> dict[str, str | int]:
        """As TOML values, with paths that hold from any folder; CorpusError for one that TOML cannot hold."""
        values = {
            "path": _absolute(self.path),
            "target_path": None if self.target_path is None else _absolute(self.target_path),
            "source_column": self.source_column,
            "target_column": self.target_column,
        }
        return {name: value for name, value in values.items() if value is not None}


def _absolute(path: str | os.PathLike[str]) -> str:
    whole = str(Path(path).resolve())
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise error_at(whole, 0, "a run cannot write down a name that is not UTF-8. Rename it.") from None
    return whole


Pairs = str | os.PathLike[str] | tuple[Any, Any] | PairFiles | Corpus | Iterable[tuple[str, str]]


def files_of(pairs: Any) -> PairFiles | None:
    """The files that pairs are to be read from; None where they are in memory."""
    if isinstance(pairs, PairFiles):
        return pairs
    if isinstance(pairs, str | os.PathLike):
        return PairFiles(pairs)
    if (
        isinstance(pairs, tuple)
        and len(pairs) == 2
        and all(isinstance(part, str | os.PathLike) for part in pairs)
    ):
        return PairFiles(*pairs)
    return None


def recorded(training: Any, validation: Any) -> dict[str, Any]:
    """The files of a run as TOML values; nothing where any of its pairs are in memory and will be gone."""
    given = {"training_files": training, "validation_files": validation}
    files = {name: files_of(pairs) for name, pairs in given.items() if pairs is not None}
    return {} if None in files.values() else {name: each.recorded() for name, each in files.items() if each}


def recorded_files(corpus: Mapping[str, Any], role: str) -> PairFiles | None:
    """What `recorded` wrote down for "training" or "validation"."""
    values = corpus.get(f"{role}_files")
    return None if values is None else PairFiles(**values)


def read(pairs: Any) -> Corpus:
    """The pairs, from wherever they are."""
    if isinstance(pairs, Corpus):
        return pairs
    files = files_of(pairs)
    return from_pairs(pairs) if files is None else files.read()


def default_folder(pairs: Any) -> Path:
    """Where a run of these pairs goes if nobody says otherwise: ``runs/`` and the name of the first file."""
    files = files_of(pairs)
    name = "" if files is None else Path(files.path).name.split(".")[0]
    return Path("runs") / (name or "pairs")

"""Pairs of texts from files: what a user brings, read whole or refused with the line that is wrong.

Formats, found by the name's ending: ``.tsv``, ``.csv``, ``.jsonl``, ``.po``, ``.mo``, ``.tmx``, and two plain
files of which line i of one belongs to line i of the other; each may end in ``.gz`` too. Text is UTF-8 (PO,
MO and TMX: what the file itself says). A line ends at ``\\n`` or ``\\r\\n`` and holds ``MOST_BYTES_A_LINE``
at most. White space around a text is taken off, the text itself is left as it is. A pair with an empty side
is left out and counted.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from regard.data import tables
from regard.data.lines import MOST_BYTES_A_LINE, Readable, checked_text, error_at, opened, text_lines
from regard.data.tables import Column, Row
from regard.errors import RecipeError

__all__ = [
    "FORMATS",
    "MOST_BYTES_A_LINE",
    "Corpus",
    "Pair",
    "add_to_digest",
    "format_of",
    "from_pairs",
    "read_lines",
    "read_pairs",
    "same_format",
    "split",
    "stream_pairs",
]

FORMATS = ("tsv", "csv", "jsonl", "plain", "po", "mo", "tmx")
"""What ``Corpus.format`` can be for a corpus from files; one made in Python has the format ``memory``."""

FilePath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Pair:
    """One example: a source text and the target text that belongs to it, neither of them empty."""

    source: str
    target: str


@dataclass(frozen=True)
class Corpus:
    """Pairs in the order they were read, and where they came from.

    Attributes:
        pairs: at least one.
        name: the file, or both files, as the user called them.
        format: one of ``FORMATS``, or ``memory``.
        empty: how many pairs were left out because a side was empty.
    """

    pairs: tuple[Pair, ...]
    name: str
    format: str
    empty: int = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def sources(self) -> list[str]:
        """Return the source texts, one a pair."""
        return [pair.source for pair in self.pairs]

    def targets(self) -> list[str]:
        """Return the target texts, one a pair."""
        return [pair.target for pair in self.pairs]

    def digest(self) -> str:
        """Return a SHA-256 over the pairs in their order, so that a run can say what it was trained on.

        Each text goes in as its length in bytes, a colon and its UTF-8 bytes. Name and format do not count.
        """
        total = hashlib.sha256()
        for pair in self.pairs:
            add_to_digest(total, pair)
        return total.hexdigest()


def add_to_digest(total: hashlib._Hash, pair: Pair) -> None:
    """One more pair of a corpus whose digest is being made, see `Corpus.digest`."""
    for text in (pair.source, pair.target):
        raw = text.encode()
        total.update(b"%d:%b" % (len(raw), raw))


def read_pairs(
    path: FilePath,
    target_path: FilePath | None = None,
    *,
    source_column: Column = None,
    target_column: Column = None,
) -> Corpus:
    """Read the pairs of texts in a file, or in two plain files.

    Args:
        path: a file in one of ``FORMATS``; with ``target_path`` a plain file of source texts, whatever its
            name.
        target_path: a plain file of target texts; its line i belongs to line i of ``path``.
        source_column: where the source is. TSV and CSV: a column's number from 1, or its name in the first
            row; by default the first column, or the one named ``source`` where the first row names a
            ``source`` and a ``target``. JSON lines: a key, by default ``source``. TMX: a language code, by
            default the header's.
        target_column: where the target is, likewise; by default the second column, ``target``, or the only
            other language. A first row is taken as names only if a name is asked for or it names ``source``
            and ``target``.

    Returns:
        The corpus, with at least one pair.

    Raises:
        CorpusError: the file is missing, unreadable, malformed, without pairs, or of an unknown format.
    """
    with _opened_rows(path, target_path, source_column, target_column) as (rows, name, kind, file):
        return _gather(rows, name, kind, file)


def stream_pairs(
    path: FilePath,
    target_path: FilePath | None = None,
    *,
    source_column: Column = None,
    target_column: Column = None,
) -> Iterator[Pair | None]:
    """Read the pairs of a file, or of two plain files, one after the other, so that none is kept.

    Args:
        path, target_path, source_column, target_column: as for `read_pairs`.

    Yields:
        The pairs that `read_pairs` reads; None in place of one that has an empty side.

    Raises:
        CorpusError: as `read_pairs`, where the fault is met; a file without pairs is none.
    """
    with _opened_rows(path, target_path, source_column, target_column) as (rows, _, _, file):
        yield from _checked(rows, file)


def read_lines(source: FilePath | Readable, *, name: str | None = None) -> list[str]:
    """Read texts to predict from, one a line, with white space around each taken off and empty lines kept.

    Args:
        source: a file, gzipped where its name ends in ``.gz``, or a binary stream such as
            ``sys.stdin.buffer``.
        name: what to call it in errors; by default the file's name or what the stream calls itself.

    Returns:
        One text a line; an empty list for an empty file.

    Raises:
        CorpusError: the file is missing or unreadable, a line is not UTF-8, too long, or holds a NUL byte.
        TypeError: the stream holds text, not bytes.
    """
    if isinstance(source, (str, os.PathLike)):
        with opened(source) as stream:
            return [line.strip() for _, line in text_lines(stream, name or os.fspath(source))]
    label = name or str(getattr(source, "name", "input"))
    return [line.strip() for _, line in text_lines(source, label)]


def from_pairs(pairs: Iterable[Pair | tuple[str, str]], *, name: str = "pairs") -> Corpus:
    """Make a corpus from pairs that are already in memory, under the same rules as from a file.

    Args:
        pairs: ``Pair`` or (source, target), in order.
        name: what to call them in errors, which count the pairs from 1.

    Raises:
        CorpusError: something is not a pair of texts, or no pair is left.
    """
    return _gather(_rows_in_memory(pairs, name), name, "memory", name)


def split(corpus: Corpus, *, fraction: float = 0.05, most: int = 1000, seed: int) -> tuple[Corpus, Corpus]:
    """Set pairs aside for validation, so that no source text is on both sides.

    Source texts are ordered by the SHA-256 of seed and text, and taken in that order with all their pairs as
    long as they fit; so the same corpus and seed give the same split on every machine. Both parts keep the
    corpus's order.

    Args:
        corpus: pairs with at least two different sources.
        fraction: how much to set aside, above 0 and below 1.
        most: the most pairs to set aside, at least 1.
        seed: any whole number.

    Returns:
        Training part and validation part. The validation part has at most ``fraction`` of the pairs (rounded)
        and at most ``most``; only where no source has so few pairs it has those of one source. Neither part
        is empty.

    Raises:
        CorpusError: fewer than two different sources.
        RecipeError: a fraction or a most out of range.
    """
    if not 0 < fraction < 1:
        raise RecipeError(f"split(): fraction is {fraction}; above 0 and below 1 is needed, such as 0.05.")
    if most < 1:
        raise RecipeError(f"split(): most is {most}; at least 1 pair is needed for validation.")
    sizes = Counter(pair.source for pair in corpus.pairs)
    if len(sizes) < 2:
        message = (
            f"{len(corpus)} pairs with {len(sizes)} different source texts; two are needed to set "
            "some aside for validation. Give a validation file."
        )
        raise error_at(corpus.name, 0, message)
    wanted = min(max(1, round(fraction * len(corpus))), most, len(corpus) - 1)
    order = sorted(sizes, key=lambda source: hashlib.sha256(f"{seed}:{source}".encode()).digest())
    chosen, count = set[str](), 0
    for source in order:
        if count + sizes[source] <= wanted:
            chosen.add(source)
            count += sizes[source]
        if count == wanted:
            break
    chosen = chosen or {min(order, key=lambda source: sizes[source])}
    training = tuple(pair for pair in corpus.pairs if pair.source not in chosen)
    validation = tuple(pair for pair in corpus.pairs if pair.source in chosen)
    return (
        Corpus(training, f"{corpus.name} (training part)", corpus.format, corpus.empty),
        Corpus(validation, f"{corpus.name} (validation part)", corpus.format),
    )


def same_format(training: Corpus, validation: Corpus) -> None:
    """Check that validation pairs come in the format of the training pairs; pairs made in memory fit any.

    Raises:
        CorpusError: the two files have different formats.
    """
    if "memory" in (training.format, validation.format) or training.format == validation.format:
        return
    message = (
        f"the validation file's format is {validation.format}, but {training.name}, the training file, is "
        f"{training.format}. Give both in one format."
    )
    raise error_at(validation.name, 0, message)


def format_of(path: FilePath) -> str:
    """Tell a file's format by the end of its name, case and ``.gz`` aside.

    Raises:
        CorpusError: the ending is unknown; the message lists the known ones.
    """
    name = os.fspath(path)
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    if suffix[1:] in FORMATS and suffix != ".plain":
        return suffix[1:]
    known = ", ".join(f".{kind}" for kind in FORMATS if kind != "plain")
    was = f"the ending {suffix!r} is" if suffix else "a name without an ending is"
    message = (
        f"{was} of no known format. Known: {known}, each also with .gz. For two plain files of which "
        "line i belongs to line i, give the target file too."
    )
    raise error_at(name, 0, message)


@contextmanager
def _opened_rows(
    path: FilePath, target_path: FilePath | None, source_column: Column, target_column: Column
) -> Iterator[tuple[Iterator[Row], str, str, str]]:
    """The rows, what to call the corpus, its format, and the file that errors name."""
    name = os.fspath(path)
    columns = (source_column, target_column)
    if target_path is None:
        with opened(path) as stream:
            kind = format_of(path)
            yield _rows(kind, stream, name, columns), name, kind, name
        return
    target_name = os.fspath(target_path)
    _refuse_columns(name, "plain", columns)
    with opened(path) as source, opened(target_path) as target:
        rows = tables.plain(source, name, target, target_name)
        yield rows, f"{name} + {target_name}", "plain", name


def _rows(kind: str, stream: Readable, name: str, columns: tuple[Column, Column]) -> Iterator[Row]:
    if kind in ("po", "mo"):
        from regard.data import catalogs  # only here are its patterns needed

        _refuse_columns(name, kind, columns)
        return catalogs.po(stream, name) if kind == "po" else catalogs.mo(stream, name)
    if kind == "tmx":
        from regard.data.tmx import tmx  # only here is XML needed

        return tmx(stream, name, *columns)
    return {"tsv": tables.tsv, "csv": tables.csv_rows, "jsonl": tables.jsonl}[kind](stream, name, *columns)


def _rows_in_memory(pairs: Iterable[Pair | tuple[str, str]], name: str) -> Iterator[Row]:
    for number, pair in enumerate(pairs, start=1):
        texts = (pair.source, pair.target) if isinstance(pair, Pair) else pair
        if not isinstance(texts, (tuple, list)) or [type(text) for text in texts] != [str, str]:
            raise error_at(name, number, f"a pair is (source text, target text); got {pair!r:.60}.")
        yield number, texts[0], texts[1]


def _refuse_columns(name: str, kind: str, columns: tuple[Column, Column]) -> None:
    if columns != (None, None):
        raise error_at(name, 0, f"{kind} files have no columns. Leave source_column and target_column out.")


def _gather(rows: Iterable[Row], name: str, kind: str, file: str) -> Corpus:
    """Strip, check and count the pairs of one corpus; ``file`` is what errors name."""
    read = list(_checked(rows, file))
    pairs = tuple(pair for pair in read if pair is not None)
    empty = len(read) - len(pairs)
    if not pairs:
        found = f"each of its {empty:,} pairs has an empty side" if empty else "it holds no texts"
        raise error_at(name, 0, f"no pairs to read: {found}. At least one source with its target is needed.")
    return Corpus(pairs, name, kind, empty)


def _checked(rows: Iterable[Row], file: str) -> Iterator[Pair | None]:
    """The pairs of rows, stripped and checked; None where a side is empty."""
    for line, source, target in rows:
        source, target = source.strip(), target.strip()
        if source and target:
            yield Pair(checked_text(source, file, line), checked_text(target, file, line))
        else:
            yield None

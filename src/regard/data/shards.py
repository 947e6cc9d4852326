"""Corpora larger than memory: cut into tokens once, kept in Arrow files, read by mapping them.

    manifest.json       what the shards were made from, how many pairs each holds
    00000.arrow …       source and target of some pairs: a list of whole numbers a text

Each number is a token id, with the highest bit set where a word begins, so that words can be cut anew (see
`bpe_dropout`). The folder appears under its name only when it is whole.

An epoch takes the shards in random order, a window of several at a time, and shuffles and deals out the
pairs of a window as `Batches` does those of a corpus. Order and batches depend on the seed, the epoch and the
window alone, so that training goes on in the middle of an epoch without what came before. While one window is
dealt out the next one is made ready.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from regard.data.batches import Batch, Batches, Epoch, Place
from regard.data.bpe_dropout import CutTexts
from regard.data.corpora import Pair
from regard.data.prefetch import prefetched
from regard.data.ragged import Ragged
from regard.data.shapes import Shapes
from regard.data.tokenization import Tokenizer
from regard.errors import InputError, RunError, TrainingError

PAIRS_A_SHARD = 10_000
SHARDS_A_WINDOW = 12

FORMAT = 1
_AT_A_TIME = 5_000
_PLACES_A_WINDOW = 2**32


@dataclass(frozen=True)
class Shards:
    """Pairs as token ids on disk. Made by `write` or `open`.

    Args:
        folder: that they are in.
        about: what they were made from.
        counts: how many pairs each shard holds; at least one.
        too_long: how many pairs were left out.
    """

    folder: Path
    about: Mapping[str, Any]
    counts: tuple[int, ...]
    too_long: int

    def __len__(self) -> int:
        """How many pairs there are."""
        return sum(self.counts)

    @classmethod
    def open(cls, folder: Path) -> Shards | None:
        """The shards in a folder; None where there are none that are whole."""
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            if manifest["format"] != FORMAT:
                return None
            counts = tuple(map(int, manifest["counts"]))
            whole = all(_path(folder, number).is_file() for number in range(len(counts)))
            return cls(folder, manifest["about"], counts, int(manifest["too_long"])) if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def write(
        cls,
        folder: Path,
        pairs: Iterable[Pair],
        tokenizer: Tokenizer,
        *,
        longest: int,
        about: Mapping[str, Any],
        pairs_a_shard: int = PAIRS_A_SHARD,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Shards:
        """Cut pairs into tokens and write them down; what was in the folder before is replaced.

        Args:
            folder: made here.
            pairs: gone through once, none of them kept.
            tokenizer: what cuts them.
            longest: pairs with a side of more tokens are left out.
            about: JSON values that tell what the shards were made from.
            pairs_a_shard: at most.
            progress: is told how many pairs have been cut.

        Raises:
            InputError: pyarrow is missing, or no pair is short enough.
            TrainingError: the disk is full, or cannot be written to.
        """
        arrow = _arrow()
        part = folder.with_name(f".{folder.name}.part")
        counts: list[int] = []
        seen = 0
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for some in _in_groups(pairs, pairs_a_shard):
                sides = _cut(some, tokenizer, longest)
                seen += len(some)
                progress(seen)
                if len(sides[0]):
                    _write(arrow, _path(part, len(counts)), sides, len(tokenizer))
                    counts.append(len(sides[0]))
            if not counts:
                raise InputError(f"every pair has a side of more than {longest} tokens; raise data.longest.")
            shards = cls(folder, dict(about), tuple(counts), seen - sum(counts))
            manifest = {
                "format": FORMAT,
                "about": dict(about),
                "counts": counts,
                "too_long": shards.too_long,
            }
            (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            part.replace(folder)
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            if isinstance(error, OSError):
                raise TrainingError(
                    f"{folder}: cannot be written: {error.strerror or error}. The corpus is cut into tokens "
                    f"there, about two bytes a token; make room and start again."
                ) from None
            raise
        return shards

    def read(self, numbers: Iterable[int]) -> tuple[CutTexts, CutTexts]:
        """Sources and targets of some shards, one shard after the other.

        Raises:
            InputError: pyarrow is missing.
            RunError: a file is missing or damaged.
        """
        arrow = _arrow()
        parts = [self._columns(arrow, number) for number in numbers]
        source, target = ([part[side] for part in parts] for side in (0, 1))
        return _joined(source), _joined(target)

    def _columns(self, arrow: Any, number: int) -> tuple[Ragged, Ragged]:
        path = _path(self.folder, number)
        try:
            with arrow.memory_map(str(path)) as file:
                table = arrow.ipc.open_file(file).get_batch(0)
            sides = [
                Ragged(column.values.to_numpy(), column.offsets.to_numpy().astype(np.int64))
                for column in (table.column("source"), table.column("target"))
            ]
            if len(sides[0]) != self.counts[number]:
                raise ValueError(f"{len(sides[0])} pairs where {self.counts[number]} are expected")
        except (OSError, ValueError, KeyError) as error:  # Arrow's errors are some of these
            raise RunError(
                f"{path}: not a whole shard ({error}). Remove {self.folder}, and the corpus is cut anew."
            ) from None
        return sides[0], sides[1]


class ShardedBatches:
    """The pairs of shards, ready to be dealt out epoch after epoch.

    Args:
        shards: the pairs.
        tokenizer: that cut them.
        tokens: about how many positions a batch has on its longer side.
        seed: of the order, and of what BPE-dropout leaves out.
        dropout: of merges.
        longest: a text is not cut into more tokens than this.
        window: how many shards are in memory at a time.
    """

    def __init__(
        self,
        shards: Shards,
        tokenizer: Tokenizer,
        *,
        tokens: int,
        seed: int = 0,
        dropout: float = 0.0,
        longest: int | None = None,
        window: int = SHARDS_A_WINDOW,
    ) -> None:
        self.shards, self.tokenizer, self.seed = shards, tokenizer, seed
        self.dropout, self.longest, self.window = dropout, longest, window
        self.shapes: Shapes | None = None
        self.tokens = tokens
        self.shapes = self._window(0, 0).shapes

    def __len__(self) -> int:
        return len(self.shards)

    def windows(self) -> int:
        """How many windows an epoch has."""
        return -(-len(self.shards.counts) // self.window)

    def coming(self, epoch: int = 0, position: int = 0) -> Iterator[tuple[Place, Batch]]:
        """The batches from a place on, without end, each with the place behind it.

        A position is the number of the window times 2³², and the batches of it that are done.
        """
        first, done = divmod(position, _PLACES_A_WINDOW)
        with prefetched(self._coming_windows(epoch, first), ahead=1) as ready:
            for number, window, batches in ready:
                for here in range(done, len(batches)):
                    yield Place(number, window * _PLACES_A_WINDOW + here + 1), batches[here]
                done = 0

    def _coming_windows(self, epoch: int, window: int) -> Iterator[tuple[int, int, Epoch]]:
        for number in count(epoch):
            for here in range(window, self.windows()):
                yield number, here, self._window(number, here).epoch(0)
            window = 0

    def an_epoch(self) -> int:
        """About how many batches an epoch has."""
        first = self._window(0, 0)
        return max(1, round(first.an_epoch() * len(self) / len(first)))

    def _window(self, epoch: int, window: int) -> Batches:
        """The pairs of some shards; its one epoch is its part of the whole epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.shards.counts))
        chosen = order[window * self.window : (window + 1) * self.window]
        sides = self.shards.read(chosen.tolist())
        random = np.random.default_rng([self.seed, epoch, window])
        if self.dropout:
            sources, targets = (
                self.tokenizer.recut(side, self.dropout, random, self.longest) for side in sides
            )
        else:
            sources, targets = (side.ids for side in sides)
        seed = int(random.integers(2**32))
        return Batches(sources, targets, tokens=self.tokens, seed=seed, shapes=self.shapes)


def _in_groups(pairs: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    group: list[Pair] = []
    for pair in pairs:
        group.append(pair)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _cut(pairs: list[Pair], tokenizer: Tokenizer, longest: int) -> tuple[CutTexts, CutTexts]:
    """Sources and targets as tokens, of the pairs whose sides are both short enough."""
    parts: tuple[list[CutTexts], list[CutTexts]] = ([], [])
    for some in _in_groups(pairs, _AT_A_TIME):  # the tokenizer's own objects are large
        sides = tokenizer.cut([p.source for p in some]), tokenizer.cut([p.target for p in some])
        (kept,) = np.nonzero((sides[0].ids.lengths <= longest) & (sides[1].ids.lengths <= longest))
        for part, side in zip(parts, sides, strict=True):
            part.append(side.take(kept))
    return _together(parts[0]), _together(parts[1])


def _together(parts: list[CutTexts]) -> CutTexts:
    values, lengths = ([getattr(part.ids, name) for part in parts] for name in ("values", "lengths"))
    ids = Ragged.with_lengths(np.concatenate(values), np.concatenate(lengths))
    return CutTexts(ids, np.concatenate([part.first for part in parts]))


def _write(arrow: Any, path: Path, sides: tuple[CutTexts, CutTexts], vocabulary: int) -> None:
    kind = np.uint16 if vocabulary <= 2**15 else np.uint32
    columns = []
    for side in sides:
        values = side.ids.values.astype(kind) | side.first.astype(kind) << (8 * kind().itemsize - 1)
        columns.append(arrow.ListArray.from_arrays(side.ids.offsets.astype(np.int32), values))
    batch = arrow.RecordBatch.from_arrays(columns, names=["source", "target"])
    with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _joined(parts: list[Ragged]) -> CutTexts:
    """Columns of several shards as one, ids and beginnings of words told apart."""
    values = np.concatenate([part.values for part in parts])
    highest = values.dtype.type(1 << (8 * values.itemsize - 1))
    ids = (values & ~highest).astype(np.int32)
    ragged = Ragged.with_lengths(ids, np.concatenate([part.lengths for part in parts]))
    return CutTexts(ragged, (values & highest) != 0)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.arrow"


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ModuleNotFoundError:
        raise InputError(
            "more pairs than data.in_memory need pyarrow. Install it with: pip install 'regard[train]', or "
            "raise data.in_memory."
        ) from None
    return pyarrow

"""What was looked at: attention weights with their words, saved and opened without the model.

A record file is safetensors: one tensor ``weights.N`` for each record, beside it ``largest.N`` and
``statistics.N.name`` where there are any, and the words, axes and gold links as JSON in the file's metadata.
Opening one never runs code and needs no torch.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from regard.errors import DtypeError, InputError, RunError, ShapeError

__all__ = ["FORMAT", "VERSION", "AttentionRecord", "load_records", "save_records", "write_atomically"]

FORMAT = "regard.record"
VERSION = 2

Link = tuple[int, int]


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """Where each output word looked in the input, with all that is needed to draw it.

    Args:
        weights: (…, Q, K) finite numbers, kept as read-only float32; a row that looks nowhere is zeros. Of a
            long text, the means of its rectangles, (…, ⌈Q / rows⌉, ⌈K / columns⌉); see ``pooled``.
        query_tokens: Q output words (or characters, or subwords), one a row.
        key_tokens: K input words, one a column.
        axes: a name for each axis of ``weights``; the last two are ``"query", "key"``.
        title: what was looked at, such as the model's name.
        sure: gold links ``(query index, key index)`` that have to be there.
        possible: gold links that may be there; what is possible is the union of both sets.
        copied: query indices whose word was copied from the input.
        metadata: free text, such as ``{"score": "-0.12"}``.
        pooled: how many ``(rows, columns)`` of the whole map each of the weights is the mean of.
        largest: where pooled, the largest weight of each rectangle, in the shape of ``weights``.
        statistics: numbers of each map under their names, such as ``{"entropy": …}``, each in the shape of
            the weights without their last two axes.

    Raises:
        ShapeError: tokens, axes, weights and statistics do not fit together, or a link points outside.
        DtypeError: the weights are not real numbers, or a token is not a string.
        InputError: a weight is NaN or infinite.
    """

    weights: np.ndarray
    query_tokens: tuple[str, ...]
    key_tokens: tuple[str, ...]
    axes: tuple[str, ...] = ("query", "key")
    title: str = ""
    sure: frozenset[Link] = frozenset()
    possible: frozenset[Link] = frozenset()
    copied: frozenset[int] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)
    pooled: tuple[int, int] = (1, 1)
    largest: np.ndarray | None = None
    statistics: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle = object.__setattr__
        settle(self, "weights", _read_only_float32("weights", self.weights))
        settle(self, "query_tokens", _strings(self.query_tokens, "query_tokens"))
        settle(self, "key_tokens", _strings(self.key_tokens, "key_tokens"))
        settle(self, "axes", _strings(self.axes, "axes"))
        settle(self, "sure", _links(self.sure))
        settle(self, "possible", _links(self.possible))
        settle(self, "copied", frozenset(int(index) for index in self.copied))
        settle(self, "metadata", MappingProxyType({str(k): str(v) for k, v in self.metadata.items()}))
        settle(self, "pooled", _pooled(self.pooled))
        if self.largest is not None:
            settle(self, "largest", _read_only_float32("largest", self.largest))
        statistics = {str(name): _read_only_float32(name, of) for name, of in self.statistics.items()}
        settle(self, "statistics", MappingProxyType(statistics))
        self._check()

    def _check(self) -> None:
        shape, rows, columns = self.weights.shape, len(self.query_tokens), len(self.key_tokens)
        if self.axes[-2:] != ("query", "key") or len(set(self.axes)) != len(self.axes):
            raise ShapeError(
                f"AttentionRecord: axes have to differ and end in 'query', 'key'; got {', '.join(self.axes)}."
            )
        if len(shape) != len(self.axes):
            raise ShapeError(
                f"AttentionRecord: weights {shape} have {len(shape)} axes but {len(self.axes)} are named "
                f"({', '.join(self.axes)}). Name each one in axes=."
            )
        expected = (-(-rows // self.pooled[0]), -(-columns // self.pooled[1]))
        if shape[-2:] != expected:
            pooled = "" if self.whole else f", {self.pooled[0]} x {self.pooled[1]} to a number"
            raise ShapeError(
                f"AttentionRecord: weights are {shape}, but there are {rows} query tokens and {columns} key "
                f"tokens{pooled}; the last two axes have to be {expected}."
            )
        if self.largest is not None and self.largest.shape != shape:
            raise ShapeError(
                f"AttentionRecord: largest is {self.largest.shape}, but weights are {shape}; it has a number "
                f"for each of them."
            )
        _check_finite("weights", self.weights)
        if self.largest is not None:
            _check_finite("largest", self.largest)
        for name, numbers in self.statistics.items():
            if numbers.shape != shape[:-2]:
                raise ShapeError(
                    f"AttentionRecord: statistic {name} is {numbers.shape}, but there is a map for each of "
                    f"{shape[:-2]}; one number is needed for each."
                )
            _check_finite(name, numbers)
        for query, key in self.sure | self.possible:
            if not (0 <= query < rows and 0 <= key < columns):
                raise ShapeError(
                    f"AttentionRecord: link ({query}, {key}) lies outside {rows} queries x {columns} keys."
                )
        for query in self.copied:
            if not 0 <= query < rows:
                raise ShapeError(f"AttentionRecord: copied index {query} lies outside {rows} query tokens.")

    def __repr__(self) -> str:
        sizes = " x ".join(f"{size} {axis}" for size, axis in zip(self.weights.shape, self.axes, strict=True))
        return f"AttentionRecord({sizes}, title={self.title!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {"metadata": dict(self.metadata), "statistics": dict(self.statistics)}
        return partial(AttentionRecord, **values | plain), ()

    @property
    def whole(self) -> bool:
        """Whether each weight is here, not the means of rectangles."""
        return self.pooled == (1, 1)

    @property
    def alignment(self) -> np.ndarray:
        """(Q, K) weights between output and input words: the mean over all other axes (layers, heads).

        Of a pooled record, (⌈Q / rows⌉, ⌈K / columns⌉).
        """
        if self.weights.ndim == 2:
            return self.weights
        if not self.weights.size:
            return np.zeros(self.weights.shape[-2:], np.float32)
        return self.weights.mean(axis=tuple(range(self.weights.ndim - 2)), dtype=np.float32)

    def links(self) -> frozenset[Link]:
        """The input word that each output word looks at most, as ``(query index, key index)``.

        A row that looks nowhere (no weight above zero) has no link; of equal weights the first counts.

        Raises:
            InputError: the record is pooled, and no longer knows.
        """
        if not self.whole:
            raise InputError(
                f"links(): the record holds means of {self.pooled[0]} x {self.pooled[1]} weights, not the "
                "weights. Capture a shorter text, or a part of this one."
            )
        weights = self.alignment
        if not weights.size:
            return frozenset()
        best = weights.argmax(axis=-1)
        return frozenset((q, int(k)) for q, k in enumerate(best) if weights[q, k] > 0)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write this record to a safetensors file; the file is whole or not there at all.

        Returns:
            The path written.
        """
        return save_records([self], path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttentionRecord:
        """Open a file that holds one record.

        Raises:
            RunError: the file is missing, cut short, of another kind, from a newer version, or holds several.
        """
        records = load_records(path)
        if len(records) != 1:
            raise RunError(f"{path}: holds {len(records)} records, not one; open it with load_records().")
        return records[0]


def save_records(records: Iterable[AttentionRecord], path: str | os.PathLike[str]) -> Path:
    """Write several records to one safetensors file, atomically.

    Returns:
        The path written.
    """
    records = list(records)
    tensors: dict[str, np.ndarray] = {}
    for index, record in enumerate(records):
        tensors[f"weights.{index}"] = record.weights
        if record.largest is not None:
            tensors[f"largest.{index}"] = record.largest
        for name, numbers in record.statistics.items():
            tensors[f"statistics.{index}.{name}"] = numbers
    described = json.dumps([_describe(record) for record in records])
    metadata = {"format": FORMAT, "version": str(VERSION), "records": described}
    return write_atomically(path, to_safetensors(tensors, metadata=metadata))


def load_records(path: str | os.PathLike[str]) -> list[AttentionRecord]:
    """Open a file of records.

    Raises:
        RunError: the file is missing, cut short, of another kind, or from a newer version, and which it is.
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"{path}: no such file. Name a record saved with record.save().")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_version(path, metadata)
            described = json.loads(metadata["records"])
            return [_restore(entry, n, file.get_tensor) for n, entry in enumerate(described)]
    except RunError:
        raise
    except SafetensorError as error:
        raise RunError(f"{path}: cut short or not a record file ({error}). Save the record again.") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(f"{path}: the record inside is damaged ({error}). Save the record again.") from error


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a whole file under a temporary name beside ``path``, then rename it: nobody reads half of it.

    Missing folders are made. On failure the file that was there before is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk names no file
        raise
    return path


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _check_version(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise RunError(
            f"{path}: a safetensors file, but not a record saved by regard (model weights, perhaps?)."
        )
    version = metadata.get("version", "")
    if not version.isdecimal():
        raise RunError(f"{path}: the record inside is damaged (version {version!r}). Save the record again.")
    if int(version) > VERSION:
        raise RunError(
            f"{path}: written by a newer regard (record version {version}, this one reads {VERSION}). "
            "Upgrade regard."
        )


def _describe(record: AttentionRecord) -> dict[str, Any]:
    return {
        "query_tokens": record.query_tokens,
        "key_tokens": record.key_tokens,
        "axes": record.axes,
        "title": record.title,
        "sure": sorted(record.sure),
        "possible": sorted(record.possible),
        "copied": sorted(record.copied),
        "metadata": dict(record.metadata),
        "pooled": record.pooled,
        "largest": record.largest is not None,
        "statistics": list(record.statistics),
    }


def _restore(entry: Mapping[str, Any], index: int, tensor: Callable[[str], np.ndarray]) -> AttentionRecord:
    return AttentionRecord(
        weights=tensor(f"weights.{index}"),
        query_tokens=entry["query_tokens"],
        key_tokens=entry["key_tokens"],
        axes=entry["axes"],
        title=str(entry["title"]),
        sure=entry["sure"],
        possible=entry["possible"],
        copied=entry["copied"],
        metadata=entry["metadata"],
        pooled=entry.get("pooled", (1, 1)),  # version 1 has neither these
        largest=tensor(f"largest.{index}") if entry.get("largest") else None,
        statistics={name: tensor(f"statistics.{index}.{name}") for name in entry.get("statistics", ())},
    )


def _pooled(sizes: Sequence[int]) -> tuple[int, int]:
    rows, columns = (int(size) for size in sizes)
    if rows < 1 or columns < 1:
        raise ShapeError(f"AttentionRecord: pooled is {rows} x {columns}; each has to be at least 1.")
    return rows, columns


def _check_finite(name: str, numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        count = int((~np.isfinite(numbers)).sum())
        raise InputError(
            f"AttentionRecord: {count} of the {name} are not finite; a row that looks nowhere is zeros."
        )


def _read_only_float32(name: str, numbers: Any) -> np.ndarray:
    array = np.asarray(numbers)
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"AttentionRecord: {name} are {array.dtype}; real numbers are needed.")
    if (
        array.dtype == np.float32
        and array.base is None
        and array.flags.c_contiguous
        and not array.flags.writeable
    ):
        return array  # nobody can change it any more
    with np.errstate(over="ignore"):
        array = np.array(array, dtype=np.float32, order="C")
    array.flags.writeable = False
    return array


def _strings(values: Sequence[str], name: str) -> tuple[str, ...]:
    if isinstance(values, str):
        raise DtypeError(
            f"AttentionRecord: {name} is one string; a sequence of strings is needed, such as tuple(text)."
        )
    for value in values:
        if not isinstance(value, str):
            raise DtypeError(f"AttentionRecord: {name} holds {value!r}; every token has to be a string.")
    return tuple(str(value) for value in values)


def _links(pairs: Iterable[Sequence[int]]) -> frozenset[Link]:
    return frozenset((int(query), int(key)) for query, key in pairs)

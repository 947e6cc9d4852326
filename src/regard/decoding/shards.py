"""What a model says of a file too large for one sitting: some lines at a time, kept until all is there.

A part's name is made from all that it depends on. Where prediction was broken off, the parts that are there
are whole and are not computed again; where the file or an option has changed, their names no longer fit. Of
several processes each computes every so manieth part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.data.lines import opened, text_lines
from regard.record import write_atomically


@dataclass(frozen=True)
class Shard:
    """Some lines of a file of texts.

    Args:
        number: which shard it is, from 0.
        first: the number of its first line, from 0.
        last: that of its last line, from 1.
        path: where what is said of it is kept.
    """

    number: int
    first: int
    last: int
    path: Path

    @property
    def done(self) -> bool:
        """Whether it has been predicted, by whatever process."""
        return self.path.is_file()

    def write(self, values: dict[str, Any]) -> None:
        """Keep what was said of it, JSON values, whole or not at all."""
        write_atomically(self.path, json.dumps(values, ensure_ascii=False).encode())

    def read(self) -> dict[str, Any]:
        """What `write` has kept."""
        return json.loads(self.path.read_bytes())


def shards(
    source: str | os.PathLike[str], folder: Path, key: bytes, lines: int
) -> Iterator[tuple[Shard, list[str]]]:
    """Go through a file of texts, those of a shard in memory at a time; white space around each is left out.

    Args:
        source: a text a line, gzipped where its name ends in ``.gz``.
        folder: where the parts are kept.
        key: what tells this prediction from others: the model and the options.
        lines: how many a shard has.

    Raises:
        CorpusError: the file is missing or unreadable, a line is not UTF-8, too long, or holds a NUL byte.
    """
    number, texts = 0, []
    with opened(source) as stream:
        for line, text in text_lines(stream, os.fspath(source)):
            texts.append(text.strip())
            if len(texts) == lines:
                yield _shard(number, line - lines, texts, folder, key)
                number, texts = number + 1, []
    if texts:
        yield _shard(number, number * lines, texts, folder, key)


def folder_of(out: Path) -> Path:
    """Where the parts of a file are kept until it is whole."""
    return out.with_name(f"{out.name}.parts")


def key_of(models: Iterable[Path], options: dict[str, Any]) -> bytes:
    """What tells a prediction from others: all that the folders of its models hold, and its options."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for folder in models:
        for file in sorted(folder.iterdir()):
            if file.suffix in _OF_A_MODEL:
                digest.update(file.name.encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.digest()


_OF_A_MODEL = {".bin", ".json", ".safetensors", ".spm", ".toml", ".txt"}


def _shard(number: int, first: int, texts: list[str], folder: Path, key: bytes) -> tuple[Shard, list[str]]:
    digest = hashlib.sha256(key)
    digest.update(str(first).encode())
    for text in texts:
        digest.update(b"\n" + text.encode())
    path = folder / f"{number:06}-{digest.hexdigest()[:16]}.json"
    return Shard(number, first, first + len(texts), path), texts

"""``regard predict FILE --out FILE``: a file of any size, shard by shard, by one process or several."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from regard.cli.predictions import linked, plain, printed, report_unknown
from regard.decoding.shards import Shard, folder_of, shards
from regard.decoding.translator import Model
from regard.errors import InputError, RunError
from regard.training.distributed import team
from regard.training.files import remove, saving


def write_predictions(
    model: Model,
    source: Path,
    out: Path,
    options: dict[str, Any],
    key: bytes,
    alignments: Path | None,
    *,
    lines: int,
    as_json: bool,
) -> dict[str, Any]:
    """Predict a file shard by shard, and join the shards when all are there.

    Each process that was started together with this one takes every so manieth shard, and the first joins
    them. Shards that an earlier command of the same key has left are taken as they are.

    Args:
        model: predicts.
        source: the file of texts.
        out: where the outputs go: a line each as `regard predict` prints them, or a JSON object each.
        options: of `Model.predict`.
        key: what tells this prediction from others; see `decoding.shards.key_of`.
        alignments: where the links of each output go; None for nowhere.
        lines: of a shard.
        as_json: whether the outputs are JSON objects.

    Returns:
        what came of it: `out`, how many `lines`, how many `unknown` tokens.

    Raises:
        InputError: the options, or a line, cannot be predicted.
        ProcessLost: one of several processes is gone.
        RunError: the processes do not share the folder.
    """
    model.predict([], **options)  # options that contradict each other are refused before anything is read
    folder = folder_of(out)
    parts, found = [], {}
    with team() as together:
        for shard, texts in shards(source, folder, key, lines):
            parts.append(shard)
            if not shard.done and shard.number % together.size == together.rank:
                shard.write(_said(model, shard, texts, options, source))
                print(f"regard: {shard.last:,} line{'s' * (shard.last != 1)}", file=sys.stderr)
        together.wait()
        if together.leads:
            found = _join(parts, out, alignments, options["nbest"], as_json=as_json)
            remove(folder)
        together.wait()
    return found


def _said(
    model: Model, shard: Shard, texts: list[str], options: dict[str, Any], source: Path
) -> dict[str, Any]:
    """What is said of the lines of a shard, as JSON values."""
    try:
        predictions = model.predict(texts, **options, first=shard.first)
    except InputError as error:
        raise InputError(f"{source}, lines {shard.first + 1:,} to {shard.last:,}: {error}") from None
    return {
        "unknown": [prediction.unknown for prediction in predictions],
        "predictions": [plain(line, each) for line, each in zip(texts, predictions, strict=True)],
    }


def _join(
    parts: Iterable[Shard], out: Path, alignments: Path | None, nbest: int, *, as_json: bool
) -> dict[str, Any]:
    """Write all that was said of a file, a shard in memory at a time."""
    lines, unknown = 0, []
    with _written(out) as texts, _written(alignments) as links:
        for shard in parts:
            if not shard.done:
                raise RunError(
                    f"{shard.path}: this part is missing. Processes that predict together share the folder "
                    f"of --out; start again, what is done is kept."
                )
            kept = shard.read()
            for number, said in enumerate(kept["predictions"], start=shard.first):
                if as_json:
                    texts.write(json.dumps({"line": number} | said, ensure_ascii=False) + "\n")
                else:
                    texts.writelines(printed(number, said, nbest))
                links.write(linked(said))
            lines = shard.last
            unknown += [count for count in kept["unknown"] if count]
    report_unknown(unknown)
    return {"out": str(out), "lines": lines, "unknown": sum(unknown)}


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO]:
    """A text file that is written whole or not at all, compressed where its name ends with .gz.

    Where there is no path, what is written is lost.
    """
    if path is None:
        with Path(os.devnull).open("w", encoding="utf-8") as file:
            yield file
        return
    opened = gzip.open if path.suffix == ".gz" else open
    with saving(path) as temporary, opened(temporary, "wt", encoding="utf-8") as file:
        yield cast(TextIO, file)

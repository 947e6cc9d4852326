"""A full disk stops the work with one sentence, loses nothing already saved, and the run goes on when there is room."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import regard
from regard.errors import RegardError, TrainingError
from regard.training import files
from regard.training.checkpoints import last_checkpoint
from regard.training.files import append, saving, write_text
from regard.training.run import RunFolder

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def full_from(call: int) -> Iterator[list[str]]:
    """Let the disk be full from the n-th write on: what is written then is cut off in the middle.

    Gives the names of the files that were written to, in order.
    """
    written: list[str] = []

    def limited(honest):
        def write(path: Path, data, *rest, **options):
            written.append(path.name)
            if len(written) < call:
                return honest(path, data, *rest, **options)
            honest(path, data[: len(data) // 2], *rest, **options)
            raise FULL

        return write

    def opened(path: Path, mode: str = "r", *rest, **options):
        file = honest_open(path, mode, *rest, **options)
        if mode != "ab":
            return file
        write = file.write
        written.append(path.name)
        if len(written) >= call:

            def half(data):
                write(data[: len(data) // 2])
                file.flush()
                raise FULL

            file = Replaced(file, half)
        return file

    honest_open = Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", limited(Path.write_bytes))
        patch.setattr(Path, "write_text", limited(Path.write_text))
        patch.setattr(Path, "open", opened)
        yield written


class Replaced:
    """A file that is written to by somebody else."""

    def __init__(self, file, write) -> None:
        self.file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.file.close()


def test_at_whatever_write_the_disk_is_full_nothing_saved_is_lost(unbroken, pairs, recipe, tmp_path, lines_of):
    with full_from(10**6) as all_writes:
        regard.fit(pairs, recipe=recipe, out=tmp_path / "whole")
    kinds = {name for name in all_writes if "step" not in name}
    assert len(all_writes) > 20
    assert {"regard.toml", "tokenizer.json", "progress.json", "metrics.jsonl"} <= {n.strip(".").removesuffix(".part") for n in kinds}
    for call in range(1, len(all_writes) + 1):
        run = tmp_path / f"full-{call}"
        with full_from(call), pytest.raises(TrainingError) as error:
            regard.fit(pairs, recipe=recipe, out=run)
        assert "cannot be written: No space left on device. What was saved before is whole" in str(error.value)
        assert "\n" not in str(error.value)
        assert not [path for path in run.rglob("*") if path.name.endswith(".part")]
        started = (run / "regard.toml").exists()
        if started and (checkpoint := last_checkpoint(RunFolder.open(run))):
            assert int(checkpoint.name[5:]) in (10, 20, 30)
        regard.fit(pairs, recipe=recipe, out=run, resume=started)
        assert (run / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()
        assert lines_of(run) == lines_of(unbroken)

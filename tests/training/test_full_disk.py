"""A full disk loses nothing already saved; the run stops with a sentence, and goes on when there is room."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

import regard
from regard.errors import TrainingError
from regard.training.checkpoints import last_checkpoint
from regard.training.files import append, saving, write_text
from regard.training.run import RunFolder

SHORT = {"training": {"steps": 4, "validate_every": 2}}
ENDLESS = 10**6


class Disk:
    """A disk with room for so many writes; the one after them is cut off in the middle."""

    def __init__(self) -> None:
        self.room = ENDLESS
        self.names: list[str] = []

    def write(self, honest, path, data):
        self.names.append(Path(path).name)
        if len(self.names) <= self.room:
            return honest(data)
        honest(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch):
    """What files are written to; ``disk.room = 3`` lets it be full after three writes."""
    disk = Disk()
    write_bytes, write_text, open_path = Path.write_bytes, Path.write_text, Path.open

    class Appended(io.FileIO):
        def write(self, data):
            return disk.write(super().write, self.name, data)

    def opened(path, mode="r", *rest, **options):
        return Appended(path, "ab") if mode == "ab" else open_path(path, mode, *rest, **options)

    def with_bytes(path, data):
        return disk.write(lambda part: write_bytes(path, part), path, data)

    def with_text(path, text, **options):
        return disk.write(lambda part: write_text(path, part, **options), path, text)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(Path, "write_bytes", with_bytes)
    monkeypatch.setattr(Path, "write_text", with_text)
    return disk


def test_at_whatever_write_the_disk_is_full_nothing_saved_is_lost(disk, pairs, recipe, tmp_path, lines_of):
    recipe, whole = recipe.changed(SHORT), tmp_path / "whole"
    regard.fit(pairs, recipe=recipe, out=whole)
    writes = disk.names
    checkpoints = [number for number, name in enumerate(writes) if name == "progress.json"]
    assert len(checkpoints) == 2
    assert {".regard.toml.part", ".tokenizer.json.part", "metrics.jsonl", "weights.safetensors"} <= {*writes}
    for room in range(len(writes)):
        run, disk.room, disk.names = tmp_path / f"room for {room}", room, []
        with pytest.raises(TrainingError) as error:
            regard.fit(pairs, recipe=recipe, out=run)
        assert str(error.value).startswith(f"{run}{os.sep}")
        assert "cannot be written: No space left on device. What was saved before is whole" in str(
            error.value
        )
        assert not [path for path in run.rglob("*") if path.name.endswith(".part")], writes[room]
        started = (run / "regard.toml").exists()
        kept = last_checkpoint(RunFolder.open(run)) if started else None
        assert (2 * sum(number < room for number in checkpoints) or None) == (kept and int(kept.name[5:]))
        disk.room = ENDLESS
        regard.fit(pairs, recipe=recipe, out=run, resume=started)
        assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
        assert lines_of(run) == lines_of(whole)


def test_a_file_that_cannot_be_written_stays_as_it_was(disk, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    disk.room = len(disk.names)
    for write in (lambda: write_text(path, "after, and longer"), lambda: append(path, b"and after")):
        with pytest.raises(TrainingError):
            write()
        assert path.read_bytes() == b"before"
        assert [*tmp_path.iterdir()] == [path]


def test_what_is_left_of_an_earlier_attempt_makes_room_for_the_next(tmp_path):
    (tmp_path / ".folder.part" / "left").mkdir(parents=True)
    (tmp_path / ".file.part").write_text("left")
    with saving(tmp_path / "folder") as folder:
        folder.mkdir()
    write_text(tmp_path / "file", "new")
    assert {path.name for path in tmp_path.rglob("*")} == {"folder", "file"}
    assert (tmp_path / "file").read_text() == "new"


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path):
    def interrupted():
        with saving(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not [*tmp_path.iterdir()]


def test_a_file_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written: "):
        write_text(tmp_path / "file" / "below" / "it", "text")

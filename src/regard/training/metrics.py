"""What a run writes down as it goes: a line a step in `metrics.jsonl`, and the same for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regard.errors import TrainingError
from regard.training.run import write_text

TENSORBOARD_EVERY = 10


class Metrics:
    """The record of a run, continued from a step.

    Args:
        folder: of the run.
        path: the file of lines.
        step: updates already made; lines about later ones, from a session that was cut off, are taken out.
    """

    def __init__(self, folder: Path, path: Path, step: int) -> None:
        self.path = path
        if path.exists():
            write_text(path, "".join(_lines_until(path, step)))
        self.lines: list[str] = []
        self.board = _board(folder, step)

    def write(self, step: int, **values: Any) -> None:
        """Note values of a step; numbers go to TensorBoard too, those of the training steps every so often."""
        self.lines.append(json.dumps({"step": step} | values) + "\n")
        if self.board is not None and ("loss" not in values or step % TENSORBOARD_EVERY == 0):
            for name, value in values.items():
                if isinstance(value, int | float):
                    self.board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring what is noted to the disk.

        Raises:
            TrainingError: the disk is full.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(self.lines)
            self.lines.clear()
            if self.board is not None:
                self.board.flush()
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written ({error}). Free some space and resume.") from None

    def close(self) -> None:
        """Write what is left and close the files."""
        self.flush()
        if self.board is not None:
            self.board.close()


def _lines_until(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # cut off in the middle
    return kept


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)

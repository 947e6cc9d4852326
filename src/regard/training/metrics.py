"""What a run writes down as it goes: a line a step in `metrics.jsonl`, and the same for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regard.training.board import Board
from regard.training.files import append, write_text

BOARD_EVERY = 10


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
        self.board = Board.open(folder, step)

    def write(self, step: int, **values: Any) -> None:
        """Note values of a step; numbers go to TensorBoard too, those of training steps every so often."""
        self.lines.append(json.dumps({"step": step} | values) + "\n")
        if self.board is not None and ("loss" not in values or step % BOARD_EVERY == 0):
            self.board.add(step, values)

    def flush(self) -> None:
        """Bring what is noted to the disk.

        Raises:
            TrainingError: the disk is full.
        """
        if self.lines:
            append(self.path, "".join(self.lines).encode())
            self.lines.clear()
        if self.board is not None:
            self.board.flush()


def _lines_until(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # cut off in the middle
    return kept

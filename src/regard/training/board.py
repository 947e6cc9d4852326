"""Events for TensorBoard.

They are written by the thread that trains, between two steps. TensorBoard's own writer has a thread for it,
which a full disk kills with a stack trace, long after the step that filled it.
"""

from __future__ import annotations

import io
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regard.training.files import append


class Board:
    """The events of one session, in a file of its own; made by `open`.

    Args:
        path: of the file, which appears with the first `flush`.
        step: updates already made; TensorBoard forgets what sessions before say of later ones.
    """

    def __init__(self, path: Path, step: int) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.path = path
        self.messages: Any = event_pb2
        self.waiting = io.BytesIO()
        self.records = RecordWriter(self.waiting)
        self._event(file_version="brain.Event:2")
        self._event(step=step + 1, session_log={"status": "START"})

    @classmethod
    def open(cls, folder: Path, step: int) -> Board | None:
        """Start a file of events in a run's folder; None where TensorBoard is not installed."""
        try:
            return cls(folder / f"events.out.tfevents.{time.time():017.6f}.{platform.node()}", step)
        except ImportError:
            return None

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Note the numbers among some values of a step."""
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        scalars = [{"tag": name, "simple_value": value} for name, value in numbers.items()]
        self._event(step=step, summary={"value": scalars})

    def flush(self) -> None:
        """Bring what is noted to the disk; TrainingError where it is full."""
        if self.waiting.tell():
            append(self.path, self.waiting.getvalue())
            self.waiting.seek(0)
            self.waiting.truncate()

    def _event(self, **contents: Any) -> None:
        event = self.messages.Event(wall_time=time.time(), **contents)
        self.records.write(event.SerializeToString())

"""Running somebody else's code: not for ever, without its noise, and leaving things as they were."""

from __future__ import annotations

import contextlib
import ctypes
import io
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class TooLong(BaseException):
    """Time is over. No Exception, so that a function which catches those does not catch it."""


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What the work returns.

    Raises:
        TooLong: it did not come back in time.
        Exception: whatever the work raises.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        return _with_alarm(seconds, work)
    return _in_thread(seconds, work)


def _with_alarm(seconds: float, work: Callable[[], Any]) -> Any:
    def ring(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    # Again and again, for code that catches everything.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_thread(seconds: float, work: Callable[[], Any]) -> Any:
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, work()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TooLong)
        )
        raise TooLong
    succeeded, value = outcome[0]
    if succeeded:
        return value
    raise value


class Chance:
    """A stream of random numbers of its own for a function that draws, beside everybody else's.

    The function goes on where it was, so that what it draws differs from call to call, and the states of
    Python's, NumPy's and PyTorch's generators are afterwards what they were.
    """

    def __init__(self) -> None:
        self.own: list[Any] | None = None

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Let the function draw from its own stream."""
        others = _states()
        if self.own is not None and len(self.own) == len(others):
            _restore(self.own)
        try:
            yield
        finally:
            self.own = _states()
            _restore(others)


def _states() -> list[Any]:
    found = [random.getstate(), np.random.get_state()]
    if torch := sys.modules.get("torch"):
        found.append(torch.get_rng_state())
    return found


def _restore(states: list[Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    if len(states) > 2:
        sys.modules["torch"].set_rng_state(states[2])


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Nothing it prints or warns of is shown."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield

"""Ctrl-C as a wish that the loop grants between two steps, where everything can be saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Wish:
    """Whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.stop = False


@contextmanager
def graceful_stop() -> Iterator[Wish]:
    """Within, the first Ctrl-C or SIGTERM sets ``stop``; a second one interrupts at once, as usual.

    Outside the main thread Python takes no signals: there the wish is never made.
    """
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: FrameType | None) -> None:
        if wish.stop:
            raise KeyboardInterrupt
        wish.stop = True

    for number in before:
        signal.signal(number, ask)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

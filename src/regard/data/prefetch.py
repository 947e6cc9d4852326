"""What comes next, made in the background while something else is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

AHEAD = 8
_LOOK_UP = 0.1
"""Seconds after which a thread that waits for room looks whether it is still wanted."""


@contextmanager
def prefetched(items: Iterable[Item], ahead: int = AHEAD) -> Iterator[Iterator[Item]]:
    """The same items in the same order, up to so many of them made before they are asked for.

    They are made in one background thread, which has ended when the context is left, by whatever way; so what
    makes them must not wait for ever. An error while one is made is raised where that item would have come.

    Args:
        items: used by nobody else meanwhile; a generator is closed at the end.
        ahead: at least 1.
    """
    ready: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(ahead)
    unwanted = threading.Event()

    def hand_over(entry: tuple[Item] | BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(entry, timeout=_LOOK_UP)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not hand_over((item,)):
                    return
            hand_over(None)
        except BaseException as error:  # it belongs to who asks for the next item
            hand_over(error)
        finally:
            if isinstance(items, Generator):
                items.close()

    def coming() -> Iterator[Item]:
        while (entry := ready.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]

    thread = threading.Thread(target=work, name="regard-prefetch", daemon=True)
    thread.start()
    try:
        yield coming()
    finally:
        unwanted.set()
        thread.join()

"""Keep freed memory for the next step, and give it back where something else is done than steps.

A training step allocates and frees the same gigabyte again and again. glibc returns large blocks to the
system at once, so that each step pays for fetching and clearing them anew; on the machine where this was
measured that cost a third of the time. Two thresholds of its allocator change that. The numbers computed stay
the same to the last digit.

What is kept has the sizes of steps. A validation asks for others, which would come on top: so before and
after it all that is free is given back, a fraction of a second once in some hundred steps.

A step of a shape that is new leaves something behind: the compiled products of that shape. If they came to
lie between a step's tensors, no later step could use the room around them. So while they are made, tensors
are kept out of the common memory.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = 2**31 - 1
_LARGE = 2**17
_PAD = 2**28


def keep_freed_memory() -> bool:
    """Ask glibc's allocator to keep what is freed; False where the C library is another."""
    if platform.libc_ver()[0] != "glibc":
        return False
    allocator = ctypes.CDLL(None)
    return all(
        allocator.mallopt(option, value)
        for option, value in ((_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PAD), (_MMAP_THRESHOLD, _KEPT))
    )


def give_back_freed_memory() -> bool:
    """Hand the system what is free by now; False where the C library is another, or had nothing."""
    return platform.libc_ver()[0] == "glibc" and bool(ctypes.CDLL(None).malloc_trim(0))


@contextmanager
def tensors_apart(wanted: bool = True) -> Iterator[None]:
    """Within it each large block has a mapping of its own: slower, and nothing of it stays.

    Afterwards what is freed is kept, as `keep_freed_memory` asks.
    """
    if not wanted or platform.libc_ver()[0] != "glibc":
        yield
        return
    allocator = ctypes.CDLL(None)
    allocator.mallopt(_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        allocator.mallopt(_MMAP_THRESHOLD, _KEPT)

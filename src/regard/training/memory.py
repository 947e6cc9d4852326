"""Keep freed memory for the next step instead of giving it back.

A training step allocates and frees the same gigabyte again and again. glibc returns large blocks to the
system at once, so that each step pays for fetching and clearing them anew; on the machine where this was
measured that cost a third of the time. Two thresholds of its allocator change that. The numbers computed stay
the same to the last digit.
"""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = 2**31 - 1
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

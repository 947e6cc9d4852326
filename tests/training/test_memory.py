"""Keeping freed memory, and giving it back, are requests that any C library may decline."""

import platform
import subprocess
import sys

import pytest

from regard.training import memory

HELD = """
import numpy as np
from regard.training.memory import give_back_freed_memory, keep_freed_memory, tensors_apart

def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

keep_freed_memory()
before = held()
"""


def test_the_allocator_is_asked_only_where_it_is_glibc(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert memory.keep_freed_memory() is False
    assert memory.give_back_freed_memory() is False


def test_asking_works_or_is_declined_without_an_error():
    assert memory.keep_freed_memory() in (True, False)


def printed(code: str) -> list[int]:
    """The numbers that a process of its own prints, which knows how many megabytes it has in `held()`."""
    ended = subprocess.run([sys.executable, "-c", HELD + code], capture_output=True, text=True, check=True)
    return [int(number) for number in ended.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_is_kept_until_it_is_given_back():
    code = """
blocks = [np.ones(2**17) for _ in range(100)]
del blocks
kept = held()
give_back_freed_memory()
print(kept - before, held() - before)
"""
    kept, left = printed(code)
    assert kept > 90
    assert left < 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_apart_leave_nothing_between_what_stays():
    code = """
with tensors_apart():
    blocks = [np.ones(2**17) for _ in range(100)]
    inside = held()
    del blocks
apart = held()
blocks = [np.ones(2**17) for _ in range(100)]
del blocks
print(inside - before, apart - before, held() - before)
"""
    inside, apart, kept = printed(code)
    assert inside > 90
    assert apart < 20
    assert kept > 90


def test_nothing_is_asked_for_where_nothing_is_wanted(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", None)
    with memory.tensors_apart(False):
        pass
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    with memory.tensors_apart():
        pass

"""Keeping freed memory is a request that any C library may decline."""

from regard.training import memory


def test_the_allocator_is_asked_only_where_it_is_glibc(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    assert memory.keep_freed_memory() is False


def test_asking_works_or_is_declined_without_an_error():
    assert memory.keep_freed_memory() in (True, False)

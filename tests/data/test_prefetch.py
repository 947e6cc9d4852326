"""The same items in the same order, made ahead; no thread and no error is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count, islice

import pytest

from regard.data.prefetch import prefetched


def others() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "regard-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert not others()
    yield
    assert not others()


@pytest.mark.parametrize("ahead", [1, 3, 100])
def test_items_come_in_their_order_and_all_of_them(ahead):
    with prefetched(range(50), ahead) as items:
        assert list(items) == list(range(50))
    with prefetched([], ahead) as items:
        assert list(items) == []


def test_items_are_made_before_they_are_asked_for_and_no_more_than_so_many():
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in count():
            made.append(number)
            yield number

    with prefetched(numbers(), 3) as items:
        until = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)
        assert made == [0, 1, 2, 3]  # three that wait, and one that waits for room
        assert list(islice(items, 5)) == [0, 1, 2, 3, 4]


def test_an_error_is_raised_where_the_item_would_have_come():
    def numbers() -> Iterator[int]:
        yield from (1, 2)
        raise KeyError("the third")

    with pytest.raises(KeyError, match="the third"), prefetched(numbers()) as items:
        assert next(items) == 1
        assert next(items) == 2
        next(items)


def test_an_error_in_who_asks_ends_the_thread():
    with pytest.raises(ZeroDivisionError), prefetched(count(), 2) as items:
        next(items)
        raise ZeroDivisionError


def test_what_is_made_by_what_is_made_ahead_ends_with_it():
    def doubled() -> Iterator[int]:
        with prefetched(count(), 1) as inner:
            for number in inner:
                yield 2 * number

    with prefetched(doubled(), 2) as items:
        assert list(islice(items, 3)) == [0, 2, 4]
        assert len(others()) == 2


def test_a_context_that_is_left_at_once_waits_for_one_item_at_most():
    made: list[int] = []

    def slow() -> Iterator[int]:
        for number in range(100):
            time.sleep(0.05)
            made.append(number)
            yield number

    start = time.monotonic()
    with prefetched(slow(), 2):
        pass
    assert time.monotonic() - start < 2
    assert len(made) <= 4

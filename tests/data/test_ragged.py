"""Rows behind each other are the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.ragged import Ragged

rows = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=rows)
def test_rows_come_out_as_they_went_in(rows):
    ragged = Ragged.of(rows)
    assert ragged.tolist() == rows == [row.tolist() for row in ragged]
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert len(ragged) == len(rows)
    assert Ragged.of(ragged) is ragged
    assert Ragged.with_lengths(ragged.values, ragged.lengths).tolist() == rows


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=rows.filter(bool), data=st.data())
def test_some_rows_are_taken_in_the_order_asked_for(rows, data):
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    taken = Ragged.of(rows).take(np.array(chosen, dtype=int))
    assert taken.tolist() == [rows[row] for row in chosen]


def test_rows_are_counted_from_both_ends_and_no_further():
    ragged = Ragged.of([[1], [2, 3]])
    assert ragged[-1].tolist() == [2, 3]
    for row in (2, -3):
        with pytest.raises(IndexError):
            ragged[row]

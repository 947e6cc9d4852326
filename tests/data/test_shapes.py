"""Shapes for a corpus: every pair has one, they are few, and no other few would be better."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.shapes import ROW_STEP, WIDTH_STEP, Shapes, _levels, rounded_up

lengths = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 90)), min_size=1, max_size=200)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pairs=lengths, tokens=st.sampled_from([16, 256, 4096]))
def test_the_last_shape_has_room_for_every_pair_and_widths_rise(pairs, tokens):
    sources, targets = np.array(pairs).T
    shapes = Shapes.chosen(sources, targets, tokens)
    assert shapes.targets[-1] == rounded_up(targets.max())
    assert shapes.sources[-1][-1] == max(WIDTH_STEP, rounded_up(sources.max()))
    assert len(shapes.targets) == len(shapes.sources)
    for widths in (shapes.targets, *shapes.sources):
        assert list(widths) == sorted(set(widths))
        assert all(width % WIDTH_STEP == 0 for width in widths)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=7), price=st.integers(0, 60))
def test_no_other_widths_cost_less(counts, price):
    widths = 2 * np.arange(1, len(counts) + 1)
    chosen, cost = _levels(np.array(counts, dtype=float), widths, price)
    met = [int(width) for width, count in zip(widths, counts, strict=True) if count]
    assert set(chosen) <= set(met)

    def costs(some: tuple[int, ...]) -> float:
        positions = (
            count * min((w for w in some if w >= width), default=np.inf)
            for width, count in zip(widths, counts, strict=True)
            if count
        )
        return sum(positions) + price * len(some)

    ways = [way for size in range(len(met) + 1) for way in combinations(met, size)]
    assert cost == costs(chosen) == min(map(costs, ways))


def test_a_larger_corpus_of_the_same_texts_has_few_shapes_too():
    random = np.random.default_rng(0)
    sources = 1 + random.poisson(15, 400_000)
    targets = np.clip(sources + random.integers(-5, 6, len(sources)), 1, None)
    few, many = (Shapes.chosen(sources[:n], targets[:n], 4096) for n in (20_000, 400_000))
    assert 10 < len(few) <= len(many) < 35
    assert many.targets[-1] == rounded_up(targets.max())


def test_long_documents_have_few_shapes_too():
    random = np.random.default_rng(0)
    sources, targets = random.integers(100, 5000, 3000), random.integers(10, 300, 3000)
    shapes = Shapes.chosen(sources, targets, 8192)
    assert len(shapes) < 40
    assert shapes.sources[-1][-1] == rounded_up(sources.max())


@pytest.mark.parametrize(
    ("source", "target", "expected"), [(20, 10, 48), (10, 20, 48), (300, 2, 3), (9999, 2, 1)]
)
def test_rows_come_in_eights_where_there_is_room_for_eight(source, target, expected):
    assert Shapes((), (), 1000).rows(source, target) == expected
    assert expected % ROW_STEP == 0 or expected < ROW_STEP


def test_no_pairs_need_no_shapes():
    assert len(Shapes.chosen(np.array([], dtype=int), np.array([], dtype=int), 100)) == 0

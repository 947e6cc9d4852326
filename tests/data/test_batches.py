"""Every pair once an epoch, in few shapes with little padding, in an order that a seed repeats."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.batches import Batch, Batches, Epoch, rectangle
from regard.data.ragged import Ragged
from regard.data.shapes import ROW_STEP, WIDTH_STEP, Shapes
from regard.data.tokenization import END, PAD, START

lengths = st.integers(1, 60)
corpora = st.lists(st.tuples(lengths, lengths), min_size=1, max_size=120)


def rows(sizes: list[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Pairs of the given lengths, every token telling which pair it is from."""
    return (
        [[4 + row] * source for row, (source, _) in enumerate(sizes)],
        [[4 + row] * target for row, (_, target) in enumerate(sizes)],
    )


def made(sizes: list[tuple[int, int]], tokens: int = 256, seed: int = 0) -> Batches:
    return Batches(*rows(sizes), tokens=tokens, seed=seed)


def natural(count: int = 4000) -> list[tuple[int, int]]:
    """Lengths as sentences and their translations have them."""
    random = np.random.default_rng(0)
    source = 1 + random.poisson(14, count)
    return list(
        zip(source.tolist(), np.clip(source + random.integers(-4, 5, count), 1, None).tolist(), strict=True)
    )


def flat(epoch: Epoch) -> list[list[int]]:
    return [rows.tolist() for rows in epoch.plan]


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    sizes=corpora, tokens=st.sampled_from([1, 64, 512, 4096]), seed=st.integers(0, 9), epoch=st.integers(0, 3)
)
def test_every_pair_comes_once_an_epoch_and_batches_fit(sizes, tokens, seed, epoch):
    batches = list(made(sizes, tokens, seed).epoch(epoch))
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(len(sizes)))
    for batch in batches:
        longest = max(batch.source.shape[1], batch.given.shape[1])
        assert len(batch.rows) * longest <= max(tokens, longest)
        assert batch.source.shape[1] % WIDTH_STEP == batch.given.shape[1] % WIDTH_STEP == 0
        assert len(batch.rows) == len(batch.source) == len(batch.given) == len(batch.wanted)
    unusual = [batch for batch in batches if len(batch.rows) % ROW_STEP and len(batch.rows) > ROW_STEP]
    assert len(unusual) <= 1  # what is left over at the very end


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes=corpora, seed=st.integers(0, 9))
def test_an_order_depends_on_the_seed_and_the_epoch_alone(sizes, seed):
    batches, again = made(sizes, seed=seed), made(sizes, seed=seed)
    later = flat(again.epoch(3))
    assert flat(again.epoch(0)) == flat(batches.epoch(0))
    assert flat(batches.epoch(3)) == later == flat(batches.epoch(3))


def test_epochs_and_seeds_differ_in_order_and_in_who_is_together():
    sizes = natural(600)
    plans = [flat(made(sizes).epoch(0)), flat(made(sizes).epoch(1)), flat(made(sizes, seed=1).epoch(0))]
    orders = [[row for rows in plan for row in rows] for plan in plans]
    together = [{frozenset(rows) for rows in plan} for plan in plans]
    for one, other in ((0, 1), (0, 2)):
        assert orders[one] != orders[other]
        assert len(together[one] & together[other]) < len(together[one]) / 4


def test_long_and_short_batches_come_in_mixed_order():
    widths = np.array([batch.given.shape[1] for batch in made(natural(), tokens=1024).epoch(0)], dtype=float)
    correlation = np.corrcoef(widths, np.arange(len(widths)))[0, 1]
    assert abs(correlation) < 0.25


def test_a_batch_holds_its_pairs_padded_behind():
    (batch,) = Batches([[7], [8, 9, 10, 11, 12]], [[5, 6, 7, 8], [9]], tokens=64).epoch(1)
    order = batch.rows.tolist()
    assert sorted(order) == [0, 1]
    source = [[7, *[PAD] * 5], [8, 9, 10, 11, 12, PAD]]
    given_ = [[START, 5, 6, 7, 8, PAD], [START, 9, *[PAD] * 4]]
    wanted = [[5, 6, 7, 8, END, PAD], [9, END, *[PAD] * 4]]
    assert batch.source.tolist() == [source[row] for row in order]
    assert batch.source_lengths.tolist() == [[1, 5][row] for row in order]
    assert batch.given.tolist() == [given_[row] for row in order]
    assert batch.wanted.tolist() == [wanted[row] for row in order]
    assert batch.tokens == 7
    for array in (batch.source, batch.source_lengths, batch.given, batch.wanted):
        assert array.dtype == np.int64


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes=corpora)
def test_each_row_of_a_batch_is_the_pair_it_says(sizes):
    for batch in made(sizes).epoch(0):
        assert batch.tokens == sum(sizes[row][1] + 1 for row in batch.rows.tolist())
        for place, row in enumerate(batch.rows.tolist()):
            source, target = sizes[row]
            for array, wanted in (
                (batch.source, [4 + row] * source),
                (batch.given, [START] + [4 + row] * target),
                (batch.wanted, [4 + row] * target + [END]),
            ):
                assert array[place].tolist() == wanted + [PAD] * (array.shape[1] - len(wanted))
            assert batch.source_lengths[place] == source


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes=corpora, of=st.integers(1, 9))
def test_the_parts_of_a_batch_are_the_batch(sizes, of):
    for batch in islice(made(sizes).epoch(0), 3):
        parts = [batch.part(rank, of) for rank in range(of)]
        arrays = [name for name, array in vars(batch).items() if array is not None]
        whole = Batch(*(np.concatenate([vars(part)[name] for part in parts]) for name in arrays))
        assert same(whole, batch)
        assert sum(part.tokens for part in parts) == batch.tokens
        assert {len(part.rows) for part in parts} <= {len(batch.rows) // of, -(-len(batch.rows) // of)}
    assert same(batch.part(0, 1), batch)


@pytest.mark.parametrize(("rank", "of"), [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_is_nobodys_is_refused(rank, of):
    batch = made([(3, 3)]).epoch(0)[0]
    with pytest.raises(ValueError, match=f"got {rank}"):
        batch.part(rank, of)


@pytest.mark.parametrize("tokens", [256, 1024])
def test_shapes_are_few_and_little_is_padding(tokens):
    batches = made(natural(), tokens=tokens)
    plan = list(batches.epoch(0))
    shapes = {(batch.source.shape, batch.given.shape) for batch in plan}
    positions = sum(batch.source.size + batch.given.size for batch in plan)
    real = sum(batch.tokens + int(batch.source_lengths.sum()) for batch in plan)
    assert len(plan) > 60
    assert len(shapes) <= len(batches.shapes) + 1 < 32
    assert real / positions > 0.88
    later = {(b.source.shape, b.given.shape) for b in batches.epoch(1)}
    assert len(later | shapes) <= len(shapes) + 2


def test_batches_are_nearly_as_large_as_asked_for():
    sizes = sorted(max(b.source.size, b.given.size) for b in made(natural(), tokens=1024).epoch(0))
    assert np.median(sizes) > 0.8 * 1024
    assert sizes[-1] <= 1024


@pytest.mark.parametrize("count", range(1, 8))
def test_a_corpus_of_a_few_pairs_is_one_batch(count):
    (batch,) = made([(1 + 3 * row, 20 - row) for row in range(count)]).epoch(0)
    assert sorted(batch.rows.tolist()) == list(range(count))


def test_a_pair_longer_than_a_batch_comes_alone():
    batches = made([(5, 5)] * 400 + [(5000, 10), (10, 5000)], tokens=512)
    epoch = list(batches.epoch(0))
    assert sorted(row for batch in epoch for row in batch.rows.tolist()) == list(range(402))
    for batch in epoch:
        assert not {400, 401} & set(batch.rows.tolist()) or len(batch.rows) == 1
    assert made([(5000, 3)]).epoch(0)[0].source.shape == (1, 5000)


def test_a_pair_for_which_no_shape_has_room_widens_its_batch():
    small = Shapes((10,), ((10,),), 100)
    batches = Batches([[5] * 3, [6] * 21], [[5] * 30, [6]], tokens=100, shapes=small)
    (batch,) = batches.epoch(0)
    assert batch.source.shape == (2, 22)
    assert batch.given.shape == (2, 32)


def test_no_pairs_make_no_batches():
    assert list(made([]).epoch(0)) == []
    assert list(made([]).coming()) == []
    assert len(made([])) == made([]).an_epoch() == 0
    assert len(made([(1, 2)] * 3)) == 3


def test_batches_come_epoch_after_epoch_and_from_any_place_as_from_the_start():
    batches = made(natural(300))
    count = len(batches.epoch(0)) + len(batches.epoch(1)) + 3
    coming = list(islice(batches.coming(), count))
    expected = [*batches.epoch(0), *batches.epoch(1), *batches.epoch(2)]
    assert all(same(batch, other) for (_, batch), other in zip(coming, expected, strict=False))
    for done in (1, len(batches.epoch(0)) - 1, len(batches.epoch(0)), len(batches.epoch(0)) + 2):
        place, _ = coming[done - 1]
        again = islice(made(natural(300)).coming(*place), 3)
        for (place, batch), (other_place, other) in zip(again, coming[done:], strict=False):
            assert place == other_place
            assert same(batch, other)
    assert batches.an_epoch() == len(batches.epoch(0))


def test_pairs_that_are_cut_anew_are_those_of_the_epoch():
    def anew(epoch: int) -> tuple[Ragged, Ragged]:
        sources, targets = rows([(5 + epoch, 6 + 2 * epoch)] * 40)
        return Ragged.of(sources), Ragged.of(targets)

    batches = Batches(*anew(0), tokens=64, anew=anew)
    for epoch in (0, 3, 1):
        for batch in batches.epoch(epoch):
            assert set(batch.source_lengths.tolist()) == {5 + epoch}
            assert batch.tokens == len(batch.rows) * (7 + 2 * epoch)


def test_a_rectangle_is_as_wide_as_its_longest_row_or_as_asked():
    assert rectangle([[5, 6], [], [7]]).tolist() == [[5, 6], [PAD, PAD], [7, PAD]]
    assert rectangle([[5]], 3).tolist() == [[5, PAD, PAD]]
    assert rectangle([]).shape == (0, 0)

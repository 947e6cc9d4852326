"""How much of a test was in the training data, against a count over the texts themselves."""

import numpy as np
import pytest

import regard
from regard.data.corpora import Pair
from regard.errors import RunError
from regard.training.overlap import FILE, Fingerprints, Overlap


def random_pairs(seed: int, count: int) -> list[Pair]:
    random = np.random.default_rng(seed)
    return [Pair(f"source {a}", f"target {b}") for a, b in random.integers(0, 12, (count, 2)).tolist()]


@pytest.mark.parametrize("seed", range(5))
def test_the_counts_are_those_of_the_texts(seed):
    training, test = random_pairs(seed, 30), random_pairs(seed + 100, 40)
    pairs = sum(pair in training for pair in test)
    sources = sum(pair.source in {each.source for each in training} for pair in test)
    assert Fingerprints.of(training).overlap(test) == Overlap(pairs, sources, len(test))


def test_turned_round_a_pair_is_another_one():
    training = Fingerprints.of([Pair("a", "b"), Pair("c", "d")])
    assert training.overlap([Pair("b", "a"), Pair("a", "d"), Pair("d", "c")]) == Overlap(0, 1, 3)


def test_white_space_makes_no_other_text():
    assert Fingerprints.of([Pair("a b", "c")]).overlap([Pair("a  b ", "c")]).pairs == 1


def test_what_was_saved_is_what_is_loaded(tmp_path):
    training = Fingerprints.of(random_pairs(1, 50))
    training.save(tmp_path)
    found = Fingerprints.load(tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found.pairs, training.pairs)
    np.testing.assert_array_equal(found.sources, training.sources)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_run_without_fingerprints_has_none_and_a_damaged_file_is_named(tmp_path):
    assert Fingerprints.load(tmp_path) is None
    Fingerprints.of(random_pairs(1, 50)).save(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for damaged in (whole[:-3], whole[:10], b""):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(RunError, match=FILE):
            Fingerprints.load(tmp_path)


def test_a_pair_is_remembered_in_sixteen_bytes(tmp_path):
    Fingerprints.of(Pair(f"{n}", f"{n}") for n in range(10_000)).save(tmp_path)
    assert (tmp_path / FILE).stat().st_size < 16 * 10_000 + 300


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Overlap(3, 3, 1000), "3 of 1,000 pairs were in the training data"),
        (Overlap(3, 5, 9), "3 of 9 pairs were in the training data, and 2 more sources with other targets"),
        (Overlap(0, 2, 9), "2 of 9 sources were in the training data, with other targets"),
    ],
)
def test_it_is_said_in_one_sentence(found, sentence):
    assert str(found) == sentence and found
    assert not Overlap(0, 0, 9)


def test_training_says_how_many_of_the_validation_pairs_it_learns_from(pairs, recipe, listener, tmp_path):
    short = recipe.changed({"training": {"steps": 2, "validate_every": 2}})
    heard = listener()
    regard.fit(pairs[:50], valid=pairs[45:60], recipe=short, out=tmp_path / "run", reporter=heard)
    said = "of the validation pairs, 5 of 15 pairs were in the training data: scores on these say little"
    assert said in heard.notes
    apart = listener()
    regard.fit(pairs[:50], valid=pairs[50:60], recipe=short, out=tmp_path / "apart", reporter=apart)
    assert not any("in the training data" in note for note in apart.notes)

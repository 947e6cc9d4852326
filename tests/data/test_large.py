"""A corpus that is read as a stream is the corpus that is read whole."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from regard.data.corpora import Pair, from_pairs, read_pairs, split, stream_pairs
from regard.data.large import LargeCorpus, survey
from regard.errors import CorpusError

PAIRS = [Pair(f"source {number % 70}", f"target {number}") for number in range(300)]


def known(pairs: list[Pair] = PAIRS, **options) -> LargeCorpus:
    return survey(lambda: pairs, "corpus", "tsv", **({"hold_out": 0, "seed": 3} | options))


def test_one_pass_tells_what_the_whole_corpus_tells():
    corpus = from_pairs(PAIRS)
    large = known([*PAIRS[:5], None, *PAIRS[5:], None])
    assert large.digest() == corpus.digest()
    assert (len(large), large.empty) == (300, 2)
    assert tuple(large) == tuple(large) == corpus.pairs
    assert large.sources() == corpus.sources()
    assert large.targets() == corpus.targets()


@pytest.mark.parametrize("hold_out", [1, 4, 20, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_set_aside_are_those_of_a_split(hold_out, seed):
    pairs = [Pair(f"source {number}", "x") for number in range(300)]
    large = known(pairs, hold_out=hold_out, seed=seed)
    training, validation = split(from_pairs(pairs), fraction=0.9, most=hold_out, seed=seed)
    assert set(large.held_out) == set(validation.pairs) == set(large.validation())
    assert tuple(large) == training.pairs
    assert len(large) == len(training)
    assert set(large.sample) <= set(training.pairs)


@pytest.mark.parametrize("hold_out", [4, 10, 60])
def test_no_source_is_on_both_sides(hold_out):
    large = known(hold_out=hold_out)
    assert len(large.held_out) <= hold_out
    assert not {pair.source for pair in large.held_out} & {pair.source for pair in large}
    assert len(large) == len(list(large)) == 300 - len(large.held_out)
    assert large.name == ("corpus (training part)" if large.held_out else "corpus")


def test_a_source_with_more_pairs_than_there_is_room_for_stays_in_training():
    pairs = [Pair("same", str(number)) for number in range(90)] + [Pair("other", "x")]
    for seed in range(5):
        large = known(pairs, hold_out=2, seed=seed)
        assert large.held_out == (Pair("other", "x"),)
    with pytest.raises(CorpusError, match="each source has more than 2 pairs; give a validation file"):
        known(pairs[:90], hold_out=2)


def test_each_pair_is_as_likely_in_the_sample():
    drawn = [known(sample=30, seed=seed).sample for seed in range(300)]
    assert all(len(set(sample)) == 30 for sample in drawn)
    counts = [sum(pair in sample for sample in drawn) for pair in PAIRS]
    assert 8 < min(counts) <= max(counts) < 56  # 30 are expected, 5.2 is the deviation


def test_what_is_written_down_is_known_again():
    large = known(hold_out=10)
    again = LargeCorpus.known(json.loads(json.dumps(large.recorded())), lambda: PAIRS)
    assert again.recorded() == large.recorded()
    assert tuple(again) == tuple(large)
    assert again.sample == ()


def test_a_corpus_without_pairs_to_train_on_is_refused():
    with pytest.raises(CorpusError, match=r"corpus: no pairs to train on\. Set data\.validation lower"):
        known([None])
    with pytest.raises(CorpusError, match="all 1 would be set aside for validation"):
        known([Pair("a", "b")], hold_out=5)


def test_pairs_come_from_files_one_by_one(tmp_path: Path):
    lines = ["a\tb", "\tx", "c\td  ", "", "e\tf"]
    tsv = tmp_path / "c.tsv"
    tsv.write_text("\n".join(lines) + "\n")
    streamed = list(stream_pairs(tsv))
    corpus = read_pairs(tsv)
    assert tuple(pair for pair in streamed if pair) == corpus.pairs
    assert streamed.count(None) == corpus.empty
    source, target = tmp_path / "s", tmp_path / "t"
    source.write_text("a\nb\n")
    target.write_text("x\ny\n")
    assert list(stream_pairs(source, target)) == [Pair("a", "x"), Pair("b", "y")]


def test_a_fault_in_a_file_is_met_where_it_stands(tmp_path: Path):
    path = tmp_path / "c.tsv"
    path.write_text("a\tb\nc\td\nonly one\n")
    stream = stream_pairs(path)
    assert len(list(itertools.islice(stream, 2))) == 2
    with pytest.raises(CorpusError, match=r"c\.tsv:3"):
        next(stream)

"""A corpus on disk is the corpus: every pair once an epoch, from any place on, whatever is in memory."""

from __future__ import annotations

import json
import sys
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from regard.data.corpora import Pair
from regard.data.shards import ShardedBatches, Shards
from regard.data.tokenization import END, PAD, START, Tokenizer
from regard.errors import InputError, RunError, TrainingError

RANDOM = np.random.default_rng(5)
WORDS = ["trees", "tall", "there", "stand", "stands", "taller", "ä,b", "☃"]
PAIRS = [
    Pair(
        f"{number} " + " ".join(RANDOM.choice(WORDS, RANDOM.integers(1, 9))),
        " ".join(RANDOM.choice(WORDS, 3)),
    )
    for number in range(230)
]
LONG = Pair("tall " * 90, "x")


@cache
def tokenizer() -> Tokenizer:
    texts = [text for pair in PAIRS for text in (pair.source.replace("☃", ""), pair.target.replace("☃", ""))]
    return Tokenizer.train(texts, vocabulary=90)


def written(folder: Path, pairs: list[Pair] | None = None, **options) -> Shards:
    options = {"longest": 60, "about": {"of": "tests"}, "pairs_a_shard": 25} | options
    return Shards.write(folder / "shards", PAIRS if pairs is None else pairs, tokenizer(), **options)


def batches(shards: Shards, **options) -> ShardedBatches:
    return ShardedBatches(shards, tokenizer(), **({"tokens": 128, "window": 3, "seed": 4} | options))


def epoch(dealt: ShardedBatches, number: int) -> list:
    coming = dealt.coming(number)
    taken = []
    for place, batch in coming:
        if place.epoch != number:
            coming.close()
            break
        taken.append((place, batch))
    return taken


def texts_of(dealt: list) -> list[tuple[str, str]]:
    """What the rows of batches say."""
    spelt = []
    for _, batch in dealt:
        assert (batch.given[:, 0] == START).all()
        for source, length, wanted in zip(batch.source, batch.source_lengths, batch.wanted, strict=True):
            assert (source[length:] == PAD).all()
            target = wanted[: wanted.tolist().index(END)]
            spelt.append(
                tuple(
                    tokenizer().join([tokenizer().tokens[i] for i in ids])
                    for ids in (source[:length], target)
                )
            )
    return spelt


def known(text: str) -> str:
    return text.replace("☃", "<unk>")


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_every_pair_comes_once_an_epoch_however_it_is_cut(tmp_path, dropout):
    dealt = batches(written(tmp_path), dropout=dropout, longest=60)
    expected = sorted((known(pair.source), known(pair.target)) for pair in PAIRS)
    for number in (0, 1):
        assert sorted(texts_of(epoch(dealt, number))) == expected


def test_shards_hold_what_the_tokenizer_cuts(tmp_path):
    shards = written(tmp_path)
    assert shards.counts == (25,) * 9 + (5,)
    assert len(shards) == len(PAIRS)
    sources, targets = shards.read([2, 9])
    chosen = PAIRS[50:75] + PAIRS[225:]
    for cut, texts in ((sources, [p.source for p in chosen]), (targets, [p.target for p in chosen])):
        again = tokenizer().cut(texts)
        assert cut.ids.tolist() == again.ids.tolist() == tokenizer().ids(texts)
        assert cut.first.tolist() == again.first.tolist()


def test_ids_of_large_vocabularies_are_kept_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Tokenizer, "__len__", lambda _: 40_000)
    sources, _ = written(tmp_path).read([0])
    assert sources.ids.tolist() == tokenizer().ids([pair.source for pair in PAIRS[:25]])


def same(one: tuple, other: tuple) -> bool:
    return one[0] == other[0] and all(np.array_equal(a, vars(other[1])[n]) for n, a in vars(one[1]).items())


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_from_any_place_on_the_same_batches_come(tmp_path, dropout):
    shards = written(tmp_path)
    whole = list(islice(batches(shards, dropout=dropout).coming(), 70))
    assert {place.epoch for place, _ in whole} >= {0, 1}
    for done in (1, 7, 20, 33, 50):
        again = islice(batches(shards, dropout=dropout).coming(*whole[done - 1][0]), 15)
        assert all(same(one, other) for one, other in zip(again, whole[done:], strict=False))


def test_epochs_and_seeds_differ_in_order_and_in_who_is_together(tmp_path):
    shards = written(tmp_path)
    orders = [
        texts_of(epoch(batches(shards), 0)),
        texts_of(epoch(batches(shards), 1)),
        texts_of(epoch(batches(shards, seed=5), 0)),
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    window = 3 * 25
    assert len({*orders[0][:window]} & {*orders[1][:window]}) < 0.9 * window


def test_with_dropout_an_epoch_is_cut_unlike_another(tmp_path):
    dealt = batches(written(tmp_path), dropout=0.3, longest=60)
    tokens = [sum(batch.tokens for _, batch in epoch(dealt, number)) for number in (0, 1)]
    assert tokens[0] != tokens[1]


def test_no_text_is_cut_into_more_tokens_than_allowed(tmp_path):
    dealt = batches(written(tmp_path, longest=20), dropout=0.9, longest=20)
    for _, batch in epoch(dealt, 0):
        assert batch.source_lengths.max() <= 20
        assert batch.given.shape[1] <= 22


def test_an_epoch_has_about_as_many_batches_as_it_says(tmp_path):
    dealt = batches(written(tmp_path))
    assert dealt.an_epoch() == pytest.approx(len(epoch(dealt, 0)), rel=0.2)
    assert len(dealt) == len(PAIRS)


def test_pairs_that_are_too_long_are_counted(tmp_path):
    shards = written(tmp_path, [LONG, *PAIRS[:3], LONG])
    assert (shards.too_long, shards.counts) == (2, (3,))
    with pytest.raises(InputError, match=r"more than 60 tokens; raise data\.longest"):
        written(tmp_path, [LONG])
    assert Shards.open(tmp_path / "shards") == shards


def test_shards_are_found_again_and_only_when_they_are_whole(tmp_path):
    shards = written(tmp_path)
    assert Shards.open(shards.folder) == shards
    assert shards.about == {"of": "tests"}
    assert Shards.open(tmp_path) is None
    (shards.folder / "00003.arrow").unlink()
    assert Shards.open(shards.folder) is None


def test_what_is_cut_off_leaves_nothing_and_keeps_what_was(tmp_path):
    def broken():
        yield from PAIRS[:60]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, broken())
    assert list(tmp_path.iterdir()) == []
    shards = written(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, broken())
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]
    assert Shards.open(shards.folder) == shards
    assert len(written(tmp_path, PAIRS[:30])) == 30


def test_a_shard_that_is_damaged_is_named(tmp_path):
    shards = written(tmp_path)
    path = shards.folder / "00001.arrow"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"00001\.arrow: not a whole shard .* the corpus is cut anew"):
        shards.read([1])
    manifest = shards.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("5", "6"))
    with pytest.raises(RunError, match="pairs where"):
        Shards.open(shards.folder).read([0])
    manifest.write_text(json.dumps({"format": 0}))
    assert Shards.open(shards.folder) is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written: Not a directory"):
        written(tmp_path / "file")


def test_without_pyarrow_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"regard\[train\]"):
        written(tmp_path)

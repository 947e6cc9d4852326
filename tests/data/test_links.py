"""Links between words, brought to tokens, against a loop over tokens."""

import numpy as np
import pytest

from regard.data.batches import Batches
from regard.data.links import WordLinks
from regard.data.ragged import Ragged
from regard.data.tokenization import Tokenizer, TokenizerKind

SOURCES = ["the old house, over there", "a green   house!", "books über alles", "x", "我们 的 house"]
TARGETS = ["das alte Haus, dort drüben", "ein grünes Haus!", "Bücher über alles", "y z", "unser Haus"]
LINKS = [
    {(0, 0), (1, 1), (2, 2), (4, 3), (4, 4)},
    {(0, 0), (1, 1)},
    {(0, 0), (2, 2), (1, 1)},
    set(),
    {(0, 0), (0, 1)},
]


def tokenizer(kind: TokenizerKind = "bpe", size: int = 70) -> Tokenizer:
    return Tokenizer.train(SOURCES[:4] * 3 + TARGETS * 3, kind, vocabulary=size)


def by_loop(cutter, rows, sources, targets, links, shape, at_spaces_only):
    """Where each token should look, from tokens whose words are counted one by one."""
    wished = np.zeros((len(rows), *shape), np.float32)
    for b, row in enumerate(rows):
        left, right = (
            cutter.words([cutter.tokens[i] for i in side[row]], at_spaces_only=at_spaces_only)
            for side in (sources, targets)
        )
        for t, target in enumerate(right):
            keys = [s for s, source in enumerate(left) if (target, source) in links[row]]
            for s in keys:
                wished[b, t, s] = 1 / len(keys)
    return wished


@pytest.mark.parametrize("kind", ["bpe", "word"])
@pytest.mark.parametrize("at_spaces_only", [True, False])
def test_each_token_should_look_at_the_tokens_of_the_words_linked_with_its_own(kind, at_spaces_only):
    cutter = tokenizer(kind)
    sources, targets = (Ragged.of(cutter.ids(side)) for side in (SOURCES, TARGETS))
    links = WordLinks.of(cutter, SOURCES, TARGETS, LINKS, at_spaces_only=at_spaces_only)
    rows = np.array([2, 0, 1, 3])
    shape = (24, 28)
    np.testing.assert_allclose(
        links.shares(rows, sources, targets, shape),
        by_loop(cutter, rows, sources, targets, LINKS, shape, at_spaces_only),
    )


def test_words_that_are_cut_anew_keep_their_links():
    cutter = tokenizer(size=120)
    links = WordLinks.of(cutter, SOURCES, TARGETS, LINKS, at_spaces_only=True)
    rows = np.arange(4)
    cuts = [cutter.cut(side) for side in (SOURCES, TARGETS)]
    lengths = set()
    for seed in range(10):
        random = np.random.default_rng(seed)
        sources, targets = (cutter.recut(cut, 0.5, random) for cut in cuts)
        lengths.add(len(sources.values))
        shape = int(targets.lengths.max()) + 1, int(sources.lengths.max())
        np.testing.assert_allclose(
            links.shares(rows, sources, targets, shape),
            by_loop(cutter, rows, sources, targets, LINKS, shape, True),
        )
    assert len(lengths) > 3


def test_unknown_characters_keep_their_place():
    cutter = tokenizer()
    links = WordLinks.of(cutter, SOURCES, TARGETS, LINKS, at_spaces_only=True)
    sources, targets = (Ragged.of(cutter.ids(side)) for side in (SOURCES, TARGETS))
    wished = links.shares(np.array([4]), sources, targets, (12, 12))[0]
    words = cutter.words(cutter.encode(SOURCES)[4].tokens, at_spaces_only=True)
    assert [bool(column) for column in wished[0, : len(words)]] == [word in (0, 1) for word in words]


def test_characters_are_words_where_they_are_tokens():
    cutter = Tokenizer.train(["abc", "de"], "character")
    links = WordLinks.of(cutter, ["abc"], ["de"], [{(0, 2), (1, 0), (1, 1)}], at_spaces_only=True)
    source, target = (Ragged.of(cutter.ids([text])) for text in ("abc", "de"))
    found = links.shares(np.array([0]), source, target, (3, 4))
    np.testing.assert_allclose(found, [[[0, 0, 1, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]]])


def test_a_batch_carries_where_its_steps_should_look_and_a_part_of_it_its_own():
    cutter = tokenizer()
    sources, targets = (Ragged.of(cutter.ids(side)) for side in (SOURCES, TARGETS))
    links = WordLinks.of(cutter, SOURCES, TARGETS, LINKS, at_spaces_only=True)
    batches = Batches(sources, targets, tokens=200, links=links)
    for batch in (batches.epoch(0)[i] for i in range(len(batches.epoch(0)))):
        assert batch.wished is not None
        assert batch.wished.shape == (*batch.wanted.shape, batch.source.shape[1])
        shape = batch.wished.shape[1:]
        np.testing.assert_array_equal(batch.wished, links.shares(batch.rows, sources, targets, shape))
        parts = [batch.part(rank, 2).wished for rank in range(2)]
        np.testing.assert_array_equal(np.concatenate([p for p in parts if p is not None]), batch.wished)
    assert Batches(sources, targets, tokens=200).epoch(0)[0].wished is None

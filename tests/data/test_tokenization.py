"""Texts to tokens and back, whatever stands in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from regard.data.tokenization import END, PAD, SPACE, SPECIAL_TOKENS, START, UNKNOWN, Tokenizer
from regard.errors import RunError

TEXTS = [
    "A man rides a horse.",
    'Don\'t stop (now), she said: "go!"',
    "Ein Mann reitet ein Pferd; zwölf schöne Wörter.",
    "Was kostet das? Es kostet 5 $ - oder 3,50 €.",
    "日本語のテキストは間をあけずに書かれます。",
    "我们在这里写中文。",
    "مرحبا بالعالم، كيف حالك؟",
    "naïve café — ΑΒΓ αβγ…",
] * 3

KINDS = ["bpe", "word", "character"]
ALL = [(kind, split) for kind in KINDS for split in (True, False)]


@cache
def trained(kind: str, split: bool = True, vocabulary: int = 150) -> Tokenizer:
    return Tokenizer.train(TEXTS, kind, vocabulary=vocabulary, split_punctuation=split)


def spelt(tokenizer: Tokenizer, text: str) -> list[str]:
    (encoded,) = tokenizer.encode([text])
    return encoded.tokens


def grouped(tokenizer: Tokenizer, tokens: list[str], **options) -> list[str]:
    """The words that tokens make up."""
    numbers = tokenizer.words(tokens, **options)
    assert len(numbers) == len(tokens)
    assert sorted(set(numbers)) == list(range(max(numbers, default=-1) + 1))
    assert numbers == sorted(numbers)
    return [
        tokenizer.join([token for token, part in zip(tokens, numbers, strict=True) if part == number])
        for number in sorted(set(numbers))
    ]


seen = "".join(sorted(set("".join(TEXTS))))
anything = st.lists(
    st.one_of(
        st.sampled_from(seen + "   "),
        st.characters(exclude_categories=["Cs"], exclude_characters=SPACE),
        st.sampled_from([*SPECIAL_TOKENS, "'", "\t", "\n", "\u00a0", "\u0301", "☃"]),
    ),
    max_size=25,
).map("".join)


@pytest.mark.parametrize(("kind", "split"), ALL)
@settings(max_examples=120, deadline=None, derandomize=True)
@given(text=anything)
def test_tokens_spell_the_text_they_were_cut_from(kind, split, text):
    tokenizer = trained(kind, split)
    text = text.strip()
    (encoded,) = tokenizer.encode([text])
    assert tokenizer.join(encoded.tokens) == text
    assert len(encoded.ids) == len(encoded.tokens)
    assert tokenizer.ids([text]) == [encoded.ids]
    assert all(i == UNKNOWN or len(SPECIAL_TOKENS) <= i < len(tokenizer) for i in encoded.ids)
    assert encoded.unknown == encoded.ids.count(UNKNOWN)
    assert bool(encoded.ids) == bool(text)
    for i, token in zip(encoded.ids, encoded.tokens, strict=True):
        assert i == UNKNOWN or tokenizer.tokens[i] == token


@pytest.mark.parametrize(("kind", "split"), ALL)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(texts=st.lists(anything, max_size=5))
def test_a_batch_of_texts_is_cut_as_each_of_them_is(kind, split, texts):
    tokenizer = trained(kind, split)
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]


@pytest.mark.parametrize("kind", ["bpe", "word"])
@pytest.mark.parametrize("split", [True, False])
@settings(max_examples=120, deadline=None, derandomize=True)
@given(text=anything)
def test_words_at_spaces_are_what_stands_between_spaces(kind, split, text):
    assume(text.strip(" "))
    words = [word for word in text.split(" ") if word]
    found = grouped(trained(kind, split), spelt(trained(kind, split), text), at_spaces_only=True)
    assert [word.strip() for word in found] == [word.strip() for word in words]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(text=anything, kind=st.sampled_from(KINDS))
def test_the_words_of_a_text_hold_all_its_characters(text, kind):
    found = grouped(trained(kind), spelt(trained(kind), text))
    assert "".join("".join(found).split()) == "".join(text.split())


def test_punctuation_stands_on_its_own_unless_it_is_not_split():
    assert spelt(trained("word"), "Don't stop (now).") == [
        *("▁Don", "'", "t", "▁stop", "▁", "(", "now", ")", "."),
    ]
    assert spelt(trained("word", False), "Don't stop (now).") == ["▁Don't", "▁stop", "▁(now)."]
    for kind in ("bpe", "word"):
        text = "Don't stop (now), café!"
        tokens = spelt(trained(kind), text)
        split = ["Don", "'", "t", "stop", "(", "now", ")", ",", "café", "!"]
        assert grouped(trained(kind), tokens) == split
        assert grouped(trained(kind), tokens, at_spaces_only=True) == text.split()
        assert grouped(trained(kind, False), spelt(trained(kind, False), text)) == text.split()


def test_subwords_are_grouped_into_words():
    tokenizer = trained("bpe")
    tokens = spelt(tokenizer, "zwölf Wörterbücher")
    assert len(tokens) > 2
    assert grouped(tokenizer, tokens) == ["zwölf", "Wörterbücher"]


def test_characters_are_words_of_their_own():
    tokenizer = trained("character")
    assert spelt(tokenizer, "a  b.") == ["a", " ", " ", "b", "."]
    assert tokenizer.words(["a", " ", " ", SPACE, "."]) == [0, 1, 2, 3, 4]


def test_a_space_alone_belongs_to_what_follows_and_at_the_end_to_what_was():
    tokenizer = trained("bpe")
    assert tokenizer.words(["▁", "(", "▁a", "▁", "▁", "▁b", "▁", "▁"]) == [0, 0, 1, 2, 2, 2, 2, 2]
    assert tokenizer.words(["▁", "▁"]) == [0, 0]
    assert tokenizer.words([]) == []


@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_arabic_words_are_those_between_spaces_and_marks(kind):
    tokenizer = trained(kind)
    tokens = spelt(tokenizer, "مرحبا بالعالم، كيف حالك؟")
    assert grouped(tokenizer, tokens) == ["مرحبا", "بالعالم", "،", "كيف", "حالك", "؟"]


def test_where_no_spaces_are_written_each_subword_is_shown_as_a_word():
    tokenizer = trained("bpe")
    for text in ("日本語のテキスト。", "我们在这里写中文。", "ภาษาไทย"):
        tokens = [token for token in spelt(tokenizer, text) if token != SPACE]
        assert grouped(tokenizer, spelt(tokenizer, text)) == [token.strip(SPACE) for token in tokens]
        assert grouped(tokenizer, tokens, at_spaces_only=True) == [text]
    assert grouped(tokenizer, ["▁Tokyo", "は", "東京", "▁in", "▁日", "本"]) == [
        *("Tokyo", "は", "東京", "in", "日", "本"),
    ]


@pytest.mark.parametrize(("kind", "split"), ALL)
def test_the_name_of_a_special_token_in_a_text_is_text(kind, split):
    texts = [f"x{name}y {name} {name}{name}" for name in SPECIAL_TOKENS]
    for tokenizer in (
        trained(kind, split),
        Tokenizer.train([*texts, *SPECIAL_TOKENS] * 9, kind, vocabulary=90, split_punctuation=split),
    ):
        for text in [*texts, *SPECIAL_TOKENS]:
            (encoded,) = tokenizer.encode([text])
            assert not {PAD, START, END} & set(encoded.ids)
            assert tokenizer.join(encoded.tokens) == text


def test_a_subword_that_happens_to_be_a_special_token_is_unknown():
    texts = [f"{letter}{SPECIAL_TOKENS[START]}" for letter in "abcdefgh"]
    tokenizer = Tokenizer.train(texts, "bpe", vocabulary=40, split_punctuation=False)
    assert START in tokenizer.backend.encode("a<s>b").ids
    (encoded,) = tokenizer.encode(["a<s>b"])
    assert (encoded.tokens, encoded.unknown) == (["▁", "a", "<s>", "b"], 1)
    assert tokenizer.ids(["a<s>b"]) == [encoded.ids]
    assert START not in encoded.ids


@pytest.mark.parametrize("split", [True, False])
def test_unknown_tokens_are_spelt_as_they_stand_in_the_text(split):
    assert spelt(trained("word", split), "A Quux rides") == ["▁A", "▁Quux", "▁rides"]
    encoded = trained("character", split).encode(["a☃e"])[0]
    assert (encoded.tokens, encoded.unknown) == (["a", "☃", "e"], 1)
    encoded = trained("bpe", split).encode(["☃ \t☃☃"])[0]
    assert (encoded.tokens, encoded.unknown) == ([SPACE, "☃", SPACE, "\t", "☃", "☃"], 4)


def test_unknown_marks_keep_the_spaces_around_them():
    tokenizer = Tokenizer.train(["no marks at all"], "word")
    for text in ("<s>", "so [this] holds , and [] this", "a % b%"):
        assert tokenizer.join(spelt(tokenizer, text)) == text


def test_an_unknown_word_stands_after_a_space_in_an_output():
    assert trained("word").tokens[UNKNOWN] == "▁<unk>"
    assert trained("bpe").tokens[UNKNOWN] == trained("character").tokens[UNKNOWN] == "<unk>"


@pytest.mark.parametrize(("kind", "split"), ALL)
@pytest.mark.parametrize("vocabulary", [5, 6, 9, 30, 100])
def test_a_vocabulary_is_no_larger_than_asked_for(kind, split, vocabulary):
    tokenizer = trained(kind, split, vocabulary)
    assert len(tokenizer) <= vocabulary
    assert tuple(tokenizer.backend.id_to_token(i) for i in range(4)) == SPECIAL_TOKENS
    assert len(tokenizer.tokens) == len(set(tokenizer.tokens)) == len(tokenizer)
    assert tokenizer.join(spelt(tokenizer, TEXTS[1])) == TEXTS[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_always_give_the_same_vocabulary(kind):
    # far more characters than there is room for, each as rare as the others
    texts = ["".join(chr(0x4E00 + 40 * line + i) for i in range(40)) for line in range(10)]
    files = {Tokenizer.train(iter(texts), kind, vocabulary=60).backend.to_str() for _ in range(5)}
    assert len(files) == 1


def test_subwords_always_know_the_space():
    tokenizer = Tokenizer.train(["日本語のテキスト"] * 5 + ["長い間", "a b"], "bpe", vocabulary=8)
    assert SPACE in tokenizer.tokens
    assert tokenizer.join(spelt(tokenizer, "語 長 ? a")) == "語 長 ? a"


def test_frequent_words_become_one_subword():
    tokenizer = Tokenizer.train(["the horse and the dog"] * 20, "bpe", vocabulary=100)
    assert spelt(tokenizer, "the dog") == ["▁the", "▁dog"]


@pytest.mark.parametrize(("kind", "split"), ALL)
def test_a_saved_tokenizer_is_the_same_again(kind, split, tmp_path):
    tokenizer, path = trained(kind, split), tmp_path / "tokenizer.json"
    tokenizer.save(path)
    again = Tokenizer.load(path)
    texts = [*TEXTS, "Quux ☃ <s>", ""]
    assert again.encode(texts) == tokenizer.encode(texts)
    assert again.tokens == tokenizer.tokens
    assert len(again) == len(tokenizer)
    for tokens in (encoded.tokens for encoded in tokenizer.encode(texts)):
        assert again.words(tokens) == tokenizer.words(tokens)
        assert again.join(tokens) == tokenizer.join(tokens)


def changed(change: Callable[[dict], None]) -> Callable[[str], str]:
    def change_text(text: str) -> str:
        layout = json.loads(text)
        change(layout)
        return json.dumps(layout)

    return change_text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a whole tokenizer"),
        (lambda text: "", "not a whole tokenizer"),
        (lambda text: "{}", "not a whole tokenizer"),
        (lambda text: "[1, 2]", "not a whole tokenizer"),
        (changed(lambda layout: layout.pop("model")), "not a whole tokenizer"),
        (lambda text: text.replace("<unk>", "[UNK]"), "its first tokens are not <pad> <unk> <s> </s>"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_an_error_that_names_it(spoil, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    trained("word").save(path)
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(RunError, match=message) as caught:
        Tokenizer.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path):
    with pytest.raises(RunError, match="No such file"):
        Tokenizer.load(tmp_path / "none.json")
    with pytest.raises(RunError, match="cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "latin.json").write_bytes("{'ä'}".encode("latin-1"))
    with pytest.raises(RunError, match="cannot be read"):
        Tokenizer.load(tmp_path / "latin.json")

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.viewer.tokens import is_character, is_quiet, isolate, show, shown_order


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("Haus", "Haus"),
        (" ", "␣"),
        ("\u202f", "␣"),
        ("▁the", "␣the"),
        (" the", "␣the"),
        ("New York", "New York"),
        ("\n", "↵"),
        ("\t", "⇥"),
        ("", "∅"),
        ("</s>", "⊣"),
        ("\x1b[31m", "␛[31m"),
        ("\x85", "↵"),
        ("\x9b31m", "�31m"),
        ("\u202eab", "�ab"),
        ("\ud800", "�"),
        ("\ufffe", "�"),
        ("\u0301", "◌\u0301"),
        ("می\u200cروم", "می\u200cروم"),
        ("\u200b", "�"),
    ],
)
def test_tokens_are_shown_as_one_line_of_text(token, shown):
    assert show(token) == shown


@settings(max_examples=300, deadline=None, derandomize=True)
@given(token=st.text(st.characters(), max_size=12))
def test_nothing_shown_is_a_command(token):
    text = show(token)
    assert text
    for character in text:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )


def test_symbols_are_quiet_and_words_are_not():
    assert [is_quiet(token) for token in (" ", "</s>", "", "\x00", "a", " a", "-")] == [True] * 4 + [
        False
    ] * 3


def test_a_letter_with_its_marks_is_one_character():
    assert [is_character(token) for token in ("a", "é", "e\u0301", " ", "日", "ab", "日本")] == [True] * 5 + [
        False
    ] * 2


def placed(text: str) -> str:
    return "".join(text[index] for index in shown_order(text))


@pytest.mark.parametrize(
    ("text", "as_seen"),
    [
        ("abc 123", "abc 123"),
        ("٣ مارس ٢٠٢١", "٢٠٢١ سرام ٣"),
        ("3 במרץ 2021", "2021 ץרמב 3"),
        ("אבג abc דהו", "והד abc גבא"),
        ("abc אבג דהו xyz", "abc והד גבא xyz"),
        ("٣/٣/٢٠٢١", "٣/٣/٢٠٢١"),
        ("א.", ".א"),
        ("", ""),
    ],
)
def test_characters_are_placed_where_a_reader_sees_them(text, as_seen):
    assert placed(text) == as_seen


def test_words_run_from_right_to_left_and_foreign_names_within_them_do_not():
    tokens = ["אישה", "ב", "Central", "Park", "בשנת", "2021", "."]
    assert [tokens[index] for index in shown_order(tokens)] == [
        ".",
        "2021",
        "בשנת",
        "Central",
        "Park",
        "ב",
        "אישה",
    ]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tokens=st.lists(st.text("aב1٣ .,-/\u0301", max_size=2), max_size=9))
def test_every_token_has_exactly_one_place(tokens):
    assert sorted(shown_order(tokens)) == list(range(len(tokens)))


def test_only_right_to_left_text_is_isolated():
    assert isolate("Haus") == "Haus"
    assert isolate("בית") == "\u2068בית\u2069"
    assert isolate("٣") == "\u2068٣\u2069"

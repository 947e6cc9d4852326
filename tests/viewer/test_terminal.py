from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from regard.errors import InputError
from regard.record import AttentionRecord
from regard.viewer.cells import clusters
from regard.viewer.terminal import draw

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def printed(record: AttentionRecord, width: int, colour=None, system=None) -> list[str]:
    console = Console(
        width=width,
        color_system=system,
        file=io.StringIO(),
        force_terminal=bool(system),
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(draw(record, colour=colour), end="")
    return capture.get().split("\n")[:-1]


def columns_of(line: str, wanted: str) -> list[int]:
    """The columns in which a character stands, counted as a terminal does."""
    found, column = [], 0
    for cluster in clusters(line):
        found += [column] if cluster.strip("\u200e\u2068\u2069") == wanted else []
        column += cell_len(cluster)
    return found


@st.composite
def any_records(draw):
    tokens = st.text(st.characters(), max_size=8) | st.sampled_from(
        ["日本", "مارس", "e\u0301", "👩‍👩‍👧", "a" * 30]
    )
    queries = draw(st.lists(tokens, max_size=7))
    keys = draw(st.lists(tokens, max_size=40))
    seed = draw(st.integers(0, 9))
    links = frozenset({(0, 0)}) if queries and keys and draw(st.booleans()) else frozenset()
    weights = np.random.default_rng(seed).random((len(queries), len(keys)))
    title = draw(st.text(st.characters(), max_size=30))
    return AttentionRecord(
        weights, tuple(queries), tuple(keys), title=title, sure=links, copied=frozenset(q for q, _ in links)
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(record=any_records(), width=st.integers(1, 120), colour=st.sampled_from(["truecolor", "256", "none"]))
def test_no_line_is_wider_than_the_window(record, width, colour):
    for line in draw(record).lines(width, colour):
        assert cell_len(line.plain) <= width
    for line in printed(record, width, colour):
        assert cell_len(line) <= width


@settings(max_examples=100, deadline=None, derandomize=True)
@given(record=any_records(), width=st.integers(1, 120), colour=st.sampled_from(["truecolor", "256"]))
def test_only_colours_reach_the_terminal_as_commands(record, width, colour):
    text = "\n".join(printed(record, width, colour, system="truecolor"))
    rest = ESCAPES.sub("", text).replace("\n", "")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067\ud800-\udfff]", rest)


def test_escape_sequences_in_tokens_are_drawn_as_symbols(hostile):
    text = "\n".join(printed(hostile, 100))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "␛[2J" in text


def test_words_stand_along_both_axes(words):
    lines = printed(words, 80)
    for token in words.key_tokens:
        assert any(re.search(rf"╭ {re.escape(token)}$", line.rstrip()) for line in lines)
    for token in words.query_tokens:
        assert any(line.strip().startswith((f"{token} │", f"{token}* │")) for line in lines)


def test_each_word_hangs_over_its_column(words):
    lines = printed(words, 80)
    stems = [columns_of(line, "╭")[0] for line in lines if "╭" in line]
    first = next(line for line in lines if "[█]" in line or "[▓]" in line)
    assert stems[0] == columns_of(first, "[")[0] + 1
    assert set(np.diff(stems)) == {3}


def test_characters_stand_upright_over_their_columns(date):
    header = next(line for line in printed(date, 80) if "m a r s" in line)
    assert header.split() == list("3␣mars␣2021")


@pytest.mark.parametrize(
    "labels",
    [
        ("日本語", "か\u3099", "e\u0301", "ｱ", "x"),
        ("שלום", "مرحبا", "٣", "नमस्ते", "ไทย"),
        ("👩‍👩‍👧", "\u0301", "", "\t", "ß"),
    ],
)
def test_columns_stay_aligned_beside_words_of_any_script(labels):
    record = AttentionRecord(np.eye(5), labels, tuple("abcde"))
    rows = [line for line in printed(record, 60) if line.count("│") == 2]
    assert len(rows) == 5
    assert len({tuple(columns_of(row, "│")) for row in rows}) == 1


def test_right_to_left_words_cannot_move_what_stands_beside_them():
    record = AttentionRecord(np.eye(2), ("שלום", "عالم"), ("اب", "x"))
    for line in printed(record, 40):
        if re.search("[א-ת\u0600-\u06ff]", line):
            assert line.startswith("\u200e")
            assert line.count("\u2068") == line.count("\u2069") >= 1


def test_gold_links_are_squares_and_circles_and_copies_are_marked(words):
    text = "\n".join(printed(words, 80))
    assert re.search(r"\[[░▒▓█ ]\]", text)
    assert re.search(r"\([░▒▓█ ]\)", text)
    assert ".* │" in text
    assert "[] sure   () possible   * copied" in text


def test_a_window_too_small_for_the_map_lists_the_strongest_sources():
    weights = np.array([[0.05, 0.6, 0.3, 0.05], [0, 0, 0, 0]])
    record = AttentionRecord(weights, ("Hund", "leer"), ("long-winded", "dog", "cat", "日本語日本語"))
    lines = printed(AttentionRecord(np.tile(weights, 20), record.query_tokens, record.key_tokens * 20), 60)
    assert re.search(r"Hund\s+\S dog +0\.60 \S dog +0\.60 \S dog", lines[0])
    assert "looks nowhere" in lines[1]
    lines = printed(record, 14)
    assert lines[0].startswith("Hund")
    assert "dog" in lines[0]


def test_a_long_line_becomes_half_blocks_with_two_words_a_line():
    record = AttentionRecord(np.eye(40), tuple(f"w{n}" for n in range(40)), tuple("ab" for _ in range(40)))
    lines = [line for line in printed(record, 60, "truecolor", system="truecolor") if "▄" in line]
    assert len(lines) == 20
    assert ESCAPES.sub("", lines[3]).split()[:2] == ["w6", "w7"]


def test_more_weight_is_more_ink():
    record = AttentionRecord(np.array([[0.0, 0.3, 0.6, 1.0]]), ("q",), tuple("abcd"))
    row = next(line for line in printed(record, 40) if line.startswith("q"))
    assert row == "q │  ░░▒▒██│"


@pytest.mark.parametrize(("system", "expected"), [("truecolor", "48;2;"), ("256", "48;5;")])
def test_colours_follow_what_the_terminal_can(words, system, expected):
    assert expected in "\n".join(printed(words, 80, system=system))


def test_a_terminal_of_few_colours_gets_shading(words):
    assert "█" in "\n".join(printed(words, 80, system="standard"))
    plain = Console(
        width=80, color_system="truecolor", no_color=True, force_terminal=True, file=io.StringIO()
    )
    with plain.capture() as capture:
        plain.print(draw(words))
    assert "█" in capture.get()


def test_a_terminal_of_ascii_gets_ascii(words):
    class Ascii(io.StringIO):
        encoding = "ascii"

    console = Console(width=80, file=Ascii(), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(draw(words))
    assert capture.get().isascii()
    assert "woman |" in capture.get()


@pytest.mark.parametrize(("queries", "keys"), [((), ("a",)), (("a",), ()), ((), ())])
def test_a_record_without_words_says_so(queries, keys):
    record = AttentionRecord(np.zeros((len(queries), len(keys))), queries, keys)
    assert printed(record, 40)[0].startswith("no ")


def test_layers_and_heads_are_averaged_and_named():
    weights = np.stack([np.eye(2), 1 - np.eye(2)])
    lines = printed(AttentionRecord(weights, ("a", "b"), ("c", "d"), axes=("head", "query", "key")), 40)
    assert lines[0].rstrip() == "mean over head"
    assert "▒▒▒▒" in "\n".join(lines)


def test_unknown_colours_and_widths_are_refused(words):
    with pytest.raises(InputError, match="truecolor, 256, none"):
        draw(words, colour="sepia")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="width 0"):
        draw(words, width=0)
    assert max(cell_len(line.plain) for line in draw(words).lines(30, "none")) <= 30
    console = Console(width=100, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(draw(words, width=30))
    assert max(map(cell_len, capture.get().split("\n"))) <= 30


def test_a_copied_word_is_underlined_in_colour_and_starred_without():
    record = AttentionRecord(np.eye(3), ("eins", "zwei", "drei"), ("one", "two", "three"), copied={1})
    coloured = "\n".join(printed(record, 60, system="truecolor"))
    assert re.findall(r"\x1b\[[0-9;]*4m(\w+)", coloured) == ["zwei", "copied"]
    plain = "\n".join(printed(record, 60))
    assert re.findall(r"\w+\*", plain) == ["zwei*"]
    assert "* copied" in plain


def test_a_long_text_is_drawn_as_its_overview():
    words = tuple(f"w{index}" for index in range(4096))
    record = AttentionRecord(np.eye(64) / 64, words, words, pooled=(64, 64), largest=np.eye(64), title="long")
    lines = printed(record, 100)
    assert lines[0].rstrip() == "long · 4,096 tokens"
    assert len(lines) < 60
    assert any(line.lstrip().startswith("w2048") for line in lines)

"""Rows of TSV and CSV, objects of JSON lines: which columns are meant, and which line is wrong."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data import tables
from regard.data.corpora import Pair, read_pairs
from regard.errors import CorpusError


@pytest.fixture
def read(tmp_path):
    """Write a file, read its pairs as tuples."""

    def write_and_read(content: str, ending: str = "tsv", **columns) -> list[tuple[str, str]]:
        path = tmp_path / f"a.{ending}"
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        return [(pair.source, pair.target) for pair in read_pairs(path, **columns)]

    return write_and_read


@pytest.fixture
def fails(read, tmp_path):
    """Write a file, return the message without its path with which reading it fails."""

    def write_and_fail(content: str, ending: str = "tsv", **columns) -> str:
        with pytest.raises(CorpusError) as caught:
            read(content, ending, **columns)
        message = str(caught.value)
        assert message.isprintable()
        return message.removeprefix(str(tmp_path / f"a.{ending}"))

    return write_and_fail


def test_a_tab_always_separates_and_quotes_belong_to_the_text(read):
    assert read('"a\t"b" \'c\'\td, e\n') == [('"a', "\"b\" 'c'")]
    assert read("a\u2028a\tb\u0085b\vb\r\n") == [("a\u2028a", "b\u0085b\vb")]


@pytest.mark.parametrize(("ending", "mark"), [("tsv", "\t"), ("csv", ",")])
def test_columns_are_chosen_by_number_by_name_or_by_default(read, ending, mark):
    body = "1,one,eins,un\n2,two,zwei,deux\n".replace(",", mark)
    header = "id,en,de, fr \n".replace(",", mark)
    assert read(body, ending) == [("1", "one"), ("2", "two")]
    assert read(body, ending, source_column=2, target_column=4) == [("one", "un"), ("two", "deux")]
    assert read(body, ending, source_column="4", target_column="2") == [("un", "one"), ("deux", "two")]
    assert read(body, ending, source_column=3) == [("eins", "one"), ("zwei", "two")]
    assert read(header + body, ending, source_column="en", target_column="fr") == [
        ("one", "un"),
        ("two", "deux"),
    ]
    assert read(header + body, ending, source_column="en", target_column=4) == [
        ("one", "un"),
        ("two", "deux"),
    ]
    assert read(header + body, ending)[0] == ("id", "en")


@pytest.mark.parametrize(("ending", "mark"), [("tsv", "\t"), ("csv", ",")])
def test_a_first_row_that_names_source_and_target_is_a_header(read, ending, mark):
    content = "\ufeffTarget,note,Source\neins,-,one\n".replace(",", mark)
    assert read(content, ending) == [("one", "eins")]
    assert read(content, ending, source_column=2, target_column=3) == [("-", "one")]
    assert read("\n" + content.removeprefix("\ufeff"), ending) == [("one", "eins")]


def test_a_row_with_too_few_columns_is_named_by_line(fails):
    assert fails("one\teins\n\nonly one\nthree\tdrei\n") == (
        ":3: 1 column where 2 are needed: the source is column 1, the target column 2, separated by tabs. "
        "Got 'only one'. Mend or remove this row."
    )
    assert fails("a\tb\n", source_column=1, target_column=5).startswith(":1: 2 columns where 5 are needed")
    assert fails("a b\n").startswith(":1: 1 column where 2")
    assert fails('a,b\n"c\nc",d\n"' + "e" * 99 + '"\n', "csv").startswith(":4: 1 column where 2 are needed")


def test_a_name_that_no_column_has_lists_those_there(fails):
    assert fails("id\ten\ten\n", source_column="eng", target_column="id") == (
        ":1: no column has the name 'eng' that source_column asks for. The first row names: 'id', 'en', 'en'."
    )
    assert fails("id\ten\ten\n", target_column="en").startswith(
        ":1: 2 columns have the name 'en' that target_column"
    )
    many = "\t".join(f"c{number}" for number in range(999))
    assert len(fails(many, source_column="x")) < 300


def test_columns_that_cannot_be_meant_are_refused(fails):
    assert fails("a\tb\n", source_column=2).startswith(": source and target are both column 2;")
    for number in (0, "0", -1, "-1"):
        assert "counted from 1" in fails("a\tb\n", source_column=number)
    assert "both the key 'x'" in fails("{}", "jsonl", source_column="x", target_column="x")


def test_a_table_with_a_header_only_has_no_pairs(fails):
    assert fails("source\ttarget\n") == (
        ": no pairs to read: it holds no texts. At least one source with its target is needed."
    )


def test_csv_texts_may_hold_commas_quotes_and_line_ends(read):
    content = 'one,"a ""b"", c"\r\n"two\nlines","three\r\n\r\nlines"\n'
    assert read(content, "csv") == [("one", 'a "b", c'), ("two\nlines", "three\r\n\r\nlines")]


def test_csv_errors_name_the_line_on_which_the_row_begins(fails):
    message = fails('a,b\n"two\nlines",c\nd,"never\nclosed\n', "csv")
    assert message.startswith(
        ":4: malformed CSV in the row that begins here: unexpected end of data. A text with"
    )
    assert fails('a,b\n"c"d,e\n', "csv").startswith(":2: malformed CSV")
    assert fails('a,"' + "x\n" * 100_000, "csv").startswith(
        ":1: malformed CSV in the row that begins here: field larger"
    )
    assert fails('a,b\n"x\n\udc80",c\n', "csv").startswith(":3: byte 1 of the line is 0xED")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))] * 2))
)
def test_what_the_csv_module_writes_is_read_back_the_same(pairs):
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("s", "t"), *pairs])
    rows = tables.csv_rows(io.BytesIO(out.getvalue().encode()), "in", "s", "t")
    assert [row[1:] for row in rows] == pairs


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_categories=("Cs",)))] * 2)),
    st.booleans(),
)
def test_what_the_json_module_writes_is_read_back_the_same(pairs, ascii_only):
    content = "".join(json.dumps({"a": a, "b": b}, ensure_ascii=ascii_only) + "\n" for a, b in pairs)
    assert [row[1:] for row in tables.jsonl(io.BytesIO(content.encode()), "in", "a", "b")] == pairs


def test_json_keys_are_source_and_target_or_those_asked_for(read):
    content = '{"id": 1, "source": "a", "target": "b", "x": "c"}\r\n'
    assert read(content, "jsonl") == [("a", "b")]
    assert read(content, "jsonl", source_column="x") == [("c", "b")]
    nested = '{"translation": {"de": "eins", "en": "one"}}\n'
    assert read(nested, "jsonl", source_column="en", target_column="de") == [("one", "eins")]


def test_blank_lines_and_nulls_in_json_count_as_empty(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"source": null, "target": "b"}\n{"source": "a", "target": "b"}\n  \n')
    corpus = read_pairs(path)
    assert (list(corpus), corpus.empty) == ([Pair("a", "b")], 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"source": "a", "target"}',
            "malformed JSON at character 25: Expecting ':' delimiter. Each line must be one",
        ),
        ("[1, 2]", "a JSON list where an object is needed. Each line must be one object such as {"),
        ('"a"', "a JSON text where an object is needed."),
        ("[" * 200_000, "malformed JSON: "),
        ("9" * 5000, "malformed JSON: Exceeds the limit"),
        (
            '{"en": "a", "de": "b"}',
            "no key 'source'. Keys there: 'en', 'de'. Choose by source_column and target_column.",
        ),
        ('{"translation": {"en": "a", "de": "b"}}', "no key 'source'. Keys there: 'en', 'de'. Choose by"),
        ("{}", "no key 'source'. Keys there: none."),
        ('{"source": "a", "target": 3}', "'target' is a JSON number; a text in quotes is needed."),
        ('{"source": ["a"], "target": "b"}', "'source' is a JSON list; a text in quotes is needed."),
        ('{"source": "a", "target": true}', "'target' is a JSON boolean; a text in quotes is needed."),
        (r'{"source": "a\ud83d", "target": "b"}', r"the text 'a\ud83d' holds half of a surrogate pair"),
        (r'{"source": "a", "target": "\u0000"}', r"the text '\x00' holds a NUL character. Remove it."),
    ],
)
def test_a_json_line_that_cannot_be_meant_is_named_by_line(fails, line, message):
    start = '{"source": "a", "target": "b"}\n'
    assert fails(start + line + "\n", "jsonl").startswith(f":2: {message}")

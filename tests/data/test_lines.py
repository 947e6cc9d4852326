"""From bytes to lines, and every way in which bytes can be no lines of text."""

from __future__ import annotations

import errno
import gzip
import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data import lines
from regard.data.corpora import MOST_BYTES_A_LINE, read_lines, read_pairs
from regard.errors import CorpusError


def fails(content: bytes) -> str:
    with pytest.raises(CorpusError) as caught:
        read_lines(io.BytesIO(content), name="in")
    return str(caught.value)


def test_lines_end_at_newlines_only_and_empty_lines_are_kept():
    content = "a\n\n b\u2028b \r\nc\u0085c\vc\fc\x1cc\rc\n\t\nlast".encode()
    assert read_lines(io.BytesIO(content)) == ["a", "", "b\u2028b", "c\u0085c\vc\fc\x1cc\rc", "", "last"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\n", ["a", ""]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
    ],
)
def test_a_missing_last_newline_and_a_byte_order_mark_change_nothing(content, expected):
    assert read_lines(io.BytesIO(content)) == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=("Cs",)))), st.integers(1, 9)
)
def test_lines_do_not_depend_on_where_blocks_are_cut(texts, size):
    content = "".join(text + "\n" for text in ["first", *texts]).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", size)
        assert [line for _, line in lines.text_lines(io.BytesIO(content), "in")] == ["first", *texts]


def test_a_file_and_its_gzipped_form_give_the_same_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert read_lines(tmp_path / "a.txt") == read_lines(str(tmp_path / "a.txt.gz")) == ["one", "two"]


def test_a_stream_of_text_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match=r"sys\.stdin\.buffer"):
        read_lines(io.StringIO("a"))  # type: ignore[arg-type]


def test_a_stream_is_called_what_it_calls_itself(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a\n\xff\n")
    with path.open("rb") as stream, pytest.raises(CorpusError) as caught:
        read_lines(stream)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_invalid_utf_8_names_the_line_and_the_byte():
    assert fails(b"good\n\n gr\xfc\xdfe\n") == (
        "in:3: byte 4 of the line is 0xFC, which is not UTF-8 there. Save the file as UTF-8 text."
    )
    assert fails("ä".encode()[:1]).startswith("in:1: byte 1 of the line is 0xC3")
    assert fails(b"\xed\xa0\x80").startswith("in:1: byte 1 of the line is 0xED")


def test_other_encodings_and_forgotten_endings_are_guessed():
    assert fails("one\n".encode("utf-16")).endswith("It looks like UTF-16: save the file as UTF-8.")
    assert fails(gzip.compress(b"one\n")).endswith("It looks gzipped: let its name end in .gz.")


def test_a_nul_byte_names_the_line_and_the_byte():
    assert fails(b"one\nt\0wo\n") == (
        "in:2: byte 2 of the line is NUL, which no text holds. Save the file as UTF-8 text."
    )


def test_the_first_wrong_line_is_the_one_that_is_named():
    assert fails(b"one\n\xff\n\0\n" + b"x" * (MOST_BYTES_A_LINE + 1)).startswith("in:2: byte 1")


def test_a_line_of_ten_megabytes_is_refused_by_number():
    for end in (b"", b"\n", b"\nmore\n"):
        assert fails(b"one\n" + b"x" * 10_000_000 + end) == (
            "in:2: the line is longer than 1,048,576 bytes, the most that is read. "
            "One text a line is expected; is this a text file?"
        )
    for end in (b"", b"\n"):
        assert read_lines(io.BytesIO(b"x" * MOST_BYTES_A_LINE + end)) == ["x" * MOST_BYTES_A_LINE]
        assert fails(b"x" * (MOST_BYTES_A_LINE + 1) + end).startswith("in:1: the line is longer")


@pytest.mark.parametrize("ending", [".tsv", ".csv", ".jsonl", ".po", ".tmx"])
def test_a_huge_line_is_refused_in_every_format_before_it_fills_the_memory(tmp_path, ending):
    path = tmp_path / f"a{ending}.gz"
    path.write_bytes(gzip.compress(b'<tmx a="' * (ending == ".tmx") + b"x" * 50_000_000, compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError, match=r":1: .* longer than 1,048,576"):
            read_pairs(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_an_mo_file_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("regard.data.catalogs.MOST_BYTES_AN_MO", 1000)
    path = tmp_path / "a.mo"
    path.write_bytes(b"x" * 1001)
    with pytest.raises(CorpusError, match="larger than 1,000 bytes"):
        read_pairs(path)


def test_gzip_cut_short_or_damaged_or_not_gzip_at_all_is_refused(tmp_path):
    whole = gzip.compress("\n".join(f"{n} {n * 7919}" for n in range(9999)).encode())
    path = tmp_path / "a.gz"
    path.write_bytes(whole[:-20])
    with pytest.raises(CorpusError, match=r"a\.gz: the gzip data end too early"):
        read_lines(path)
    for content in (b"plain text\n", whole[:100] + b"\0" * 100 + whole[200:], whole[:-8] + b"\1" * 8):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=r"a\.gz: this is not sound gzip data: .*\. Copy it again"):
            read_lines(path)


def test_a_missing_file_a_folder_and_a_name_that_cannot_be_are_told_apart(tmp_path):
    for path, message in (
        (tmp_path / "none", ": no such file."),
        (tmp_path, ": a file is needed, this is a folder."),
        ("a\0b", r": the file cannot be opened: embedded null byte"),
        ("a" * 5000, ": the file cannot be opened: "),
    ):
        with pytest.raises(CorpusError) as caught:
            read_lines(path)
        assert message in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(CorpusError, match=r"x: no permission to read this file\."):
        read_lines("x")


def test_a_disk_that_fails_while_reading_is_named():
    class Broken:
        def read(self, size: int, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(CorpusError, match=r"^in: reading failed: Input/output error\.$"):
        read_lines(Broken(), name="in")


def test_a_message_is_one_line_whatever_the_file_is_called():
    message = str(lines.error_at("a\nb\u2028\udcff\x1b[31m.tsv", 3, "ä\tö"))
    assert message == r"a\nb\u2028\udcff\x1b[31m.tsv:3: ä\tö"

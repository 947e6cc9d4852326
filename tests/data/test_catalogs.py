"""gettext catalogs: what is a translation, what is not, and agreement with polib and gettext itself."""

from __future__ import annotations

import gettext
import io
import struct

import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data import catalogs
from regard.errors import CorpusError

HEADER = 'msgid ""\nmsgstr ""\n"Last-Translator: J\u00f6rg\\n"\n"Content-Type: text/plain; charset=%s\\n"\n\n'


def po(content: str | bytes) -> list[tuple[int, str, str]]:
    return list(catalogs.po(io.BytesIO(content if isinstance(content, bytes) else content.encode()), "a.po"))


def mo(content: bytes) -> list[tuple[str, str]]:
    return [(source, target) for _, source, target in catalogs.mo(io.BytesIO(content), "a.mo")]


def fails(read, content: str | bytes) -> str:
    with pytest.raises(CorpusError) as caught:
        read(content)
    return str(caught.value)


def test_header_fuzzy_and_obsolete_messages_are_left_out_and_untranslated_ones_are_empty():
    content = HEADER % "UTF-8" + (
        '# a translator\'s note\n#. a note\n#: file.c:3\n#, c-format\nmsgctxt "menu"\nmsgid "open"\n'
        'msgstr "\u00f6ffnen"\n'
        '#, fuzzy, c-format\n#| msgid "old"\nmsgid "guess"\nmsgstr "geraten"\n\n'
        '#, fuzzy\n#~ msgid "gone"\n#~ msgstr "weg"\nmsgid "new"\nmsgstr ""\n"n"\n   "eu"\n'
        'msgid "todo"\nmsgstr ""\n#~ msgid "also gone"\n#~ msgstr "auch weg"\n'
    )
    assert po(content) == [(11, "open", "\u00f6ffnen"), (21, "new", "neu"), (25, "todo", "")]


def test_of_plural_forms_the_first_and_the_last_are_taken():
    content = 'msgid "%d day"\nmsgid_plural "%d days"\n'
    content += 'msgstr[0] "%d dzie\u0144"\nmsgstr[1] "%d dni"\nmsgstr[2] "%d dnia"\n'
    assert po(content) == [(1, "%d day", "%d dzie\u0144"), (1, "%d days", "%d dnia")]
    assert po('msgid "a"\nmsgid_plural "b"\nmsgstr[0] "c"\n') == [(1, "a", "c"), (1, "b", "c")]


def test_only_line_ends_end_lines_and_escapes_are_undone():
    assert po('\ufeffmsgid "a\u2028b\u0085c"\r\nmsgstr "\\"\\\\n\\n\\t\\\\"') == [
        (1, "a\u2028b\u0085c", '"\\n\n\t\\')
    ]
    assert po('msgid "a"\nmsgstr "\\303\\244\\x41\\xc3\\xa4"\n') == [(1, "a", "\u00e4A\u00e4")]


@pytest.mark.parametrize("charset", ["ISO-8859-1", "UTF-8", "utf8", "CHARSET"])
def test_the_character_set_of_the_header_holds_for_the_whole_file(charset):
    encoding = "latin-1" if charset == "ISO-8859-1" else "utf-8"
    content = (HEADER % charset + 'msgid "a"\nmsgstr "\u00e4"\n').encode(encoding)
    assert po(content) == [(6, "a", "\u00e4")]
    assert mo(
        _mo("<", ["", "a"], [f"Content-Type: text/plain; charset={charset}\n", "\u00e4"], encoding)
    ) == [("a", "\u00e4")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            'msgid "a"\nmsgstr "b\n',
            'a.po:2: msgid, msgid_plural, msgstr or msgctxt with a text in "quotes", or a comment, ',
        ),
        ('msgid "a"\nhello\n', "a.po:2: msgid, msgid_plural"),
        ('msgid "a"\nmsgstr "b" "c"\n', "a.po:2: msgid, msgid_plural"),
        ('"a"\n', "a.po:1: msgid, msgid_plural"),
        (
            'msgid "a"\n\nmsgid "b"\nmsgstr "c"\n',
            "a.po:3: a new message begins, but the one on line 1 has no msgstr.",
        ),
        ('msgstr "b"\n', "a.po:1: msgstr does not belong here, after no msgid."),
        ('msgid "a"\nmsgstr "b"\nmsgstr "c"\n', "a.po:3: msgstr does not belong here, after msgid, msgstr."),
        ('msgid "a"\nmsgstr[0] "b"\n', "a.po:2: msgstr[0] does not belong here, after msgid."),
        (
            'msgid "a"\nmsgid_plural "b"\nmsgstr "c"\n',
            "a.po:3: msgstr does not belong here, after msgid, msgid_plural.",
        ),
        ('msgid "a"\nmsgstr "b"\nmsgid_plural "c"\n', "a.po:3: msgid_plural does not belong here"),
        ('msgctxt "a"\nmsgctxt "b"\n', "a.po:2: msgctxt does not belong here"),
        ('msgid[0] "a"\n', "a.po:1: msgid[0] does not belong here"),
        ('msgid "a"\n"b"\n\n', "a.po:3: the file ends within a message, before its msgstr."),
        ('msgid "a"\nmsgstr "\\q"\n', "a.po:2: \\q is not an escape that PO files know."),
        ('msgid "a"\nmsgstr "\\xff"\n', "a.po:2: byte 1 of the line is 0xFF, which is not UTF-8"),
        (b'msgid "a"\nmsgstr "\xff"\n', "a.po:2: byte 9 of the line is 0xFF, which is not UTF-8"),
        (HEADER % "klingon", "a.po: the header names an unknown character set, 'klingon'."),
        (HEADER % "rot13", "a.po: the header names an unknown character set, 'rot13'."),
    ],
)
def test_a_broken_po_file_is_named_by_line(content, message):
    assert fails(po, content).startswith(message)


CHARACTERS = st.characters(exclude_characters="\0\x04", exclude_categories=("Cs",))
MESSAGES = st.lists(
    st.tuples(st.text(CHARACTERS, min_size=1), st.text(CHARACTERS, min_size=1)), unique_by=lambda m: m[0]
)


def _written(messages: list[tuple[str, str]]) -> polib.POFile:
    file = polib.POFile()
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    file.extend(polib.POEntry(msgid=source, msgstr=target) for source, target in messages)
    return file


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MESSAGES)
def test_what_polib_writes_is_read_back_the_same(messages):
    file = _written(messages)
    if not any(
        mark in text for pair in messages for text in pair for mark in "\x1c\x1d\x1e\u2028\u2029\x85\v\f\r"
    ):
        assert [row[1:] for row in po(str(file))] == messages  # polib breaks its own lines at these
    assert sorted(mo(file.to_binary())) == sorted(messages)


def test_real_looking_catalogs_are_read_as_polib_and_gettext_read_them():
    source = HEADER % "UTF-8" + (
        '#, fuzzy\nmsgid "guess"\nmsgstr "geraten"\n\n'
        'msgctxt "menu"\nmsgid "Open \\"%s\\""\nmsgstr "\u00d6ffne\\n"\n'
        '" %s"\n\n'
        'msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d Datei"\nmsgstr[1] "%d Dateien"\n'
    )
    theirs = polib.pofile(source)
    expected = [('Open "%s"', "\u00d6ffne\n %s"), ("%d file", "%d Datei"), ("%d files", "%d Dateien")]
    assert [row[1:] for row in po(source)] == expected
    assert {entry.msgid for entry in theirs.translated_entries()} == {expected[0][0], expected[1][0]}
    binary = theirs.to_binary()
    assert sorted(mo(binary)) == sorted(expected)
    translations = gettext.GNUTranslations(io.BytesIO(binary))
    assert translations.pgettext("menu", expected[0][0]) == expected[0][1]
    assert translations.ngettext("%d file", "%d files", 1) == "%d Datei"


def _mo(
    order: str, sources: list[str], targets: list[str], encoding: str = "utf-8", revision: int = 0
) -> bytes:
    """Write an MO file in either byte order."""
    texts = [text.encode(encoding) for text in sources + targets]
    start = 28 + 8 * len(texts)
    table, body = b"", b""
    for text in texts:
        table += struct.pack(f"{order}2I", len(text), start + len(body))
        body += text + b"\0"
    numbers = (0x950412DE, revision, len(sources), 28, 28 + 8 * len(sources), 0, 0)
    return struct.pack(f"{order}7I", *numbers) + table + body


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_contexts_and_plurals_of_an_mo_file_are_read(order):
    content = _mo(order, ["", "menu\x04one", "day\0days"], ["Language: de\n", "eins", "Tag\0Tage\0Tagen"])
    assert mo(content) == [("one", "eins"), ("day", "Tag"), ("days", "Tagen")]
    theirs = polib.mofile(content)  # type: ignore[arg-type]  # it also takes the content
    assert sorted(mo(content)) == sorted(
        [(entry.msgid, entry.msgstr) for entry in theirs if not entry.msgid_plural]
        + [("day", "Tag"), ("days", "Tagen")]
    )


def test_a_broken_mo_file_is_refused():
    whole = _mo("<", ["", "one"], ["", "eins"])
    for end in range(1, len(whole) - 1):
        assert fails(mo, whole[:end]).startswith("a.mo: ")
    assert fails(mo, whole[:40]) == (
        "a.mo: the MO file points past its own end: it was cut short or damaged. Copy it again."
    )
    assert (
        fails(mo, b'msgid "a"') == "a.mo: not an MO file: it begins with the bytes 6d736769. Is it a PO file?"
    )
    assert fails(mo, _mo("<", ["a"], ["b"], revision=0x20000)).startswith("a.mo: an MO file of revision 2;")
    assert fails(mo, _mo("<", ["a"], ["\xe4"], "latin-1")).startswith(
        "a.mo: byte 1 of a text is 0xE4, which is not UTF-8"
    )
    huge = struct.pack("<5I", 0x950412DE, 0, 0xFFFFFFFF, 28, 28) + whole[20:]
    assert fails(mo, huge).startswith("a.mo: the MO file points past its own end")
    assert fails(mo, _mo("<", ["a"], ["x" * (2**20 + 1)])).startswith(
        "a.mo: message 1 is 1,048,577 bytes long;"
    )

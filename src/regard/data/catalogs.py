"""Readers for gettext's message catalogs: PO, the text form, and MO, the binary one.

The source is what the program says (msgid), the target its translation (msgstr). Left out are the header,
obsolete messages (``#~``) and fuzzy ones, which are guesses; an untranslated message is a pair with an empty
side. Of a message with plural forms, msgid goes with the first form and msgid_plural with the last. Contexts
(msgctxt) are not read.

Source: GNU gettext manual, "The Format of PO Files" and "The Format of GNU MO Files".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from regard.data.lines import MOST_BYTES_A_LINE, Readable, blocks, decoded, error_at, excerpt, raw_lines
from regard.data.tables import Row

MOST_BYTES_AN_MO = 2**28
"""The largest MO file that is read, unpacked: 256 MiB. The one format that has to be in memory whole."""

_CHARSET = re.compile(rb"Content-Type:[^\n]*charset=([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_STATEMENT = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d{1,2})\])?\s*"((?:[^"\\]|\\.)*)"')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"((?:\\[0-7]{1,3}|\\x[0-9A-Fa-f]{2})+)|\\(.)")
_BYTE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|([0-7]{1,3}))")
_PLAIN_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    '"': '"',
    "\\": "\\",
}


def po(stream: Readable, name: str) -> Iterator[Row]:
    """Read the translated messages of a PO file, in the character set that its header names, else UTF-8.

    Raises:
        CorpusError: a line is no part of the format, a message has no msgstr, or the character set is
            unknown.
    """
    lines = list(raw_lines(stream, name))
    charset = _charset(b"\n".join(raw for _, raw in lines[:100]), name)
    entry = _Entry(name)
    for number, raw in lines:
        line = decoded(raw, name, number, charset).strip()
        if (
            entry.complete
            and line.startswith(("#", "msgctxt", "msgid"))
            and not line.startswith("msgid_plural")
        ):
            yield from entry.rows()
            entry = _Entry(name)
        if line.startswith("#"):
            entry.comment(line)
        elif line:
            entry.add(line, number, charset)
    if entry.fields and not entry.complete:
        raise error_at(
            name, lines[-1][0], "the file ends within a message, before its msgstr. Get it whole again."
        )
    yield from entry.rows()


@dataclass
class _Entry:
    """One message of a PO file while its lines come in."""

    name: str
    fields: dict[str, str] = field(default_factory=dict)  # in the order read; plural forms as "msgstr[0]", …
    line: int = 0
    fuzzy: bool = False
    open: str = ""  # the field that a bare string continues

    @property
    def complete(self) -> bool:
        return any(key.startswith("msgstr") for key in self.fields)

    def comment(self, line: str) -> None:
        if line.startswith("#,"):
            self.fuzzy |= "fuzzy" in (flag.strip() for flag in line[2:].split(","))
        elif line.startswith("#~") and not self.fields:
            self.fuzzy = False  # the flag before it belongs to the obsolete message

    def add(self, line: str, number: int, charset: str) -> None:
        """Take in one statement, or a string that continues the last one."""
        if (string := _STRING.fullmatch(line)) and self.open:
            self.fields[self.open] += _unescaped(string[1], charset, self.name, number)
            return
        statement = _STATEMENT.fullmatch(line)
        if not statement:
            expected = (
                'msgid, msgid_plural, msgstr or msgctxt with a text in "quotes", or a comment, is expected'
            )
            raise error_at(self.name, number, f"{expected}; got {excerpt(line)}. Mend this line.")
        keyword, index, text = statement.groups()
        key = keyword if index is None else f"{keyword}[{int(index)}]"
        self._check_order(keyword, key, number)
        if keyword == "msgid":
            self.line = number
        self.open = key
        self.fields[key] = _unescaped(text, charset, self.name, number)

    def _check_order(self, keyword: str, key: str, number: int) -> None:
        """msgctxt? msgid (msgstr | msgid_plural msgstr[0] msgstr[1]…), each once."""
        known = self.fields
        plural = "msgid_plural" in known
        fits = (
            key not in known
            and {
                "msgctxt": key == keyword and not known,
                "msgid": key == keyword,
                "msgid_plural": key == keyword and "msgid" in known and not self.complete,
                "msgstr": "msgid" in known and (key != keyword) == plural,
            }[keyword]
        )
        if fits:
            return
        if keyword in ("msgid", "msgctxt") and "msgid" in known:
            message = f"a new message begins, but the one on line {self.line} has no msgstr. Add it."
        else:
            message = (
                f"{key} does not belong here, after {', '.join(known) or 'no msgid'}. Mend this message."
            )
        raise error_at(self.name, number, message)

    def rows(self) -> Iterator[Row]:
        is_header = self.fields.get("msgid") == "" and "msgctxt" not in self.fields
        if not self.fields or self.fuzzy or is_header:
            return
        forms = [text for key, text in self.fields.items() if key.startswith("msgstr")]
        yield self.line, self.fields["msgid"], forms[0]
        if "msgid_plural" in self.fields:
            yield self.line, self.fields["msgid_plural"], forms[-1]


def mo(stream: Readable, name: str) -> Iterator[Row]:
    """Read the messages of an MO file of either byte order, in the character set it names, else UTF-8.

    Raises:
        CorpusError: the file is no MO file, is cut short, or a text is not in its character set.
    """
    data = bytearray()
    for block in blocks(stream, name):
        data += block
        if len(data) > MOST_BYTES_AN_MO:
            raise error_at(
                name, 0, f"larger than {MOST_BYTES_AN_MO:,} bytes, the most that is read of an MO file."
            )
    messages = list(_messages(bytes(data), name))
    header = next((target for source, target in messages if not source), b"")
    charset = _charset(header, name)
    for source, target in messages:
        if not source:
            continue
        sources = decoded(source, name, 0, charset).rpartition("\x04")[2].split("\0")
        targets = decoded(target, name, 0, charset).split("\0")
        yield 0, sources[0], targets[0]
        if len(sources) > 1:
            yield 0, sources[1], targets[-1]


def _messages(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Cut an MO file into its messages by the two tables of (length, offset) that it begins with."""
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(data[:4])
    if not data:
        return
    if order is None:
        raise error_at(
            name, 0, f"not an MO file: it begins with the bytes {data[:4].hex()}. Is it a PO file?"
        )
    try:
        revision, count, sources, targets = struct.unpack_from(f"{order}4I", data, 4)
        if revision >> 16 > 1:
            raise error_at(
                name, 0, f"an MO file of revision {revision >> 16}; 0 and 1 are known. Use its PO file."
            )
        tables = [struct.unpack_from(f"{order}{2 * count}I", data, start) for start in (sources, targets)]
    except (struct.error, OverflowError, MemoryError):
        raise _cut_short(name) from None
    for index in range(0, 2 * count, 2):
        pair = []
        for table in tables:
            length, offset = table[index], table[index + 1]
            if length > MOST_BYTES_A_LINE:
                message = (
                    f"message {index // 2 + 1} is {length:,} bytes long; {MOST_BYTES_A_LINE:,} are the most."
                )
                raise error_at(name, 0, message)
            if offset + length > len(data):
                raise _cut_short(name)
            pair.append(data[offset : offset + length])
        yield pair[0], pair[1]


def _cut_short(name: str) -> Exception:
    return error_at(
        name, 0, "the MO file points past its own end: it was cut short or damaged. Copy it again."
    )


def _charset(header: bytes, name: str) -> str:
    """Find the character set that a catalog's header names."""
    found = _CHARSET.search(header)
    charset = found[1].decode("ascii") if found else "utf-8"
    if charset.upper() in ("CHARSET", "UTF-8", "UTF8"):
        return "utf-8"
    try:
        "a".encode(charset)
    except (LookupError, UnicodeError):
        raise error_at(
            name, 0, f"the header names an unknown character set, {charset!r}. Save it as UTF-8."
        ) from None
    return charset


def _unescaped(text: str, charset: str, name: str, number: int) -> str:
    """Undo C's escapes; ``\\303\\244`` are bytes in the file's character set."""

    def undo(match: re.Match[str]) -> str:
        if match[1]:
            pieces = _BYTE.findall(match[1])
            raw = bytes(int(sixteen, 16) if sixteen else int(eight, 8) & 255 for sixteen, eight in pieces)
            return decoded(raw, name, number, charset)
        if match[2] not in _PLAIN_ESCAPES:
            raise error_at(
                name, number, f"\\{match[2]} is not an escape that PO files know. Write \\\\ for one \\."
            )
        return _PLAIN_ESCAPES[match[2]]

    return _ESCAPE.sub(undo, text) if "\\" in text else text

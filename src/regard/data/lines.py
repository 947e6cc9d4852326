"""From bytes to lines of text: gzip, UTF-8, line ends, and errors that name the file and the line.

A line ends at ``\\n`` or ``\\r\\n`` and nowhere else: U+2028, U+0085, vertical tab and form feed belong to
the text.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from regard.errors import CorpusError

MOST_BYTES_A_LINE = 2**20
"""The longest line, or text, that is read: 1 MiB. A longer one is refused before it fills the memory."""

BLOCK = 2**16
"""Bytes read at a time."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Readable(Protocol):
    """A binary stream: an open file, a gzip stream, ``sys.stdin.buffer``."""

    def read(self, size: int, /) -> bytes: ...


def error_at(name: str, line: int, message: str) -> CorpusError:
    """Make the error for one place in a file: one line of printable text that starts with ``name:line: ``.

    Args:
        name: the file as the user called it.
        line: counted from 1; 0 where there is no line to name, then the message starts with ``name: ``.
        message: what was expected, what came, what to do.
    """
    text = f"{name}:{line}: {message}" if line else f"{name}: {message}"
    return CorpusError("".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text))


def excerpt(text: str, most: int = 40) -> str:
    """Quote the start of a text for a message, on one line and at most ``most`` characters of it."""
    return repr(text if len(text) <= most else text[:most] + "…")


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Readable]:
    """Open a file for reading bytes, unpacked where its name ends in ``.gz``.

    Raises:
        CorpusError: the file is missing, a folder, or not readable.
    """
    name = os.fspath(path)
    with _open(name) as file:
        if not name.lower().endswith(".gz"):
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield unpacked


def _open(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise error_at(
            name, 0, "no such file. Check the path; it is taken from the current folder."
        ) from None
    except IsADirectoryError:
        raise error_at(name, 0, "a file is needed, this is a folder. Name a file inside it.") from None
    except PermissionError:
        raise error_at(
            name, 0, "no permission to read this file. Change its permissions or copy it."
        ) from None
    except (OSError, ValueError) as error:
        raise error_at(name, 0, f"the file cannot be opened: {_reason(error)}. Check the path.") from error


def blocks(stream: Readable, name: str) -> Iterator[bytes]:
    """Read a binary stream piece by piece.

    Raises:
        CorpusError: the gzip data are damaged or cut short, or reading fails.
        TypeError: the stream holds text, not bytes.
    """
    while True:
        try:
            block = stream.read(BLOCK)
        except EOFError:
            raise error_at(
                name, 0, "the gzip data end too early: the file was cut short. Copy it again."
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            message = (
                f"this is not sound gzip data: {_reason(error)}. Copy it again, or drop .gz from its name."
            )
            raise error_at(name, 0, message) from error
        except OSError as error:
            raise error_at(name, 0, f"reading failed: {_reason(error)}.") from error
        if isinstance(block, str):
            raise TypeError("A binary stream is needed, such as sys.stdin.buffer; this one holds text.")
        if not block:
            return
        yield block


def raw_lines(stream: Readable, name: str) -> Iterator[tuple[int, bytes]]:
    """Split a binary stream at ``\\n``; yield line numbers from 1 with the bytes before it, ``\\r`` included.

    A byte order mark at the start is left out.

    Raises:
        CorpusError: a line is longer than ``MOST_BYTES_A_LINE`` or holds a NUL byte; or as ``blocks``.
    """
    number, rest = 0, b""
    for block in blocks(stream, name):
        *whole, rest = (rest + block).split(b"\n")
        for raw in whole:
            number += 1
            yield number, _checked(raw, name, number)
        if len(rest) > MOST_BYTES_A_LINE:
            _checked(rest, name, number + 1)
    if rest:
        yield number + 1, _checked(rest, name, number + 1)


def text_lines(stream: Readable, name: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers from 1 with the lines of a UTF-8 stream; ``\\n`` is left out, ``\\r`` not.

    Raises:
        CorpusError: a line is not UTF-8, too long, or holds a NUL byte; or as ``blocks``.
    """
    for number, raw in raw_lines(stream, name):
        yield number, decoded(raw, name, number)


def decoded(raw: bytes, name: str, number: int, charset: str = "utf-8") -> str:
    """Decode one line, or say which of its bytes, counted from 1, does not belong to the character set."""
    try:
        return raw.decode(charset)
    except UnicodeDecodeError as error:
        label = "UTF-8" if charset == "utf-8" else charset
        where = f"byte {error.start + 1} of the line" if number else f"byte {error.start + 1} of a text"
        message = f"{where} is 0x{raw[error.start]:02X}, which is not {label} there. {_advice(raw, number)}"
        raise error_at(name, number, message) from None
    except UnicodeError as error:
        raise error_at(name, number, f"this is not {charset}: {error}. {_advice(raw, number)}") from None


def checked_text(text: str, name: str, line: int) -> str:
    """Return the text, or raise for one with NUL, half a character, or a length past all sense."""
    if "\0" in text:
        raise error_at(name, line, f"the text {excerpt(text)} holds a NUL character. Remove it.")
    if len(text) > MOST_BYTES_A_LINE:
        raise error_at(name, line, f"{_too_long('a text')} Cut it into sentences.")
    try:
        text.encode()
    except UnicodeEncodeError:
        message = (
            f"the text {excerpt(text)} holds half of a surrogate pair, which is no character. Remove it."
        )
        raise error_at(name, line, message) from None
    return text


def _checked(raw: bytes, name: str, number: int) -> bytes:
    if len(raw) > MOST_BYTES_A_LINE:
        raise error_at(
            name, number, f"{_too_long('the line')} One text a line is expected; is this a text file?"
        )
    if b"\0" in raw:
        message = f"byte {raw.index(0) + 1} of the line is NUL, which no text holds. {_advice(raw, number)}"
        raise error_at(name, number, message)
    return raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw


def _too_long(what: str) -> str:
    return f"{what} is longer than {MOST_BYTES_A_LINE:,} bytes, the most that is read."


def _advice(raw: bytes, number: int) -> str:
    """Guess from the first bytes of a file what it is instead of UTF-8 text."""
    if number == 1 and raw.startswith(b"\x1f\x8b"):
        return "It looks gzipped: let its name end in .gz."
    if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "It looks like UTF-16: save the file as UTF-8."
    return "Save the file as UTF-8 text."


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

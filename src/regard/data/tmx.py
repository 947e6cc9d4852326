"""Reader for TMX, the exchange format of translation memories.

Of each unit (tu) the text of one language is the source, of another the target; of several variants in one
language the first. Codes of the original document inside a text (bpt, ept, it, ph, ut) are left out,
highlighted text (hi) stays.

Source: TMX 1.4b specification, Localization Industry Standards Association 2005.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from xml.parsers import expat

from regard.data.lines import MOST_BYTES_A_LINE, Readable, blocks, error_at
from regard.data.tables import Column, Row
from regard.errors import CorpusError

Unit = tuple[int, Mapping[str, str]]
"""The line a unit begins on, and its texts by language."""

_CODES = frozenset({"bpt", "ept", "it", "ph", "ut"})


def tmx(stream: Readable, name: str, source_column: Column, target_column: Column) -> Iterator[Row]:
    """Read the units of a TMX file in two languages, without building a tree of it.

    Args:
        stream: the file's bytes.
        name: what to call it in errors.
        source_column: language code, such as ``en``, which also finds ``en-GB``; by default what the header
            says.
        target_column: language code; by default the only other language in the file.

    Yields:
        A row a unit; a language that the unit lacks gives an empty text.

    Raises:
        CorpusError: malformed XML, entity declarations, or languages that are absent or ambiguous.
    """
    memory = _Memory(name)
    units: Iterable[Unit] = memory.read(stream)
    if source_column is None or target_column is None:
        units = list(units)
        if not units:
            return
    source = memory.default_source() if source_column is None else str(source_column)
    target = memory.default_target(source) if target_column is None else str(target_column)
    if _normal(source) == _normal(target):
        message = f"source and target are both {source!r}. {memory.known()} Choose two of them."
        raise error_at(name, 0, message)
    for line, texts in units:
        yield line, _pick(texts, source, name, line), _pick(texts, target, name, line)
    for label, code in (("source", source), ("target", target)):
        if memory.units and not any(_matches(code, language) for language in memory.languages):
            message = f"no unit has the {label} language {code!r}. {memory.known()} Choose by {label}_column."
            raise error_at(name, 0, message)


class _Memory:
    """What has been seen of a translation memory, and the handlers that see it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.languages: dict[str, None] = {}
        self.source_language = ""
        self.units = 0
        self._ready: list[Unit] = []
        self._root = ""
        self._line = 0
        self._texts: dict[str, str] | None = None
        self._language: str | None = None
        self._pieces: list[str] | None = None
        self._size = 0
        self._codes = 0
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity_declared
        parser.SkippedEntityHandler = self._entity_skipped

    def read(self, stream: Readable) -> Iterator[Unit]:
        """Yield the units as the file goes by."""
        fed = 0
        for block in blocks(stream, self.name):
            fed += len(block)
            self._parse(block, final=False)
            if fed - self._parser.CurrentByteIndex > MOST_BYTES_A_LINE + len(block):
                raise self._error(
                    f"a tag or comment is longer than {MOST_BYTES_A_LINE:,} bytes. Is this a TMX file?"
                )
            yield from self._ready
            self._ready.clear()
        if fed:
            self._parse(b"", final=True)
            yield from self._ready

    def default_source(self) -> str:
        if self.source_language and self.source_language != "*all*":
            return self.source_language
        raise error_at(
            self.name, 0, f"the header names no source language. {self.known()} Give source_column."
        )

    def default_target(self, source: str) -> str:
        others = {_normal(code): code for code in self.languages if not _matches(source, code)}
        if len(others) == 1:
            return next(iter(others.values()))
        message = f"one language besides the source {source!r} is needed. {self.known()} Give target_column."
        raise error_at(self.name, 0, message)

    def known(self) -> str:
        return f"Languages there: {', '.join(sorted(self.languages)) or 'none'}."

    def _parse(self, block: bytes, final: bool) -> None:
        try:
            self._parser.Parse(block, final)
        except CorpusError:
            raise
        except expat.ExpatError as error:
            reason = f"malformed XML: {expat.ErrorString(error.code)} at column {error.offset + 1}"
            raise error_at(self.name, error.lineno, f"{reason}. Export the TMX file again.") from error
        except (ValueError, LookupError) as error:
            raise self._error(f"the XML cannot be read: {error}. Save it as UTF-8.") from error

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._root:
            self._root = tag
            if tag != "tmx":
                raise self._error(f"the XML begins with <{tag}>; a TMX file begins with <tmx>.")
        elif tag == "header":
            self.source_language = attributes.get("srclang", "")
        elif tag == "tu":
            self._texts, self._line = {}, self._parser.CurrentLineNumber
        elif tag == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang")
            if not self._language:
                raise self._error('a <tuv> has no language. Write it as <tuv xml:lang="en">.')
            self.languages[self._language] = None
        elif tag == "seg":
            self._pieces, self._size, self._codes = [], 0, 0
        elif tag in _CODES:
            self._codes += 1

    def _end(self, tag: str) -> None:
        if tag == "seg":
            if self._texts is not None and self._language and self._pieces is not None:
                self._texts.setdefault(self._language, "".join(self._pieces))
            self._pieces = None
        elif tag == "tuv":
            self._language = None
        elif tag == "tu" and self._texts is not None:
            self._ready.append((self._line, self._texts))
            self.units += 1
            self._texts = None
        elif tag in _CODES:
            self._codes -= 1

    def _characters(self, text: str) -> None:
        if self._pieces is None or self._codes:
            return
        self._size += len(text)
        if self._size > MOST_BYTES_A_LINE:
            raise self._error(
                f"a text is longer than {MOST_BYTES_A_LINE:,} characters. Cut it into sentences."
            )
        self._pieces.append(text)

    def _entity_declared(self, entity: str, *_: object) -> None:
        raise self._error(
            f"the file declares the entity {entity!r}, which is refused as unsafe. Write the text out."
        )

    def _entity_skipped(self, entity: str, *_: object) -> None:
        raise self._error(f"the entity &{entity}; has no meaning in this file. Write the character itself.")

    def _error(self, message: str) -> CorpusError:
        return error_at(self.name, self._parser.CurrentLineNumber, message)


def _normal(code: str) -> str:
    return code.lower().replace("_", "-")


def _matches(code: str, language: str) -> bool:
    """Say whether a language is the one asked for or a regional form of it: ``en`` also means ``en-GB``."""
    return _normal(language) == _normal(code) or _normal(language).startswith(_normal(code) + "-")


def _pick(texts: Mapping[str, str], code: str, name: str, line: int) -> str:
    exact = [language for language in texts if _normal(language) == _normal(code)]
    found = exact or [language for language in texts if _matches(code, language)]
    if len({_normal(language) for language in found}) > 1:
        message = f"{code!r} may mean {' or '.join(sorted(found))} here. Choose one by its whole code."
        raise error_at(name, line, message)
    return texts[found[0]] if found else ""

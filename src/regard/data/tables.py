"""Readers for texts in rows: TSV, CSV, JSON lines, and two files of which line i belongs to line i."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from itertools import zip_longest

from regard.data.lines import Readable, error_at, excerpt, text_lines

Column = str | int | None
"""A column of a table: its number from 1, its name in the first row, or None for the usual one."""

Row = tuple[int, str, str]
"""The line a pair begins on, its source text, its target text; not yet stripped."""


def tsv(stream: Readable, name: str, source_column: Column, target_column: Column) -> Iterator[Row]:
    """Read tab-separated rows. A tab always separates; quotes are part of the text.

    Raises:
        CorpusError: a row has too few columns, or a column that was asked for is not there.
    """
    rows = ((number, line.split("\t")) for number, line in text_lines(stream, name))
    return _table(rows, name, (source_column, target_column), "tabs")


def csv_rows(stream: Readable, name: str, source_column: Column, target_column: Column) -> Iterator[Row]:
    """Read comma-separated rows, in quotes where a text holds commas, quotes (doubled) or line ends.

    A cell holds at most ``csv.field_size_limit()`` characters, 131,072 unless the program sets another limit.

    Raises:
        CorpusError: as ``tsv``, or a quote is not closed.
    """
    return _table(_csv_cells(stream, name), name, (source_column, target_column), "commas")


def jsonl(stream: Readable, name: str, source_column: Column, target_column: Column) -> Iterator[Row]:
    """Read one JSON object a line; the columns are keys, ``source`` and ``target`` where not given.

    Languages inside a ``translation`` object, ``{"translation": {"en": "…", "de": "…"}}``, are found by their
    key. A blank line or a null is an empty text.

    Raises:
        CorpusError: a line is not a JSON object, lacks a key, or holds something else than text there.
    """
    source_key = "source" if source_column is None else str(source_column)
    target_key = "target" if target_column is None else str(target_column)
    if source_key == target_key:
        message = f"source and target are both the key {source_key!r}; two different ones are needed."
        raise error_at(name, 0, message)
    for number, line in text_lines(stream, name):
        if not line.strip():
            yield number, "", ""
            continue
        record = _json_object(line, name, number)
        inner = record.get("translation")
        if isinstance(inner, dict) and source_key not in record:
            record = inner
        source, target = (_json_text(record, key, name, number) for key in (source_key, target_key))
        yield number, source, target


def plain(source: Readable, source_name: str, target: Readable, target_name: str) -> Iterator[Row]:
    """Read two files of which line i of one belongs to line i of the other.

    Raises:
        CorpusError: the files have different numbers of lines.
    """
    both = zip_longest(text_lines(source, source_name), text_lines(target, target_name))
    for number, (one, other) in enumerate(both, start=1):
        if one is not None and other is not None:
            yield number, one[1], other[1]
            continue
        longest = number + sum(1 for _ in both)
        counts = (longest, number - 1) if other is None else (number - 1, longest)
        message = (
            f"this line has no partner: {source_name} has {counts[0]:,} lines, {target_name} has "
            f"{counts[1]:,}. Line i of one must belong to line i of the other."
        )
        raise error_at(source_name if other is None else target_name, number, message)


def _table(
    rows: Iterator[tuple[int, list[str]]], name: str, columns: tuple[Column, Column], separator: str
) -> Iterator[Row]:
    """Pick two cells of each row, by names in the first row or by numbers."""
    for number, cells in rows:
        if not _is_blank(cells):
            break
        yield number, "", ""
    else:
        return
    headed, source, target = _choose(cells, name, number, columns)
    if not headed:
        yield _cells(number, cells, source, target, name, separator)
    for number, cells in rows:
        yield _cells(number, cells, source, target, name, separator)


def _cells(number: int, cells: list[str], source: int, target: int, name: str, separator: str) -> Row:
    needed = max(source, target) + 1
    if len(cells) >= needed:
        return number, cells[source], cells[target]
    if _is_blank(cells):
        return number, "", ""
    message = (
        f"{_count(len(cells))} where {needed} are needed: the source is column {source + 1}, the "
        f"target column {target + 1}, separated by {separator}. "
        f"Got {excerpt(cells[0])}. Mend or remove this row."
    )
    raise error_at(name, number, message)


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def _choose(cells: list[str], name: str, line: int, columns: tuple[Column, Column]) -> tuple[bool, int, int]:
    """Find the two columns, from 0, and whether the first row is a header and no pair."""
    names = [cell.strip() for cell in cells]
    lower = [cell.lower() for cell in names]
    usual = "source" in lower and "target" in lower
    headed = usual or any(isinstance(column, str) and not _is_number(column) for column in columns)
    found: list[int] = []
    for default, (label, column) in enumerate(zip(("source", "target"), columns, strict=True)):
        if column is None:
            found.append(lower.index(label) if usual else default)
        elif _is_number(column):
            found.append(int(column) - 1)
        else:
            found.append(names.index(_sole(str(column), names, name, line, label)))
    if min(found) < 0:
        raise error_at(name, 0, "source_column and target_column are counted from 1; 1 or more is needed.")
    if found[0] == found[1]:
        message = f"source and target are both column {found[0] + 1}; two different ones are needed."
        raise error_at(name, 0, message)
    return headed, found[0], found[1]


def _is_number(column: str | int) -> bool:
    return isinstance(column, int) or bool(re.fullmatch(r"-?[0-9]{1,9}", column))


def _sole(column: str, names: list[str], name: str, line: int, label: str) -> str:
    if names.count(column) == 1:
        return column
    there = f"{names.count(column)} columns have" if column in names else "no column has"
    message = (
        f"{there} the name {column!r} that {label}_column asks for. The first row names: {_listed(names)}."
    )
    raise error_at(name, line, message)


def _csv_cells(stream: Readable, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line each record begins on, and its cells."""
    reader = csv.reader((line + "\n" for _, line in text_lines(stream, name)), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = (
                f"malformed CSV in the row that begins here: {error}. A text with commas, quotes or line "
                'ends needs quotes around it, and every quote inside doubled: "a ""b"" c".'
            )
            raise error_at(name, begins, message) from error
        yield begins, cells


def _json_object(line: str, name: str, number: int) -> dict[str, object]:
    expected = 'Each line must be one object such as {"source": "…", "target": "…"}.'
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        message = f"malformed JSON at character {error.colno}: {error.msg}. {expected}"
        raise error_at(name, number, message) from error
    except (ValueError, RecursionError) as error:
        raise error_at(name, number, f"malformed JSON: {error}. {expected}") from error
    if not isinstance(value, dict):
        raise error_at(name, number, f"a JSON {_kind(value)} where an object is needed. {expected}")
    return value


def _json_text(record: dict[str, object], key: str, name: str, number: int) -> str:
    value = record.get(key)
    if isinstance(value, str):
        return value
    if key not in record:
        message = (
            f"no key {key!r}. Keys there: {_listed(list(record))}. Choose by source_column and target_column."
        )
        raise error_at(name, number, message)
    if value is None:
        return ""
    raise error_at(name, number, f"{key!r} is a JSON {_kind(value)}; a text in quotes is needed.")


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _count(columns: int) -> str:
    return "1 column" if columns == 1 else f"{columns} columns"


def _listed(names: list[str], most: int = 20) -> str:
    shown = [excerpt(name) for name in names[:most]] + (["…"] if len(names) > most else [])
    return ", ".join(shown) or "none"

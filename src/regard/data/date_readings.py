"""Which formats of dates can stand side by side in one corpus: no text may have two readings.

`3/4/26` is the third of April to most of the world and the fourth of March to the United States. A model
trained on both could only guess, and a test on both could not tell a mistake from the other custom.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from regard.data.date_patterns import FIRST_YEAR, DateFormat, formats, read_locale
from regard.errors import InputError


@dataclass(frozen=True)
class LeftOut:
    """A format that is not in the mix, and a text of its that would have had two readings.

    Attributes:
        format: the format that was left out.
        text: what it writes, with case, kinds of space and invisible marks levelled and any name for the
            weekday.
        kept: the day that the text means by a format kept before (or by the same format, written without
            spaces).
        lost: the day that it would have meant by this one.
    """

    format: DateFormat
    text: str
    kept: datetime.date
    lost: datetime.date

    def __str__(self) -> str:
        written = f"{self.format.locale} {self.format.pattern!r}"
        return f"{written}: {self.text!r} is read as {self.kept}, not {self.lost}"


@dataclass(frozen=True)
class Mix:
    """The formats of several locales that can be read side by side, and those that cannot.

    Attributes:
        formats: the formats kept, locale by locale.
        left_out: the formats that contradict one kept before them.
    """

    formats: tuple[DateFormat, ...]
    left_out: tuple[LeftOut, ...]


@lru_cache(maxsize=32)
def mix(locales: tuple[str, ...]) -> Mix:
    """Collect the formats of some locales so that no text has two readings.

    First come, first kept: where `d/M/yy` came before, `M/d/yy` is left out. Two formats contradict each
    other if they write one text for two dates, and this is simply tried, on the dates whose two-digit year
    and day are each one of 1, 2, 3, 10, 11 and 12, in every month. That set holds all rearrangements of its
    years, months and days, with one digit and with two, and every name of a month. So two orders of one
    shape meet in it, and so does a name with two meanings.

    The comparison is that of a hasty reader: without regard to case, kinds of space and invisible marks,
    and without computing the weekday to find out which number is the month.

    Args:
        locales: identifiers as in `read_locale`; a repeated one counts once.

    Returns:
        The formats kept and those left out.

    Raises:
        InputError: no locale is given, one is unknown, or no format of a locale can be kept.
    """
    if not locales:
        raise InputError("mix(): at least one locale is needed, such as 'en_GB'. Got none.")
    readings: dict[str, datetime.date] = {}
    kept: list[DateFormat] = []
    left_out: list[LeftOut] = []
    for identifier in dict.fromkeys(str(read_locale(name)) for name in locales):
        before = len(kept)
        for candidate in formats(identifier):
            contradiction = _contradiction(candidate, readings)
            if contradiction is None:
                kept.append(candidate)
            else:
                left_out.append(contradiction)
        if len(kept) == before:
            raise InputError(
                f"mix(): no format of {identifier} has one reading beside the others; leave it out."
            )
    return Mix(tuple(kept), tuple(left_out))


def _contradiction(candidate: DateFormat, readings: dict[str, datetime.date]) -> LeftOut | None:
    """Add a format's readings to those of the formats before it, unless it contradicts them."""
    added: dict[str, datetime.date] = {}
    for text, date in _read_hastily(candidate):
        other = readings.get(text) or added.get(text)
        if other is not None and other != date:
            return LeftOut(candidate, text, kept=other, lost=date)
        added[text] = date
    readings.update(added)
    return None


def _read_hastily(candidate: DateFormat) -> Iterator[tuple[str, datetime.date]]:
    """Write the witnesses as a hasty reader sees them.

    The weekday follows from the sum of year, month and day: dates that differ only in the order of the
    three get the same one, and each of the seven names is tried.
    """
    pieces = [(piece.by, [_level(string) for string in piece.strings]) for piece in candidate.pieces]
    for date in _witnesses():
        weekday = (date.year + date.month + date.day) % 7
        at = (date.year - FIRST_YEAR, date.month - 1, date.day - 1, weekday, 0)
        yield "".join([strings[at[by]] for by, strings in pieces]), date


@lru_cache(maxsize=1)
def _witnesses() -> tuple[datetime.date, ...]:
    numbers = (1, 2, 3, 10, 11, 12)
    months = range(1, 13)
    return tuple(
        datetime.date(2000 + year, month, day) for year in numbers for month in months for day in numbers
    )


def _level(text: str) -> str:
    visible = [char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf"]
    return "".join([" " if char.isspace() else char for char in visible]).casefold()

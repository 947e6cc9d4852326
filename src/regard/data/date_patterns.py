"""The ways in which people of many languages write a date, from the CLDR patterns that Babel carries.

A `DateFormat` writes a date and says, for every character it writes, which field of the date that character
came from; `formats` finds those of a locale.

Text is kept as CLDR gives it: narrow and no-break spaces (U+202F, U+00A0) and right-to-left marks (U+200F)
stay where the locale's own data has them, since that is what programs print and people copy. The calendar
is Gregorian everywhere, also where another is customary.

Source: Unicode Technical Standard 35, part 4, "Dates": date format patterns and their field symbols.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from regard.errors import InputError

if TYPE_CHECKING:  # Babel takes longer to import than this module may
    from babel import Locale

FIRST_YEAR, LAST_YEAR = 1950, 2049
"""The window of 100 years that all dates lie in, so that a two-digit year means one year only."""

FIELDS = {"y": "year", "m": "month", "d": "day", "w": "weekday", "e": "era", "-": "literal"}
"""The letters of a field map, one for each character of a text, and what each stands for."""

ZERO = {
    "adlm": 0x1E950,
    "arab": 0x0660,
    "arabext": 0x06F0,
    "beng": 0x09E6,
    "cakm": 0x11136,
    "deva": 0x0966,
    "gujr": 0x0AE6,
    "guru": 0x0A66,
    "hmnp": 0x1E140,
    "java": 0xA9D0,
    "khmr": 0x17E0,
    "knda": 0x0CE6,
    "laoo": 0x0ED0,
    "latn": 0x0030,
    "mlym": 0x0D66,
    "mong": 0x1810,
    "mtei": 0xABF0,
    "mymr": 0x1040,
    "nkoo": 0x07C0,
    "olck": 0x1C50,
    "orya": 0x0B66,
    "tamldec": 0x0BE6,
    "telu": 0x0C66,
    "thai": 0x0E50,
    "tibt": 0x0F20,
    "vaii": 0xA620,
}
"""The digit zero of each numbering system with ten digits in a row.

`hanidec` is left out on purpose: it would write the 12th as 一二 where people write 十二 or 12.
"""

# As Babel cuts a pattern: ("chars", text) or ("field", (symbol, width)).
_Token = tuple[str, str | tuple[str, int]]

_STYLES = ("full", "long", "medium", "short")
_WIDTHS: dict[int, Literal["abbreviated", "wide", "narrow"]] = {3: "abbreviated", 4: "wide", 5: "narrow"}
_YEAR, _MONTH, _DAY, _WEEKDAY, _NOTHING = range(5)


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a pattern, written once for every value it can take.

    Attributes:
        by: what the strings are indexed by: 0 year since `FIRST_YEAR`, 1 month, 2 day, 3 weekday (all from
            0), or 4 nothing, for a token that is always the same.
        strings: the texts, one for each value.
        maps: the field map of each text.
    """

    by: int
    strings: tuple[str, ...]
    maps: tuple[str, ...]


@dataclass(frozen=True)
class DateFormat:
    """One way to write a date: a locale's pattern, with the digits of one numbering system.

    Attributes:
        locale: Babel's identifier, such as `pt_BR`.
        pattern: the CLDR pattern, such as `d 'de' MMMM 'de' y`.
        digits: the CLDR name of the numbering system, such as `latn` or `deva`.
        named: whether the month is written with letters or a name, not as a bare number.
    """

    locale: str
    pattern: str
    digits: str
    named: bool
    pieces: tuple[Piece, ...] = field(repr=False, compare=False)

    def write(self, date: datetime.date) -> tuple[str, str]:
        """Write a date, and name the field that each character came from.

        Args:
            date: any day from `FIRST_YEAR` to `LAST_YEAR`.

        Returns:
            The text, and its field map: as many letters, each a key of `FIELDS`.

        Raises:
            InputError: the date lies outside the window in which two-digit years can be read.
        """
        if not FIRST_YEAR <= date.year <= LAST_YEAR:
            raise InputError(
                f"write(): dates must lie in the years {FIRST_YEAR} to {LAST_YEAR}, where a two-digit year "
                f"has one reading. Got {date.isoformat()}."
            )
        at = (date.year - FIRST_YEAR, date.month - 1, date.day - 1, date.weekday(), 0)
        return (
            "".join([piece.strings[at[piece.by]] for piece in self.pieces]),
            "".join([piece.maps[at[piece.by]] for piece in self.pieces]),
        )


@lru_cache(maxsize=256)
def formats(identifier: str) -> tuple[DateFormat, ...]:
    """All formats of one locale: its styles, then its skeletons, each with the default and the native digits.

    Taken are patterns that hold one year, one month and one day and else only weekday, era and literal
    text. Left aside are months of one letter (J may be January, June or July), weekdays written as numbers,
    years counted by weeks, skeletons with an era (styles may have one), and locales' names of months where
    two are the same.

    Args:
        identifier: a locale as in `read_locale`.

    Returns:
        The formats, without repetition, in a fixed order for one version of Babel.

    Raises:
        InputError: the locale is unknown.
    """
    from babel.dates import tokenize_pattern

    locale = read_locale(identifier)
    found: list[DateFormat] = []
    for pattern in dict.fromkeys(_patterns(locale)):
        tokens = tokenize_pattern(pattern)
        if not _is_whole(tokens):
            continue
        for digits in _numbering_systems(locale):
            pieces = tuple(_pieces(tokens, locale, digits))
            month = next(piece for piece in pieces if piece.by == _MONTH)
            named = not all(string.isdecimal() for string in month.strings)
            if len(set(month.strings)) == 12 and all(month.strings):
                found.append(DateFormat(str(locale), pattern, digits, named, pieces))
    return tuple(found)


def read_locale(identifier: str) -> Locale:
    """Find a locale by its identifier, `pt_BR` or `pt-BR`.

    Raises:
        InputError: Babel has no such locale; the message lists those with a similar name.
    """
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(identifier.replace("-", "_"))
    except (UnknownLocaleError, ValueError) as error:
        near = ", ".join(_near(identifier))
        raise InputError(f"{identifier!r} is not a locale that Babel knows. Near ones: {near}.") from error


def _near(identifier: str) -> list[str]:
    """Locales of a similar name; else languages of the same first letter; else a few large ones."""
    import difflib

    from babel.localedata import locale_identifiers

    known = sorted(locale_identifiers())
    alike = difflib.get_close_matches(identifier.replace("-", "_"), known, n=5, cutoff=0.5)
    start = identifier[:1].lower()
    return (
        alike
        or [name for name in known if "_" not in name and name[0] == start][:8]
        or ["ar", "en", "es", "zh"]
    )


def script(identifier: str) -> str:
    """The ISO 15924 code of the script that a locale is most likely written in, such as `Cyrl`."""
    from babel.core import get_global

    locale = read_locale(identifier)
    if locale.script:
        return locale.script
    likely = get_global("likely_subtags")
    for name in (f"{locale.language}_{locale.territory}", locale.language):
        if name in likely:
            return next(part for part in likely[name].split("_") if len(part) == 4 and part.istitle())
    return "Zzzz"


def _patterns(locale: Locale) -> Iterator[str]:
    for style in _STYLES:
        yield str(locale.date_formats[style])
    for skeleton in sorted(locale.datetime_skeletons):
        if "G" not in skeleton:
            yield str(locale.datetime_skeletons[skeleton])


def _is_whole(tokens: Sequence[_Token]) -> bool:
    """Whether a pattern says year, month and day once each, and nothing that cannot be read."""
    symbols = [value for _, value in tokens if not isinstance(value, str)]
    allowed = all(
        symbol in "yMLdEecG" and not (symbol in "ML" and width > 4) and not (symbol in "ec" and width < 3)
        for symbol, width in symbols
    )
    order = sorted("M" if symbol == "L" else symbol for symbol, _ in symbols if symbol in "yMLd")
    return allowed and order == ["M", "d", "y"]


def _numbering_systems(locale: Locale) -> list[str]:
    """The default numbering system and the native one, where their ten digits are known."""
    both = (locale.default_numbering_system, (locale.other_numbering_systems or {}).get("native"))
    return [name for name in dict.fromkeys(both) if name in ZERO] or ["latn"]


def _pieces(tokens: Sequence[_Token], locale: Locale, digits: str) -> Iterator[Piece]:
    for _, value in tokens:
        if isinstance(value, str):
            yield _piece(_NOTHING, "-", [value])
        else:
            yield _field(*value, locale, digits)


def _field(symbol: str, width: int, locale: Locale, digits: str) -> Piece:
    from babel import dates

    if symbol == "y":
        years = [f"{year:0{width}d}" for year in range(FIRST_YEAR, LAST_YEAR + 1)]
        return _piece(_YEAR, "y", [_native(year[-2:] if width == 2 else year, digits) for year in years])
    if symbol == "d":
        return _piece(_DAY, "d", [_native(f"{day:0{width}d}", digits) for day in range(1, 32)])
    if symbol in "ML" and width <= 2:
        return _piece(_MONTH, "m", [_native(f"{month:0{width}d}", digits) for month in range(1, 13)])
    if symbol == "G":
        return _piece(_NOTHING, "e", [dates.get_era_names(_WIDTHS[max(width, 3)], locale)[1]])
    context = "stand-alone" if symbol in "Lc" else "format"
    if symbol in "ML":
        months = dates.get_month_names(_WIDTHS[width], context, locale)
        return _piece(_MONTH, "m", [months[month] for month in range(1, 13)])
    days = dates.get_day_names("short" if width == 6 else _WIDTHS[max(width, 3)], context, locale)
    return _piece(_WEEKDAY, "w", [days[day] for day in range(7)])


def _piece(by: int, letter: str, strings: list[str]) -> Piece:
    return Piece(by, tuple(strings), tuple(letter * len(string) for string in strings))


def _native(number: str, digits: str) -> str:
    return "".join(chr(ZERO[digits] + int(digit)) for digit in number)

"""The embedded corpus: dates as people write them, and the same dates by ISO 8601.

    Donnerstag, 5. März 2026  →  2026-03-05        ५/३/२६  →  2026-03-05        2026年3月5日  →  2026-03-05

It needs no download, has as many pairs as are asked for, mixes languages, scripts and digits, and every
pair knows its gold alignment, because a format's pattern says which characters came from the year, the
month and the day.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from regard.data.date_patterns import FIRST_YEAR, LAST_YEAR, DateFormat, read_locale, script
from regard.data.date_readings import mix
from regard.errors import InputError

DEFAULT_LOCALES = (
    "en_GB", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "fi", "hu", "ro", "tr", "vi", "id", "ru",
    "uk", "bg", "el", "ka", "hy", "he", "ar", "fa", "hi", "bn", "ta", "th", "my", "zh", "ja", "ko", "en_US",
)  # fmt: skip
"""The locales that the corpus mixes unless told otherwise: 33 languages in 15 scripts.

American English comes last, so that a bare `3/4/26` is the third of April, as in most of the world; its
formats of numbers only are thereby left out of the mix, those with a month's name stay.
"""

_NAMED_WEIGHT = 2  # a month's name takes more examples to learn than the order of three numbers
_PATIENCE = 10_000  # draws in a row that bring nothing new before a corpus counts as exhausted
_TARGET_FIELDS = (("y", 0, 4), ("m", 5, 7), ("d", 8, 10))  # where ISO 8601 has year, month and day


@dataclass(frozen=True)
class DatePair:
    """A date as people write it, and by ISO 8601, with the links between their characters.

    Attributes:
        source: the text, such as `5. März 2026`.
        target: always `YYYY-MM-DD`.
        locale: whose format it is, by Babel's identifier.
        pattern: the CLDR pattern, such as `d. MMMM y`.
        date: the day meant.
        digits: the CLDR name of the numbering system of the source's numbers.
        fields: one letter for each source character: y year, m month, d day, w weekday, e era, - literal.
    """

    source: str
    target: str
    locale: str
    pattern: str
    date: datetime.date
    digits: str
    fields: str

    @cached_property
    def sure(self) -> frozenset[tuple[int, int]]:
        """Links (target character, source character) of the digits that are copied."""
        return self._links[0]

    @cached_property
    def possible(self) -> frozenset[tuple[int, int]]:
        """Links to the other characters of the same field; none of them is sure."""
        return self._links[1]

    @cached_property
    def _links(self) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]:
        sure: set[tuple[int, int]] = set()
        within: set[tuple[int, int]] = set()
        for letter, start, stop in _TARGET_FIELDS:
            source = [j for j, field in enumerate(self.fields) if field == letter]
            within.update((i, j) for i in range(start, stop) for j in source)
            sure.update(_copied(self.source, source, self.target, range(start, stop)))
        return frozenset(sure), frozenset(within - sure)


def _copied(source: str, characters: Sequence[int], target: str, positions: range) -> list[tuple[int, int]]:
    """Pair the digits of one field from the right, if they spell the field's number.

    A two-digit year spells the last two digits; `10` in `10月` spells the month; a padding zero that the
    source does not have stays without a pair.
    """
    digits = [j for j in characters if source[j].isdecimal()]
    links = list(zip(reversed(positions), reversed(digits), strict=False))
    same = len(digits) <= len(positions) and all(int(source[j]) == int(target[i]) for i, j in links)
    return links if same else []


def pair(written: DateFormat, date: datetime.date) -> DatePair:
    """Write one date in one format.

    Args:
        written: a format, such as one of `date_patterns.formats("de")`.
        date: a day of the years 1950 to 2049.

    Returns:
        The pair of the text and the ISO 8601 date.

    Raises:
        InputError: the date lies outside these years.
    """
    source, fields = written.write(date)
    return DatePair(source, date.isoformat(), written.locale, written.pattern, date, written.digits, fields)


@dataclass(frozen=True)
class Splits:
    """Three parts of the corpus that share no text, and no date in the same format."""

    train: list[DatePair]
    valid: list[DatePair]
    test: list[DatePair]


def corpus(locales: Sequence[str] = DEFAULT_LOCALES, *, size: int, seed: int = 0) -> list[DatePair]:
    """Draw pairs of dates, no source text and no date in the same format twice.

    Each locale is equally likely; within a locale, each of its formats is, save that one with the month's
    name counts twice. Days are uniform over the years 1950 to 2049, the window in which a two-digit year
    has one meaning. No text has two readings: see `date_readings.mix` for the formats kept and left out.

    Args:
        locales: Babel's identifiers; a format that contradicts one of an earlier locale is left out.
        size: how many pairs.
        seed: the same seed gives the same pairs with one version of Babel, and a longer corpus starts as a
            shorter.

    Returns:
        `size` pairs in random order.

    Raises:
        InputError: a locale is unknown (near ones are listed), there is none, or they have too few texts.
    """
    return _take(_draw(_formats(locales), seed), size)


def splits(
    locales: Sequence[str] = DEFAULT_LOCALES, *, train: int, valid: int, test: int, seed: int = 0
) -> Splits:
    """Draw pairs for training, validation and test that share no text, and no date in one format.

    The test and the validation part depend on their own sizes and the seed, not on how many pairs are
    trained on.

    Args:
        locales: as for `corpus`.
        train: how many pairs to train on.
        valid: how many pairs to choose the best weights by.
        test: how many pairs to report on.
        seed: as for `corpus`.

    Returns:
        The three lists.

    Raises:
        InputError: as for `corpus`.
    """
    draw = _draw(_formats(locales), seed)
    tested, validated = _take(draw, test), _take(draw, valid)
    return Splits(train=_take(draw, train), valid=validated, test=tested)


def languages(locales: Sequence[str] = DEFAULT_LOCALES) -> tuple[str, ...]:
    """The language codes of some locales, sorted, each once."""
    return tuple(sorted({read_locale(name).language for name in locales}))


def language_name(locale: str) -> str:
    """What a locale's language is called in English, such as "French"."""
    return read_locale(locale).get_language_name("en") or locale


def scripts(locales: Sequence[str] = DEFAULT_LOCALES) -> tuple[str, ...]:
    """The ISO 15924 codes of the scripts that some locales are written in, sorted, each once."""
    return tuple(sorted({script(name) for name in locales}))


def _formats(locales: Sequence[str]) -> tuple[DateFormat, ...]:
    if isinstance(locales, str):
        raise InputError(
            f"corpus(): locales must be a list of identifiers, such as [{locales!r}]. Got {locales!r}."
        )
    return mix(tuple(locales)).formats


def _draw(formats: Sequence[DateFormat], seed: int) -> Iterator[DatePair]:
    """Yield new pairs until hardly any is left."""
    cumulative = list(accumulate(_weights(formats)))
    first, last = datetime.date(FIRST_YEAR, 1, 1).toordinal(), datetime.date(LAST_YEAR, 12, 31).toordinal()
    generator = random.Random(seed)
    texts: set[str] = set()
    seen: set[tuple[str, str, int]] = set()
    missed = 0
    while missed < _PATIENCE:
        written = generator.choices(formats, cum_weights=cumulative)[0]
        day = generator.randint(first, last)
        key = (written.locale, written.pattern, day)
        drawn = pair(written, datetime.date.fromordinal(day))
        if drawn.source in texts or key in seen:
            missed += 1
            continue
        missed = 0
        texts.add(drawn.source)
        seen.add(key)
        yield drawn


def _weights(formats: Sequence[DateFormat]) -> list[float]:
    """One share for each locale, divided among its formats."""
    shares = [_NAMED_WEIGHT if written.named else 1 for written in formats]
    total: dict[str, int] = {}
    for written, share in zip(formats, shares, strict=True):
        total[written.locale] = total.get(written.locale, 0) + share
    return [share / total[written.locale] for written, share in zip(formats, shares, strict=True)]


def _take(draw: Iterator[DatePair], size: int) -> list[DatePair]:
    if size < 0:
        raise InputError(f"corpus(): a number of pairs cannot be negative. Got {size}.")
    pairs = [pair for _, pair in zip(range(size), draw, strict=False)]
    if len(pairs) < size:
        raise InputError(
            f"corpus(): {size} pairs were asked for, but only {len(pairs)} more could be found that are new; "
            "ask for fewer, or for more locales."
        )
    return pairs

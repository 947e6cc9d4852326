"""The embedded corpus: it writes what CLDR writes, its links are right, and no text has two readings."""

from __future__ import annotations

import datetime
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

babel_dates = pytest.importorskip("babel.dates", reason="the embedded corpus is written with Babel")

from babel.localedata import locale_identifiers  # noqa: E402

from regard.data import date_patterns, date_readings, dates  # noqa: E402
from regard.errors import InputError  # noqa: E402

DEFAULT = date_readings.mix(dates.DEFAULT_LOCALES)
TO_LATIN = {zero + number: str(number) for zero in date_patterns.ZERO.values() for number in range(10)}
NUMBER_OF_DAYS = 36_525  # from 1950 to 2049


def days(count: int, seed: int) -> Iterator[datetime.date]:
    """Days drawn from the whole window."""
    first = datetime.date(date_patterns.FIRST_YEAR, 1, 1)
    for step in random.Random(seed).sample(range(NUMBER_OF_DAYS), count):
        yield first + datetime.timedelta(step)


def as_babel_writes(date: datetime.date, pattern: str, locale: str) -> str:
    return babel_dates.format_date(date, pattern, locale=locale).translate(TO_LATIN)


def written(locale: str, pattern: str, date: datetime.date, digits: str = "latn") -> dates.DatePair:
    """A pair in one of a locale's own formats."""
    [found] = [f for f in date_patterns.formats(locale) if (f.pattern, f.digits) == (pattern, digits)]
    return dates.pair(found, date)


# What is written


def test_every_format_of_the_default_mix_writes_what_babel_writes():
    for number, date_format in enumerate(DEFAULT.formats):
        for date in days(40, seed=number):
            text, fields = date_format.write(date)
            assert text.translate(TO_LATIN) == as_babel_writes(date, date_format.pattern, date_format.locale)
            assert len(fields) == len(text)


def test_locales_outside_the_default_mix_write_what_babel_writes():
    for number, locale in enumerate(sorted(locale_identifiers())[::25]):
        formats = date_patterns.formats(locale)
        assert len(formats) >= 4
        for date_format in formats:
            for date in days(3, seed=number):
                text = date_format.write(date)[0].translate(TO_LATIN)
                assert text == as_babel_writes(date, date_format.pattern, locale)


def test_the_characters_of_each_field_spell_that_field():
    for number, date_format in enumerate(DEFAULT.formats):
        for date in days(20, seed=number):
            text, fields = date_format.write(date)
            part = {
                letter: "".join(char for char, field in zip(text, fields, strict=True) if field == letter)
                for letter in date_patterns.FIELDS
            }
            assert int(part["y"]) in (date.year, date.year % 100)
            assert int(part["d"]) == date.day
            if not date_format.named:
                assert int(part["m"]) == date.month


def test_a_number_in_native_digits_has_no_latin_ones():
    pair = written("hi", "d/M/yy", datetime.date(2026, 3, 5), "deva")
    assert (pair.source, pair.fields, pair.target) == ("५/३/२६", "d-m-yy", "2026-03-05")


def test_text_keeps_the_invisible_marks_of_its_locale_as_literals():
    pair = written("ar", "d\u200f/M\u200f/y", datetime.date(2026, 3, 15), "arab")
    assert pair.source == "\u0661\u0665\u200f/\u0663\u200f/\u0662\u0660\u0662\u0666"
    assert pair.fields == "dd--m--yyyy"


def test_a_date_outside_the_window_of_two_digit_years_is_refused():
    with pytest.raises(InputError, match="1950 to 2049"):
        date_patterns.formats("de")[0].write(datetime.date(1949, 12, 31))


# Links


def test_a_copied_digit_is_sure_and_the_rest_of_its_field_possible():
    pair = written("de", "d. MMMM y", datetime.date(2026, 3, 5))
    assert pair.source == "5. März 2026"
    assert pair.sure == {(0, 8), (1, 9), (2, 10), (3, 11), (9, 0)}
    name = {(i, j) for i in (5, 6) for j in (3, 4, 5, 6)}
    year = {(i, j) for i in range(4) for j in range(8, 12) if i != j - 8}
    assert pair.possible == {(8, 0)} | name | year


def test_a_two_digit_year_is_copied_into_the_last_two_digits():
    pair = written("hi", "d/M/yy", datetime.date(2026, 3, 5), "deva")
    assert pair.sure == {(2, 4), (3, 5), (6, 2), (9, 0)}
    assert pair.possible == {(0, 4), (0, 5), (1, 4), (1, 5), (2, 5), (3, 4), (5, 2), (8, 0)}


def test_a_padding_zero_that_is_written_is_copied():
    pair = written("de", "dd.MM.yy", datetime.date(2004, 3, 5))
    assert pair.source == "05.03.04"
    assert pair.sure == {(2, 6), (3, 7), (5, 3), (6, 4), (8, 0), (9, 1)}


def test_a_number_within_the_name_of_a_month_is_copied():
    pair = written("ko", "y년 MMM d일", datetime.date(2031, 11, 30))
    assert pair.source == "2031년 11월 30일"
    assert {(5, 6), (6, 7)} <= pair.sure
    assert {(5, 8), (6, 8)} <= pair.possible


def test_links_join_a_target_digit_to_its_own_field_and_sure_ones_to_the_same_digit():
    fields_of_target = "yyyy-mm-dd"
    for pair in dates.corpus(size=3_000, seed=5):
        assert not pair.sure & pair.possible
        for i, j in pair.sure | pair.possible:
            assert fields_of_target[i] == pair.fields[j] != "-"
        for i, j in pair.sure:
            assert int(pair.target[i]) == int(pair.source[j])
        linked = {i for i, _ in pair.sure | pair.possible}
        assert linked == {0, 1, 2, 3, 5, 6, 8, 9}


def test_every_digit_of_a_day_and_a_year_has_a_sure_link():
    for pair in dates.corpus(size=3_000, seed=6):
        copied = {j for _, j in pair.sure}
        assert copied >= {j for j, field in enumerate(pair.fields) if field in "yd"}
        assert len(copied) == len(pair.sure)


# One reading


def test_no_text_of_the_default_mix_is_two_dates():
    readings: dict[str, datetime.date] = {}
    small = [datetime.date(2000 + y, m, d) for y in range(1, 13) for m in range(1, 13) for d in range(1, 13)]
    swaps = random.Random(3).sample(small, 500)
    for number, date_format in enumerate(DEFAULT.formats):
        for date in [*swaps, *days(300, seed=number)]:
            text = date_format.write(date)[0]
            assert readings.setdefault(text, date) == date, f"{text} in {date_format}"


def test_of_two_orders_of_one_shape_the_first_locale_s_is_kept():
    british_first = date_readings.mix(("en_GB", "es", "en_US"))
    american_first = date_readings.mix(("en_US", "en_GB", "es"))
    lost = {(left.format.locale, left.format.pattern) for left in british_first.left_out}
    assert lost == {("en_US", "M/d/yy"), ("en_US", "M/d/y"), ("en_US", "E, M/d/y")}
    lost = {(left.format.locale, left.format.pattern) for left in american_first.left_out}
    assert {("en_GB", "dd/MM/y"), ("es", "d/M/yy"), ("es", "d/M/y")} <= lost
    assert not any(locale == "en_US" for locale, _ in lost)


def test_what_is_left_out_comes_with_a_text_and_its_two_readings():
    [left] = [left for left in DEFAULT.left_out if left.format.pattern == "M/d/yy"]
    assert left.kept != left.lost
    assert str(left) == "en_US 'M/d/yy': '1/2/01' is read as 2001-02-01, not 2001-01-02"


def test_a_month_s_name_with_two_meanings_is_left_out():
    """`Kas` is November in Turkish and May in Taita."""
    mixed = date_readings.mix(("tr", "dav"))
    lost = [left for left in mixed.left_out if left.format.named]
    assert {(left.format.locale, left.format.pattern) for left in lost} == {("dav", "d MMM y")}
    assert {(left.kept.month, left.lost.month) for left in lost} == {(11, 5)}


def test_a_weekday_does_not_excuse_two_orders():
    """Only a calendar tells that `Thu, 10/11/2001` must be American: the reader is not asked for one."""
    [left] = [left for left in DEFAULT.left_out if left.format.pattern == "E, M/d/y"]
    assert left.kept.timetuple()[:3] == (left.lost.year, left.lost.day, left.lost.month)


def test_a_locale_whose_own_styles_disagree_keeps_the_first():
    assert [left.format.pattern for left in date_readings.mix(("ug",)).left_out] == ["y-d-M", "y-d-M"]


# Splits and coverage


def test_the_parts_share_no_text_and_no_date_in_one_format():
    parts = dates.splits(train=8_000, valid=1_000, test=1_000, seed=1)
    assert [len(part) for part in (parts.train, parts.valid, parts.test)] == [8_000, 1_000, 1_000]
    everything = [*parts.train, *parts.valid, *parts.test]
    assert len({pair.source for pair in everything}) == 10_000
    assert len({(pair.locale, pair.pattern, pair.date) for pair in everything}) == 10_000


def test_the_held_out_parts_do_not_depend_on_how_much_is_trained_on():
    short = dates.splits(train=10, valid=50, test=50, seed=2)
    long = dates.splits(train=500, valid=50, test=50, seed=2)
    assert (short.valid, short.test) == (long.valid, long.test)
    assert short.train == long.train[:10]


def test_a_seed_gives_one_corpus_and_another_seed_another():
    assert dates.corpus(size=200, seed=4) == dates.corpus(size=300, seed=4)[:200]
    assert dates.corpus(size=200, seed=4) != dates.corpus(size=200, seed=5)


def test_the_corpus_is_the_same_in_another_process():
    script = (
        "import sys; from regard.data import dates; assert 'babel' not in sys.modules;"
        "print(ascii([pair.source for pair in dates.corpus(size=50, seed=7)]))"
    )
    package = str(Path(dates.__file__).parents[2])
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": package}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == ascii([pair.source for pair in dates.corpus(size=50, seed=7)]), done.stderr


def test_the_default_mix_spans_languages_scripts_and_digits():
    assert len(dates.languages()) >= 24
    assert len(dates.scripts()) >= 8
    assert {"Latn", "Cyrl", "Grek", "Arab", "Hebr", "Deva", "Beng", "Thai", "Jpan"} <= set(dates.scripts())
    digits = {date_format.digits for date_format in DEFAULT.formats}
    assert {"latn", "arab", "arabext", "deva", "beng", "mymr", "tamldec", "thai"} == digits


def test_locales_are_drawn_alike_and_no_format_or_month_is_rare():
    pairs = dates.corpus(size=20_000, seed=9)
    share = Counter(pair.locale for pair in pairs)
    expected = 20_000 / len(dates.DEFAULT_LOCALES)
    assert set(share) == set(dates.DEFAULT_LOCALES)
    assert all(0.8 * expected < count < 1.2 * expected for count in share.values())
    formats = Counter((pair.locale, pair.pattern, pair.digits) for pair in pairs)
    assert len(formats) == len(DEFAULT.formats)
    assert min(formats.values()) >= 10
    months = Counter((pair.locale, pair.date.month) for pair in pairs)
    assert min(months[locale, month] for locale in share for month in range(1, 13)) >= 25


def test_a_script_is_that_of_the_locale_or_else_the_likely_one():
    assert dates.scripts(["sr", "sr_Latn", "zh_Hant", "ja", "de-AT"]) == ("Cyrl", "Hant", "Jpan", "Latn")
    assert dates.languages(["pt_BR", "pt", "de"]) == ("de", "pt")


# Wrong input


@pytest.mark.parametrize(
    ("wrong", "near"), [("de_GE", "de_DE"), ("fr-XX", "fr_"), ("xx", "xh"), ("!!!", "es"), ("", "en")]
)
def test_an_unknown_locale_is_refused_with_near_ones(wrong, near):
    with pytest.raises(InputError, match=f"{wrong!r} is not a locale.*Near ones: .*{near}"):
        dates.corpus([wrong], size=1)


def test_a_corpus_of_no_locale_is_refused():
    with pytest.raises(InputError, match="at least one locale"):
        dates.corpus([], size=1)


def test_a_bare_text_for_a_list_of_locales_is_refused():
    with pytest.raises(InputError, match=r"such as \['de'\]"):
        dates.corpus("de", size=1)


def test_more_pairs_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(dates, "_PATIENCE", 3)
    with pytest.raises(InputError, match="ask for fewer"):
        dates.corpus(["sv"], size=36_525 * 12)


def test_a_negative_size_is_refused():
    with pytest.raises(InputError, match="negative"):
        dates.corpus(["sv"], size=-1)

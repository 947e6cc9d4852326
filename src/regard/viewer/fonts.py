"""Installed fonts for the scripts that a picture holds."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache

__all__ = ["families_for"]

FIRST = "DejaVu Sans"  # comes with matplotlib

# Fonts made for reading, tried before all others that are installed.
_WELL_KNOWN = (
    "Noto Sans CJK",
    "Droid Sans Fallback",
    "Source Han Sans",
    "PingFang",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Meiryo",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "Nirmala UI",
    "Leelawadee UI",
    "WenQuanYi",
    "IPAGothic",
    "Lohit",
    "FreeSans",
    "Arial Unicode MS",
    "Segoe UI",
    "Noto Sans",
)


def families_for(text: Iterable[str]) -> list[str]:
    """Font families that together cover the characters of a text, in the order to try them.

    Characters that no installed font has stay uncovered; they are drawn as a box.

    Args:
        text: the strings to be drawn.

    Returns:
        At least `FIRST`.
    """
    missing = set("".join(text)) - _covered_by_first()
    families = [FIRST]
    for refresh in (False, True):  # matplotlib remembers its fonts; look anew only if they do not suffice
        for family, file in _installed(refresh) if missing else ():
            found = {character for character in missing if ord(character) in _characters(file)}
            if found:
                families.append(family)
                missing -= found
    return families


def _covered_by_first() -> set[str]:
    from matplotlib.font_manager import FontProperties, findfont

    return set(map(chr, _characters(findfont(FontProperties(family=[FIRST])))))


@cache
def _installed(refresh: bool) -> tuple[tuple[str, str], ...]:
    """Family names and files of the regular faces, those for reading first."""
    import matplotlib
    from matplotlib.font_manager import findSystemFonts, fontManager

    if refresh:
        known = {font.fname for font in fontManager.ttflist}
        for file in sorted(set(findSystemFonts()) - known):
            with suppress(OSError, RuntimeError, ValueError, KeyError):  # a font that cannot be read
                fontManager.addfont(file)
    own = matplotlib.get_data_path()  # fonts for formulas, and one that has a box for every character
    regular = {
        font.name: font.fname
        for font in fontManager.ttflist
        if font.style == "normal"
        and font.weight in (400, "normal", "regular")
        and not font.fname.startswith(own)
    }

    def rank(name: str) -> tuple[int, int, str]:
        known = next((n for n, start in enumerate(_WELL_KNOWN) if name.startswith(start)), len(_WELL_KNOWN))
        return known, len(name), name

    return tuple((name, regular[name]) for name in sorted(regular, key=rank) if name != FIRST)


@cache
def _characters(file: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):  # a font that cannot be read covers nothing
        return frozenset()

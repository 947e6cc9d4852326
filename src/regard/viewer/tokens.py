"""How a token is shown: spaces and controls as quiet symbols, right-to-left text as its readers see it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = [
    "is_character",
    "is_quiet",
    "isolate",
    "reads_right_to_left",
    "show",
    "shown_order",
]

SPACE = "␣"
NOTHING = "∅"
UNSHOWABLE = "�"

# Whole tokens with a meaning of their own, in the spellings that tokenizers use.
_SPECIAL = {
    "": NOTHING,
    "<s>": "⊢",
    "<bos>": "⊢",
    "[BOS]": "⊢",
    "</s>": "⊣",
    "<eos>": "⊣",
    "[EOS]": "⊣",
    "<pad>": "▫",
    "[PAD]": "▫",
}
_NAMED = {"\n": "↵", "\r": "␍", "\t": "⇥", "\v": "␋", "\f": "␌", "\x7f": "␡", "\u2028": "↵", "\u2029": "¶"}
_NAMED |= {"\x85": "↵", "\u00ad": "-", "\u2581": SPACE}
_SYMBOLS = frozenset(
    [SPACE, UNSHOWABLE, *_SPECIAL.values(), *_NAMED.values(), *map(chr, range(0x2400, 0x2421))]
) - {"-"}
_DIRECTION_MARKS = "\u200e\u200f\u061c"
_JOINERS = "\u200c\u200d"
_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"


def show(token: str) -> str:
    """The text that stands for a token in every drawing: one line, no control characters, no invisible ends.

    Spaces at the ends become ``␣``, line ends ``↵``, tabs ``⇥``, other controls their Unicode pictures,
    sentence marks ``⊢`` and ``⊣``. Direction overrides and other invisible commands become ``�``. Words
    stay as they are.
    """
    if token in _SPECIAL:
        return _SPECIAL[token]
    body = token.strip()
    start = token.find(body) if body else len(token)
    shown = "".join(_symbol(c) for c in token[:start])
    shown += "".join(" " if c.isspace() and c not in _NAMED and c > "\x1f" else _symbol(c) for c in body)
    shown += "".join(_symbol(c) for c in token[start + len(body) :])
    if is_mark(shown[0]):
        shown = "◌" + shown  # a lone mark needs something to sit on
    return shown if shown.strip(_JOINERS) else UNSHOWABLE


def is_mark(text: str) -> bool:
    """Whether a text is one character that combines with the one before it, as vowel signs and accents do."""
    return len(text) == 1 and unicodedata.category(text).startswith("M")


def _symbol(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character < " ":
        return chr(0x2400 + ord(character))
    category = unicodedata.category(character)
    if category in ("Zs", "Zl", "Zp") or character.isspace():
        return SPACE
    if character in _JOINERS:
        return character
    if (
        category in ("Cc", "Cs")
        or _is_no_character(character)
        or (category == "Cf" and not _has_a_form(character))
    ):
        return UNSHOWABLE
    return character


def _is_no_character(character: str) -> bool:
    """Code points that Unicode keeps free for ever, and XML forbids."""
    return ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"


def _has_a_form(format_character: str) -> bool:
    """Format characters that are drawn: the signs before Arabic numbers, in Syriac and in Kaithi text."""
    letters = ("AN", "AL", "L")
    return unicodedata.bidirectional(format_character) in letters and format_character not in _DIRECTION_MARKS


def is_quiet(token: str) -> bool:
    """Whether a token is shown by symbols alone, which are drawn fainter than words."""
    return all(character in _SYMBOLS for character in show(token))


def is_character(token: str) -> bool:
    """Whether a token is shown as one character, marks included; such labels are set upright side by side."""
    marks = ("Mn", "Me", "Mc", "Cf", "Sk")
    bases = [c for c in show(token) if unicodedata.category(c) not in marks]
    return len(bases) <= 1


def reads_right_to_left(text: str) -> bool:
    """Whether the first letter with a direction is Arabic, Hebrew or another right-to-left one."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False


def isolate(text: str) -> str:
    """Wrap right-to-left text so that a terminal moves neither it nor what stands beside it."""
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text):
        return f"{_FIRST_STRONG_ISOLATE}{text}{_POP_ISOLATE}"
    return text


def shown_order(tokens: Sequence[str]) -> list[int]:
    """The indices of tokens from left to right as a reader of their language sees the line.

    ``[0, 1, 2, …]`` unless right-to-left letters occur; then each token is placed as the Unicode
    bidirectional algorithm places a character: words run to the left, numbers inside them to the right.

    Source:
        Unicode Standard Annex 9, rules P2, W1 to W4, W7, N1, N2, I1, I2 and L2, with tokens for characters.
    """
    kinds = [_kind(token) for token in tokens]
    if not {"R", "AL", "AN"} & set(kinds):
        return list(range(len(tokens)))
    base = next((int(kind != "L") for kind in kinds if kind in ("L", "R", "AL")), 0)
    levels = _levels(_weak(kinds, base), base)
    order = list(range(len(tokens)))
    for level in range(max(levels), 0, -1):
        order = _reverse_runs(order, [levels[index] >= level for index in order])
    return order


def _kind(token: str) -> str:
    found = [unicodedata.bidirectional(character) for character in token]
    for kinds in (("L", "R", "AL"), ("EN", "AN"), ("NSM",), ("CS", "ES", "ET")):
        for kind in found:
            if kind in kinds:
                return kind
    return "ON"


def _weak(kinds: list[str], base: int) -> list[str]:
    """Numbers and what belongs to them get a direction from the letters before (rules W1 to W7)."""
    strong = "R" if base else "L"
    resolved: list[str] = []
    for kind in kinds:
        if kind == "NSM":
            kind = resolved[-1] if resolved else strong
        if kind in ("L", "R", "AL"):
            strong = kind
        resolved.append("AN" if kind == "EN" and strong == "AL" else kind)
    for index in range(1, len(resolved) - 1):
        before, here, after = resolved[index - 1 : index + 2]
        if before == after and (
            (here == "CS" and before in ("EN", "AN")) or (here == "ES" and before == "EN")
        ):
            resolved[index] = before
    strong = "R" if base else "L"
    for index, kind in enumerate(resolved):
        if kind in ("L", "R", "AL"):
            strong = resolved[index] = "L" if kind == "L" else "R"
        elif kind == "EN" and strong == "L":
            resolved[index] = "L"
    return resolved


def _levels(kinds: list[str], base: int) -> list[int]:
    """Embedding levels: neutrals take the side their neighbours agree on, else the line's (N1 to I2)."""
    line = "R" if base else "L"
    sides = ["R" if kind in ("EN", "AN") else kind if kind in ("L", "R") else "" for kind in kinds]
    levels = []
    for index, kind in enumerate(kinds):
        if not sides[index]:
            before = next((side for side in reversed(sides[:index]) if side), line)
            after = next((side for side in sides[index + 1 :] if side), line)
            kind = before if before == after else line
        if kind in ("EN", "AN"):
            levels.append(2)
        elif kind == "L":
            levels.append(2 * base)
        else:
            levels.append(1)
    return levels


def _reverse_runs(order: list[int], chosen: list[bool]) -> list[int]:
    result: list[int] = []
    run: list[int] = []
    for index, inside in zip([*order, -1], [*chosen, False], strict=True):
        if inside:
            run.append(index)
            continue
        result.extend(reversed(run))
        run = []
        result.append(index)
    return result[:-1]

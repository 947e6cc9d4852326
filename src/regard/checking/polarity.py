"""What a mask of somebody's function says where it is True, going by names and documentation."""

from __future__ import annotations

import re
from typing import Literal

from regard.checking.parameters import NAMES

Meaning = Literal["looks", "hides", "added"]

ADDED = re.compile(r"additive|added to the (scores|logits)|float mask", re.IGNORECASE)
INFINITE = re.compile(r"[-−]\s?inf\b|[-−]\s?infinity|[-−]∞", re.IGNORECASE)
ON = r"true|1s?|ones?|nonzero"
OFF = r"false|0s?|zeros?"
HIDDEN = (
    r"hid(?:e|es|den|ing)|masked|mask(?:s|ing)?\s(?:out|away)|ignored?|pad(?:s|ded|ding)?|blocked?|excluded?|"
    r"disallowed|forbidden|(?:may|can|must|should)?\s?not\s(?:\w+\s)?(?:attend|allow|look|see|visible|valid|use)\w*|"
    r"cannot|invisible|invalid"
)
SEEN = (
    r"may|can|allow(?:s|ed)?|visible|attend(?:s|ed)?|keep|kept|real|valid|take part|participates?|look|"
    r"unmasked|non-?pad\w*|not\s(?:\w+\s)?(?:masked|hidden|pad\w*|ignored)"
)
VERDICT = re.compile(rf"\b(?:(?P<hidden>{HIDDEN})|(?P<seen>{SEEN}))\b", re.IGNORECASE)
SHAPE = re.compile(r"[(\[]\s*[\w.…*]+(\s*,\s*[\w.…*]*)+\s*[)\]]")


def meaning(name: str, description: str, module: str) -> Meaning:
    """What a mask of this name says where it is True: by its name, and by what its documentation says.

    Whether the function then does so is another question.
    """
    plain = name.lower()
    if module.startswith("torch.nn"):
        return "hides"
    said = _said_of(name, description)
    if re.fullmatch(NAMES["bias"], plain):
        return "added"
    documented = documented_meaning(said)
    # Where booleans are taken, what else is added is another way, or another parameter.
    if documented is not None and re.search(r"\bbool", said, re.IGNORECASE):
        return documented
    if ADDED.search(said):
        return "added"
    if INFINITE.search(said) and not re.search(rf"\b({ON})\b", SHAPE.sub(" ", said), re.IGNORECASE):
        return "added"
    if documented is not None:
        return documented
    if module.startswith("transformers"):
        return "added"
    return "hides" if "pad" in plain else "looks"


def documented_meaning(text: str) -> Literal["looks", "hides"] | None:
    """What a text says of True and 1, or of the opposite, False and 0; None where it says neither."""
    text = SHAPE.sub(" ", text)
    for values, hidden in ((ON, "hides"), (OFF, "looks")):
        for value in re.finditer(rf"\b(?:{values})\b", text, re.IGNORECASE):
            seen = "looks" if hidden == "hides" else "hides"
            after = re.split(rf"[.;\n]|\b(?:{ON}|{OFF})\b", text[value.end() :], flags=re.IGNORECASE)[0]
            before = re.split(rf"[.;:,\n]|\b(?:{ON}|{OFF})\b", text[: value.start()], flags=re.IGNORECASE)[-1]
            verdict = VERDICT.search(after[:80]) or VERDICT.search(before[-80:])
            if verdict is not None:
                return hidden if verdict["hidden"] else seen  # type: ignore[return-value]
    return None


def _said_of(name: str, description: str) -> str:
    """What the documentation says of a parameter: its own entry, or the sentences that name it."""
    entry = re.search(
        rf"^([ \t]*)[*`:]*(?:param\s+)?{re.escape(name)}\b[^\n]*?:"
        r"(?P<first>[^\n]*)(?P<more>(?:\n\1[ \t]+[^\n]*)*)",
        description,
        re.MULTILINE,
    )
    if entry:
        return f"{entry['first']} {entry['more']}"
    return " ".join(
        each for each in re.split(r"(?<=[.;])\s|\n\s*\n", description) if re.search(r"mask", each, re.I)
    )

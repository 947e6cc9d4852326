"""Attention as one offline HTML file: nothing is loaded, nothing is sent, every token is text."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np

from regard.errors import InputError
from regard.evaluation.alignment import alignment_error_rate
from regard.evaluation.words import carries_spaces, in_words, words_of
from regard.record import AttentionRecord
from regard.viewer.colours import DIVERGING, RAMPS
from regard.viewer.packing import as_floats, suited
from regard.viewer.tokens import is_character, is_mark, is_quiet, show, shown_order

__all__ = ["page", "payload"]

_MODULES = (  # each imports only from those before it
    "dom.js",
    "data.js",
    "joined.js",
    "unpack.js",
    "scale.js",
    "map.js",
    "panel.js",
    "figure.js",
    "large.js",
    "heads.js",
    "tokens.js",
    "generation.js",
    "training.js",
    "zoom.js",
    "compare.js",
    "dialogs.js",
    "page.js",
    "start.js",
)
_LIVE = "live.js"
_FORM = """<form class="live" data-part="live">
  <label for="live-text">Text</label>
  <textarea id="live-text" rows="2" dir="auto" spellcheck="false">{text}</textarea>
  <button type="submit">Look</button>
  <p><progress hidden></progress> <span role="status"></span></p>
</form>"""


def page(
    records: AttentionRecord | Sequence[AttentionRecord], *, live: str | None = None, subwords: bool = False
) -> str:
    """One self-contained HTML page with one record or several to choose from.

    The page runs only the script it came with: its content policy names that script and its style by their
    hash and forbids every request.

    Args:
        records: what to show.
        live: the text that was looked at, where `regard.viewer.server` serves the page: it may be changed and
            looked at anew. None for a page on its own.
        subwords: whether tokens that spell a word together are shown one by one at first.

    Returns:
        The HTML document, to be written as UTF-8.

    Raises:
        InputError: there is no record.
    """
    records = [records] if isinstance(records, AttentionRecord) else list(records)
    if not records:
        raise InputError("page(): there is no record to show.")
    style, module = _read("page.css"), _module(_MODULES if live is None else (*_MODULES, _LIVE))
    parts = {
        "policy": _policy(style, module, "'none'" if live is None else "'self'"),
        "live": "" if live is None else _FORM.format(text=html.escape(live)),
        "title": html.escape(show(records[0].title) if records[0].title else "Alignment"),
        "style": style,
        "module": module,
        "data": _escaped_json(payload(records, subwords=subwords)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def payload(records: Sequence[AttentionRecord], *, subwords: bool = False) -> dict[str, Any]:
    """What the page is handed, as JSON values.

    A record's ``weights`` are the mean over its layers and heads; ``heads`` holds each of them where there
    are several. Its ``encoding`` says how they are written: ``"float32"`` as base64 of little-endian float32,
    row by row; ``"codes"`` as base64 of deflated bytes, each an index into ``levels`` (see
    `regard.viewer.packing`). Where its tokens are parts of words, ``joined`` says which, and what then stands
    along the map.
    """
    ramps = {
        name: {paper: anchors.split() for paper, anchors in both.items()} for name, both in RAMPS.items()
    }
    diverging = {paper: anchors.split() for paper, anchors in DIVERGING.items()}
    return {
        "version": 2,
        "ramps": ramps,
        "diverging": diverging,
        "pieces": "subwords" if subwords else "words",
        "records": [_record(record) for record in records],
    }


def _record(record: AttentionRecord) -> Mapping[str, Any]:
    averaged = ", ".join(map(show, record.axes[:-2]))
    return {
        "title": show(record.title) if record.title else "",
        "note": f"mean over {averaged}" if averaged else "",
        "score": record.metadata.get("score", ""),
        "kind": record.metadata.get("kind", ""),
        "step": _step(record),
        "same": record.query_tokens == record.key_tokens,
        "pooled": record.pooled,
        **_words(record, _gaps(record)),
        "joined": _joined(record),
        **_maps(record),
    }


Gaps = dict[str, list[bool]] | None
"""Of queries and of keys, before which a space stands; None where the tokens do not say so."""


def _gaps(record: AttentionRecord) -> Gaps:
    sides = {"query": record.query_tokens, "key": record.key_tokens}
    if not any(map(carries_spaces, sides.values())):
        return None
    return {side: [_without_gap(token) != token for token in of] for side, of in sides.items()}


def _without_gap(token: str) -> str:
    """A token without the space that it brings; a space alone stays."""
    return token[1:] if token[:1] in (" ", "▁") and token[1:] else token


def _words(record: AttentionRecord, gaps: Gaps) -> Mapping[str, Any]:
    """What stands along both sides of a map, and what is said of single cells."""
    return {
        "input": _text(record.key_tokens, gaps["key"] if gaps else None),
        "output": _text(record.query_tokens, gaps["query"] if gaps else None),
        "queries": [show(token) for token in record.query_tokens],
        "keys": [show(token) for token in record.key_tokens],
        "quietQueries": [index for index, token in enumerate(record.query_tokens) if is_quiet(token)],
        "quietKeys": [index for index, token in enumerate(record.key_tokens) if is_quiet(token)],
        "order": shown_order(record.key_tokens),
        "gaps": gaps and {side: list(map(int, of)) for side, of in gaps.items()},
        "upright": all(map(is_character, record.key_tokens)),
        "copied": sorted(record.copied),
        "sure": sorted(record.sure),
        "possible": sorted(record.possible - record.sure),
        "belief": _belief(record),
    }


def _belief(record: AttentionRecord) -> str:
    """How far the weights can be trusted: what was tried, and the error rate where gold links are known."""
    told = [record.metadata["belief"]] if "belief" in record.metadata else []
    if record.sure and record.whole:
        rate = alignment_error_rate([record.links()], [record.sure], [record.possible]).error_rate
        of = ", on the mean of all heads," if record.weights.ndim > 2 else ""
        told.append(f"What each word looks at most{of} has an alignment error rate of {rate:.2f}: 0 is gold.")
    return "\n\n".join(told)


def _joined(record: AttentionRecord) -> Mapping[str, Any] | None:
    """The same between whole words, with the word that each token is part of; None where tokens are words."""
    words = words_of(record) if record.whole else None
    if words is None:
        return None
    mean = replace(record, weights=record.alignment, axes=("query", "key"), largest=None, statistics={})
    numbers, gaps = {"query": words.queries, "key": words.keys}, _gaps(record)
    if gaps:
        gaps = {side: _of_firsts(of, numbers[side]) for side, of in gaps.items()}
    return {
        "of": numbers,
        "shape": tuple(map(len, (words.of_queries, words.of_keys))),
        **_words(in_words(mean, words), gaps),
    }


def _of_firsts(gaps: Sequence[bool], numbers: Sequence[int]) -> list[bool]:
    """Of each word what its first token has."""
    return [gap for gap, own, before in zip(gaps, numbers, (-1, *numbers), strict=False) if own != before]


def _step(record: AttentionRecord) -> int | None:
    """After how many steps of training the model looked so; None where nobody says."""
    told = record.metadata.get("step", "")
    return int(told) if told.isdecimal() and told.isascii() else None


def _maps(record: AttentionRecord) -> Mapping[str, Any]:
    """The numbers of a record: its mean map and, of several heads, each map and what is known of it."""
    rows, columns = record.weights.shape[-2:]
    several = record.weights.ndim > 2 and record.weights.size > rows * columns > 0
    largest = record.largest
    codes = suited([record.weights, *([] if largest is None else [largest])])
    write = as_floats if codes is None else codes.pack
    sent: dict[str, Any] = {
        "shape": (rows, columns),
        "encoding": "float32" if codes is None else "codes",
        "levels": [] if codes is None else [float(f"{level:.7g}") for level in codes.levels],
        "growth": 1 if codes is None else codes.growth,
        "weights": write(record.alignment),
        "largest": "" if largest is None else write(largest.reshape(-1, rows, columns).max(axis=0)),
        "heads": None,
    }
    if several:
        across = 1 if record.axes[-3] == "layer" else record.weights.shape[-3]
        sent["heads"] = {
            "layers": int(np.prod(record.weights.shape[:-2])) // across,
            "across": across,
            "maps": [write(one) for one in record.weights.reshape(-1, rows, columns)],
            "largest": [] if largest is None else [write(one) for one in largest.reshape(-1, rows, columns)],
            "statistics": {
                show(name): [float(f"{number:.6g}") for number in numbers.ravel()]
                for name, numbers in record.statistics.items()
            },
        }
    return sent


def _text(tokens: Sequence[str], gaps: Sequence[bool] | None) -> str:
    """The tokens as a line of text: characters side by side, words with spaces between."""
    if all(map(is_character, tokens)):
        joined = "".join(token if token.isspace() or is_mark(token) else show(token) for token in tokens)
        return joined if not is_mark(joined[:1]) else show(joined[0]) + joined[1:]
    if gaps is None:
        return " ".join(map(show, tokens))
    return "".join(" " * gap + show(_without_gap(token)) for token, gap in zip(tokens, gaps, strict=True))


def _escaped_json(value: Any) -> str:
    """JSON that no HTML parser can take for the end of its script element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(style: str, module: str, connections: str) -> str:
    def fingerprint(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") + "'"

    return (
        f"default-src 'none'; script-src {fingerprint(module)}; style-src {fingerprint(style)}; "
        f"connect-src {connections}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _module(names: Sequence[str]) -> str:
    """The page's modules as one: what they import from each other is there already."""
    text = "\n".join(_read(name) for name in names)
    text = re.sub(r'^import [^;]* from "\./[\w.]+";\n', "", text, flags=re.MULTILINE)
    return re.sub(r"^export ", "", text, flags=re.MULTILINE)


def _read(name: str) -> str:
    return files("regard.viewer").joinpath("page", name).read_text("utf-8").replace("\r\n", "\n")

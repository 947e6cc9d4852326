from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from regard.errors import InputError
from regard.evaluation.alignment import alignment_error_rate
from regard.record import AttentionRecord
from regard.viewer.colours import lightness
from regard.viewer.html import page, payload


class Parts(HTMLParser):
    """The elements of a page, with the text of its scripts and styles."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.inside = ""
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = f"{tag} {dict(attrs).get('type', '')}".strip()

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.texts[self.inside] = self.texts.get(self.inside, "") + data


def data_of(document: str) -> dict:
    return json.loads(Parts(document).texts["script application/json"])


def test_the_weights_and_words_come_through(words, date):
    records = data_of(page([words, date]))["records"]
    for sent, record in zip(records, (words, date), strict=True):
        weights = np.frombuffer(base64.b64decode(sent["weights"]), "<f4").reshape(record.weights.shape)
        np.testing.assert_array_equal(weights, record.weights)
    assert records[0]["queries"] == list(words.query_tokens)
    assert records[0]["keys"] == list(words.key_tokens)
    assert records[0]["sure"] == [[0, 0], [1, 1], [4, 3]]
    assert records[0]["possible"] == [[2, 2], [7, 6]]
    assert records[0]["copied"] == [10]
    assert records[1]["keys"] == list("3␣mars␣2021")
    assert records[1]["input"] == "3 mars 2021"


def test_hostile_tokens_are_data_and_nothing_else(hostile):
    document = page(hostile)
    parts = Parts(document)
    assert [tag for tag, _ in parts.elements if tag in ("img", "b")] == []
    assert [tag for tag, _ in parts.elements].count("script") == 2
    assert "<img" not in document
    assert document.count("</script>") == 2
    assert data_of(document)["records"][0]["queries"][0] == "<img src=x onerror=alert(1)>"
    assert parts.texts["title"] == "<b>&␛[31m"
    document.encode("utf-8")


def test_no_text_can_end_or_break_the_data():
    nasty = "</script><!--<script>\u2028\u2029&amp;]]>"
    record = AttentionRecord(np.ones((1, 1)), (nasty,), (nasty,), title=nasty, metadata={"score": nasty})
    block = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page(record), re.DOTALL)
    assert block is not None
    assert not re.search("[<>&\u2028\u2029]", block[1])
    assert json.loads(block[1])["records"][0]["score"] == nasty


def test_the_page_asks_for_nothing(words):
    document = page(words)
    for tag, attributes in Parts(document).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "data:,").startswith("data:"), (tag, attributes)  # pyright: ignore
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert "://" not in document
    assert not re.search(r"@import|url\(|\bfetch\b|XMLHttpRequest|WebSocket|sendBeacon|import\(", document)


def test_the_policy_allows_only_what_the_page_came_with(words):
    parts = Parts(page(words))
    policy = next(
        a["content"] for tag, a in parts.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, part in (("script-src", "script module"), ("style-src", "style")):
        digest = hashlib.sha256(parts.texts[part].encode()).digest()
        assert rules[rule] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_the_modules_are_joined_into_one(words):
    module = Parts(page(words)).texts["script module"]
    assert not re.search(r"^\s*(import|export)\b", module, re.MULTILINE)


def test_tokens_are_never_set_as_markup(words):
    module = Parts(page(words)).texts["script module"]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", module
    )


def test_the_same_records_give_the_same_page(words):
    assert page([words]) == page(words)
    assert payload([words])["version"] == 2


def test_layers_and_heads_are_averaged_and_named():
    weights = np.stack([np.eye(2), np.zeros((2, 2))])
    record = AttentionRecord(weights, ("a", "b"), ("c", "d"), axes=("head", "query", "key"))
    sent = payload([record])["records"][0]
    assert sent["note"] == "mean over head"
    assert np.frombuffer(base64.b64decode(sent["weights"]), "<f4").tolist() == [0.5, 0, 0, 0.5]


def test_a_page_of_nothing_is_refused():
    with pytest.raises(InputError, match="no record"):
        page([])


@pytest.mark.parametrize("theme", [":root {", ':root[data-theme="dark"] {'])
def test_every_text_colour_can_be_read(words, theme):
    style = Parts(page(words)).texts["style"]
    block = style[style.index(theme) :].split("}")[0]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))
    for front in ("ink", "quiet", "back", "accent"):
        for behind in ("page", "paper", "tint"):
            assert contrast(colours[front], colours[behind]) >= 4.5, (front, behind)


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio; luminance from CIE L*."""
    light = lightness(np.array([list(bytes.fromhex(colour[1:])) for colour in (one, other)], np.uint8))
    luminance = np.where(light > 8, ((light + 16) / 116) ** 3, light * 27 / 24389)
    return float((luminance.max() + 0.05) / (luminance.min() + 0.05))


def test_marks_stay_with_their_letters_in_the_line_of_text():
    date = "३ सितंबर २०२४"
    record = AttentionRecord(np.zeros((1, len(date))), ("३",), tuple(date))
    assert payload([record])["records"][0]["input"] == date


def test_a_sentence_mark_among_characters_is_its_symbol():
    record = AttentionRecord(np.zeros((2, 2)), ("a", "</s>"), ("a", "b"))
    assert payload([record])["records"][0]["output"] == "a⊣"


def test_gold_links_say_how_far_the_weights_are_from_them(words):
    (sent,) = payload([words])["records"]
    rate = alignment_error_rate([words.links()], [words.sure], [words.possible]).error_rate
    assert f"an alignment error rate of {rate:.2f}" in sent["belief"]
    told = replace(words, metadata={"belief": "It can."}, sure=(), possible=())
    assert payload([told])["records"][0]["belief"] == "It can."

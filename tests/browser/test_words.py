"""Tokens that spell a word together are one word on the page, unless the reader asks for them."""

from __future__ import annotations

import numpy as np
import pytest

from regard.evaluation.words import in_words
from regard.record import AttentionRecord
from regard.viewer import View

TOKENS = ("[CLS]", "snow", "##board", "##ers", "race")


def part(page, name: str):
    return page.locator(f'[data-part="{name}"]')


def record_of(tokens=TOKENS, repeat: int = 1, **more) -> AttentionRecord:
    tokens = tokens * repeat
    weights = np.random.default_rng(5).dirichlet(np.ones(len(tokens)), (2, 3, len(tokens)))
    axes = ("layer", "head", "query", "key")
    return AttentionRecord(weights, tokens, tokens, axes=axes, **more)


def test_subwords_are_joined_and_their_weights_with_them(open_view):
    record = record_of(sure=[(4, 2)])
    page = open_view(record, "#view=alignment&query=1&key=1")
    assert page.locator(".row-label").all_inner_texts() == ["[CLS]", "snowboarders", "race"]
    assert part(page, "number").inner_text() == f"{in_words(record).alignment[1, 1]:.2f}"
    assert part(page, "input").inner_text() == "[CLS] snowboarders race"
    page.keyboard.press("2")
    page.locator("button.head").nth(4).click()
    part(page, "sheet").locator(".row-label").nth(2).hover()
    shown = part(page, "looks").locator("li .figure").all_inner_texts()
    wanted = np.sort(in_words(record).weights[1, 1, 2])[::-1]
    assert shown[:2] == [f"{weight:.2f}" for weight in wanted[:2]]


def test_the_reader_may_ask_for_subwords_and_keeps_the_place(open_view):
    record = record_of()
    page = open_view(record, "#view=alignment&query=2&key=1")
    part(page, "pieces").select_option("subwords")
    assert page.locator(".row-label").all_inner_texts() == list(TOKENS)
    assert "pieces=subwords" in page.evaluate("location.hash")
    assert part(page, "from").inner_text() == "race" and part(page, "to").inner_text() == "snow"
    assert part(page, "number").inner_text() == f"{record.alignment[4, 1]:.2f}"
    page.reload()
    assert page.locator(".row-label").count() == 5
    part(page, "pieces").select_option("words")
    assert part(page, "to").inner_text() == "snowboarders"


def test_words_have_nothing_to_be_chosen(open_view):
    page = open_view(record_of(("a", "cat", "sat")))
    assert not part(page, "cut").is_visible()


def test_what_is_generated_is_tokens(open_view):
    tokens = ("The", " snow", "board", "ers")
    page = open_view(record_of(tokens, metadata={"kind": "decoder"}), "#view=generation")
    assert part(page, "step-of").inner_text() == "1 of 4"
    assert not part(page, "cut").is_visible()
    page.keyboard.press("3")
    assert page.locator(".token").all_inner_texts() == ["The", "snowboarders"]
    assert page.locator(".flow").inner_text() == "The snowboarders"


@pytest.mark.parametrize("name", ["heads", "zoom", "compare"])
def test_long_maps_are_joined_when_they_are_unpacked(open_view, name):
    record = record_of(repeat=45)  # travels as bytes
    page = open_view(record, f"#view={name}&layer=1&head=2&open=1&query=7&key=3")
    page.wait_for_function("performance.getEntriesByName('unpacked').length")
    assert page.locator(".error").all_inner_texts()[0] == ""
    if name == "heads":
        best = in_words(record).weights[1, 2, 7].max()
        assert float(part(page, "looks").locator("li .figure").first.inner_text()) == pytest.approx(
            best, abs=0.01
        )


def test_two_models_that_cut_words_differently_are_compared_in_words(open_view):
    other = record_of(("[CLS]", "snowboard", "##ers", "race"))
    page = open_view([record_of(), other], "#view=compare")
    assert part(page, "compare").is_visible()
    first, second = (in_words(one).alignment for one in (record_of(), other))
    row = part(page, "differences").locator("tbody tr").first.locator("td").all_inner_texts()
    most = np.abs(second - first).max()
    assert row[-1].lstrip("+−") == f"{most:.2f}"


def test_a_view_of_subwords_opens_with_them(browser, tmp_path):
    path = View(record_of(), subwords=True).save(tmp_path / "view.html")
    page = browser.new_page()
    page.goto(f"{path.as_uri()}#view=alignment")
    assert page.locator(".row-label").count() == 5
    part(page, "pieces").select_option("words")
    assert page.evaluate("location.hash") == "#view=alignment&pieces=words"
    assert page.locator(".row-label").count() == 3
    page.close()

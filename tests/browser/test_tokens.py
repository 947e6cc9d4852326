from __future__ import annotations

import numpy as np
import pytest

from regard.record import AttentionRecord

WORDS = ("the", "cat", "sat", "down")


def part(page, name: str):
    return page.locator(f'[data-part="{name}"]')


@pytest.fixture
def record() -> AttentionRecord:
    """The first head looks one back, the second at "cat" with all but a tenth."""
    weights = np.zeros((1, 2, 4, 4))
    weights[0, 0, [1, 2, 3], [0, 1, 2]] = 1
    weights[0, 1, :, 1], weights[0, 1, :, 3] = 0.9, 0.1
    return AttentionRecord(weights, WORDS, WORDS, axes=("layer", "head", "query", "key"))


def test_a_token_shows_where_it_looks_and_who_looks_at_it(open_view, record):
    page = open_view(record, "#view=tokens")
    page.locator(".token", has_text="sat").hover()
    assert part(page, "looks").locator("li .word").all_inner_texts() == ["cat", "down"]
    assert part(page, "looks").locator("li .figure").all_inner_texts() == ["0.95", "0.05"]
    assert part(page, "looked").locator("li .word").all_inner_texts() == ["down"]
    widths = [float(w) for w in page.locator("path.to").evaluate_all(WIDTHS)]
    assert widths == [pytest.approx(8 * 0.95, abs=0.01), 1]
    assert page.locator("path.from").count() == 1


WIDTHS = "paths => paths.map((path) => path.getAttribute('stroke-width'))"


def test_a_token_names_its_strongest_heads_and_they_can_be_chosen(open_view, record):
    page = open_view(record, "#view=tokens&query=3")
    strongest = part(page, "strips").locator("ol").first.locator("li button")
    assert strongest.all_inner_texts() == ["layer 0, head 0\nsat\n1.00", "layer 0, head 1\ncat\n0.90"]
    strongest.nth(1).click()
    assert page.evaluate("location.hash") == "#view=tokens&layer=0&head=1&query=3"
    assert part(page, "looks").locator("li .figure").all_inner_texts() == ["0.90", "0.10"]
    assert part(page, "which-map").input_value() == "1"


def test_the_arrows_move_from_token_to_token_and_speak(open_view, record):
    page = open_view(record, "#view=tokens")
    page.locator(".flow").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".token.lit").inner_text() == "sat"
    assert part(page, "spoken").text_content() == (
        "“sat” looks most at “cat” 0.95, “down” 0.05; is looked at most by “down” 0.50"
    )
    page.keyboard.press("h")
    assert part(page, "which-map").input_value() == "0"
    page.keyboard.press("Escape")
    assert page.locator(".token.lit").count() == 0


def test_two_texts_stand_one_above_the_other(open_view):
    weights = np.array([[0.2, 0.8], [1.0, 0.0]])
    page = open_view(AttentionRecord(weights, ("good", "day"), ("jour", "bon")), "#view=tokens")
    assert page.locator(".flow").count() == 2
    page.locator('.token[data-side="key"]').nth(1).click()
    assert page.evaluate("location.hash") == "#view=tokens&key=1"
    assert part(page, "looked").locator("li .word").all_inner_texts() == ["good"]
    assert part(page, "looks").is_hidden()


def test_right_to_left_text_runs_to_the_left_and_so_do_the_arrows(open_view):
    words = ("ראשון", "שני", "שלישי")
    page = open_view(AttentionRecord(np.eye(3), words, words), "#view=tokens&query=0")
    lefts = [one.bounding_box()["x"] for one in page.locator(".token").all()]
    assert lefts == sorted(lefts, reverse=True)
    page.locator(".flow").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".token.lit").inner_text() == "שני"


def test_characters_stand_side_by_side(open_view):
    text = tuple("注意力")
    page = open_view(AttentionRecord(np.eye(3), text, text), "#view=tokens")
    assert page.locator(".flow").text_content() == "注意力"


def test_a_slash_finds_a_token(open_view, record):
    page = open_view(record, "#view=tokens")
    page.keyboard.press("/")
    page.keyboard.type("DOW")
    assert part(page, "count").inner_text() == "1 found"
    page.keyboard.press("Enter")
    assert page.locator(".token.lit").inner_text() == "down"
    page.keyboard.press("?")
    assert part(page, "help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".token.lit").inner_text() == "down"


def test_hostile_tokens_of_a_text_are_text(open_view):
    words = ("<img src=x onerror=alert(1)>", "</span><script>alert(2)</script>")
    page = open_view(AttentionRecord(np.eye(2), words, words), "#view=tokens&query=1")
    assert page.locator(".token").all_inner_texts() == list(words)
    assert page.locator("img").count() == 0

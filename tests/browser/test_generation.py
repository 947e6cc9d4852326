"""The generation view: what is said appears a token at a time, with where the model looks."""

from __future__ import annotations

import numpy as np

from regard.record import AttentionRecord

WORDS = ("Once", " upon", " a", " time")


def decoder():
    weights = np.tril(np.ones((2, 3, 4, 4), np.float32))
    weights /= weights.sum(-1, keepdims=True)
    axes = ("layer", "head", "query", "key")
    return AttentionRecord(weights, WORDS, WORDS, axes, title="a GPT", metadata={"kind": "decoder"})


def faint(page):
    return page.locator(".flow .ahead").count()


def test_a_slider_and_keys_step_through_the_tokens(open_view):
    page = open_view(decoder(), "#view=generation")
    assert page.locator("[data-part=step-of]").inner_text() == "1 of 4" and faint(page) == 3
    assert page.locator(".flow").inner_text() == "Once upon a time"
    page.locator("[data-part=step]").fill("3")
    assert page.locator("[data-part=step-of]").inner_text() == "3 of 4" and faint(page) == 1
    assert page.locator(".flow .lit").inner_text().strip() == "a"
    page.locator(".flow").focus()
    page.keyboard.press("ArrowRight")
    assert faint(page) == 0 and "query=3" in page.url
    page.keyboard.press("Home")
    assert faint(page) == 3


def test_it_plays_to_the_end_and_stops(open_view):
    page = open_view(decoder(), "#view=generation")
    page.clock.install()
    page.get_by_role("button", name="Play").click()
    assert page.get_by_role("button", name="Pause").is_visible()
    page.clock.run_for(5000)
    assert faint(page) == 0 and page.get_by_role("button", name="Play").is_visible()


def test_an_output_grows_beside_its_input(open_view):
    record = AttentionRecord(np.eye(2), ("ein", "Haus"), ("a", "house"), title="a translator")
    page = open_view(record, "#view=generation")
    assert faint(page) == 1
    assert page.locator("[data-part=looks] li").first.inner_text().startswith("a")


def test_an_encoder_says_nothing_step_by_step(open_view):
    record = AttentionRecord(np.eye(2), ("a", "b"), ("a", "b"), metadata={"kind": "encoder"})
    page = open_view(record)
    assert page.get_by_role("button", name="Generation").count() == 0


def test_the_tokens_view_still_hears_after_it(open_view):
    page = open_view(decoder(), "#view=generation")
    page.get_by_role("button", name="Tokens").click()
    assert faint(page) == 0
    page.locator(".flow .token").nth(2).hover()
    assert page.locator(".flow .lit").inner_text().strip() == "a"
    page.get_by_role("button", name="Generation").click()
    assert faint(page) == 3

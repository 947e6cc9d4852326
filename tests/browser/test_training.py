"""The training view: one map at one checkpoint after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regard.record import AttentionRecord

WORDS = ("a", "b", "c")
AXES = ("layer", "head", "query", "key")


def checkpoint(step, **changes):
    weights = np.full((1, 2, 3, 3), 1 / 3, np.float32) * (1000 - step) / 1000 + np.eye(3) * step / 1000
    given = {"title": "a BERT", "metadata": {"kind": "encoder", "step": str(step)}} | changes
    return AttentionRecord(weights, WORDS, WORDS, AXES, **given)


def told(page):
    return page.locator("[data-part=step-of]").inner_text()


def test_the_slider_goes_through_the_steps_in_their_order_and_keeps_the_head(open_view):
    page = open_view([checkpoint(1000), checkpoint(0), checkpoint(500)], "#view=training&layer=0&head=1")
    assert told(page) == "step 1,000" and page.locator("[data-part=step]").input_value() == "3"
    page.locator("[data-part=step]").fill("1")
    assert told(page) == "step 0" and "head=1" in page.url and "record=1" in page.url
    page.locator("[data-part=step]").fill("2")
    assert told(page) == "step 500"


def test_what_is_focused_stays_so_from_step_to_step(open_view):
    page = open_view([checkpoint(0), checkpoint(500)], "#view=training&query=2&key=2")
    page.locator("[data-part=step]").fill("2")
    assert told(page) == "step 500" and "query=2&key=2" in page.url
    pieces = {"query_tokens": ("a", "##b", "c"), "key_tokens": ("a", "##b", "c")}
    records = [replace(checkpoint(step), **pieces) for step in (0, 500)]
    page = open_view(records, "#view=training&query=1&key=1")
    page.locator("[data-part=step]").fill("2")
    assert told(page) == "step 500" and "query=1&key=1" in page.url
    assert page.locator("[data-part=to]").inner_text() == "c"


def test_it_plays_to_the_last_checkpoint(open_view):
    page = open_view([checkpoint(0), checkpoint(500), checkpoint(1000)], "#view=training")
    page.clock.install()
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(4000)
    assert told(page) == "step 1,000" and page.get_by_role("button", name="Play").is_visible()


def test_records_of_no_training_have_no_such_view(open_view):
    one = checkpoint(1000, metadata={"kind": "encoder"})
    page = open_view([one, checkpoint(5)])
    assert page.get_by_role("button", name="Training").count() == 0

from __future__ import annotations

import numpy as np
import pytest

from regard.record import AttentionRecord

WORDS = ("the", "cat", "sat")


def part(page, name: str):
    return page.locator(f'[data-part="{name}"]')


@pytest.fixture
def records() -> list[AttentionRecord]:
    before, after = np.full((3, 3), 1 / 3), np.eye(3)
    return [
        AttentionRecord(weights, WORDS, WORDS, title=title)
        for weights, title in [(before, "step 0"), (after, "step 100")]
    ]


def test_two_records_of_the_same_words_are_compared(open_view, records):
    page = open_view(records, "#view=compare&query=1&key=1")
    assert part(page, "number").inner_text() == "+0.67"
    assert part(page, "rank").inner_text() == "with 0.33 in the first and 1.00 in the second"
    part(page, "compare").focus()
    page.keyboard.press("ArrowRight")
    assert part(page, "number").inner_text() == "−0.33"
    assert part(page, "spoken").text_content() == (
        "“cat” looks at “sat” with 0.33 in the first and 0.00 in the second"
    )
    row = part(page, "differences").locator("tbody tr").first
    assert row.locator("td").all_inner_texts() == ["the", "the", "0.33", "1.00", "+0.67"]


def test_layers_and_heads_of_one_record_are_compared(open_view):
    weights = np.stack([[np.eye(3), np.eye(3)], [np.eye(3)[::-1], np.full((3, 3), 1 / 3)]])
    page = open_view(
        AttentionRecord(weights, WORDS, WORDS, axes=("layer", "head", "query", "key")),
        "#view=compare&left=0.0&right=0.1.0&query=0&key=2",
    )
    assert part(page, "number").inner_text() == "+1.00"
    part(page, "right").select_option("0.1.1")
    assert part(page, "number").inner_text() == "+0.33"
    assert "right=0.1.1" in page.evaluate("location.hash")


def test_one_map_has_nothing_to_be_compared_with(open_view, records):
    page = open_view(records[0])
    assert "Compare" not in part(page, "views").inner_text()

from __future__ import annotations

import numpy as np
import pytest

from regard.record import AttentionRecord
from regard.viewer.colours import ramp

WORDS = ("the", "cat", "sat", "down")
LAYERS, HEADS = 2, 3


@pytest.fixture
def record() -> AttentionRecord:
    """Head (l, h) looks h tokens back; a token that has no such token looks nowhere."""
    weights = np.zeros((LAYERS, HEADS, 4, 4))
    for head in range(HEADS):
        for query in range(head, 4):
            weights[:, head, query, query - head] = 1
    return AttentionRecord(
        weights,
        WORDS,
        WORDS,
        axes=("layer", "head", "query", "key"),
        title="small",
        statistics={"previous": np.array([[0.0, 0.9, 0.1], [0.2, 0.8, 0.3]]), "entropy": np.zeros((2, 3))},
        metadata={"belief": "Hardly: erasing others changes as much."},
    )


def long_record(length: int = 512, layers: int = 12, heads: int = 12) -> AttentionRecord:
    random = np.random.default_rng(0)
    scores = random.normal(size=(layers, heads, length, length)).astype(np.float32) * 1.6
    scores[:, 1::3, np.arange(1, length), np.arange(length - 1)] += 9
    weights = np.exp(scores)
    weights /= weights.sum(-1, keepdims=True)
    weights[0, 0, 3] = 0
    words = tuple(f"w{index}" for index in range(length))
    return AttentionRecord(weights, words, words, axes=("layer", "head", "query", "key"))


def part(page, name: str):
    return page.locator(f'[data-part="{name}"]')


def captions(page) -> list[str]:
    return [text.split()[0] for text in page.locator(".head .caption").all_inner_texts()]


def corner_colour(page, nth: int, row: int, column: int, size: int = 4) -> list[int]:
    return (
        page.locator(".head canvas")
        .nth(nth)
        .evaluate(
            """(canvas, [row, column, size]) => {
            const copy = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
            const [x, y] = [column, row].map((at) => Math.floor(((at + 0.5) * canvas.width) / size));
            copy.getContext("2d").drawImage(canvas, x, y, 1, 1, 0, 0, 1, 1);
            return [...copy.getContext("2d").getImageData(0, 0, 1, 1).data.slice(0, 3)];
        }""",
            [row, column, size],
        )
    )


def test_every_head_is_a_small_map(open_view, record):
    page = open_view(record)
    assert page.locator(".head").count() == LAYERS * HEADS
    assert page.locator(".head").nth(4).get_attribute("aria-label") == "layer 1, head 1"
    full, paper = ramp("cividis", "light")[[255, 0]].tolist()
    assert corner_colour(page, 1, 1, 0) == full
    assert corner_colour(page, 1, 1, 1) == paper
    assert part(page, "figure").is_hidden()


def test_heads_are_sorted_by_any_statistic(open_view, record):
    page = open_view(record)
    assert captions(page) == []
    part(page, "sort").select_option("previous")
    assert captions(page) == ["0.1", "1.1", "1.2", "1.0", "0.2", "0.0"]
    assert page.evaluate("location.hash") == "#sort=previous"
    assert page.locator(".head").first.get_attribute("aria-label") == "layer 0, head 1: previous 0.90"


def test_heads_and_layers_stand_in_tables_in_the_order_of_any_number(open_view, record):
    page = open_view(record)
    page.locator("summary", has_text="All heads and layers").click()
    heads, layers = (part(page, f"{name}-table").locator("tbody tr") for name in ("head", "layer"))
    heads.first.wait_for()
    assert heads.count() == LAYERS * HEADS and layers.count() == LAYERS
    part(page, "head-table").get_by_role("button", name="previous").click()
    assert [row.split("\t")[0] for row in heads.all_inner_texts()][:2] == [
        "layer 0, head 1",
        "layer 1, head 1",
    ]
    assert [row.split("\t")[:2] for row in layers.all_inner_texts()] == [
        ["layer 1", "0.43"],
        ["layer 0", "0.33"],
    ]
    assert part(page, "head-table").locator("th[aria-sort]").inner_text() == "previous"
    assert page.evaluate("location.hash") == "#sort=previous"


def test_a_chosen_head_is_shown_large_with_what_is_known_of_it(open_view, record):
    page = open_view(record)
    page.locator(".head").nth(5).click()
    assert part(page, "which").inner_text() == "layer 1, head 2"
    assert part(page, "figure").is_visible()
    page.locator(".row-label").nth(3).click()
    assert part(page, "number").inner_text() == "1.00"
    assert part(page, "to").inner_text() == "cat"
    assert part(page, "kind").locator("li").first.inner_text().split("\n")[0].startswith("previous")
    assert "between 0 and 0.90 in this model" in part(page, "kind").locator("li").first.text_content()
    assert part(page, "belief").locator("p").inner_text() == "Hardly: erasing others changes as much."


def test_the_keyboard_goes_through_heads_and_layers(open_view, record):
    page = open_view(record)
    page.keyboard.press("l")
    page.keyboard.press("l")
    page.keyboard.press("j")
    assert page.evaluate("location.hash") == "#layer=1&head=1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert part(page, "which").inner_text() == "layer 1, head 2"
    page.keyboard.press("k")
    page.keyboard.press("h")
    assert part(page, "which").inner_text() == "layer 0, head 1"
    page.keyboard.press("Escape")
    assert part(page, "heads").is_visible()
    page.keyboard.press("1")
    assert part(page, "views").locator("[aria-current]").inner_text() == "Alignment"


def test_an_address_opens_a_head(open_view, record):
    page = open_view(record, "#view=heads&layer=1&head=1&open=1&query=2&key=1")
    assert part(page, "which").inner_text() == "layer 1, head 1"
    assert part(page, "number").inner_text() == "1.00"


@pytest.mark.parametrize(
    "fragment", ["#view=nothing", "#layer=9&head=0&open=1", "#sort=__proto__", "#open=1"]
)
def test_an_address_that_means_nothing_shows_all_heads(open_view, record, fragment):
    assert part(open_view(record, fragment), "heads").is_visible()


def test_many_long_heads_are_drawn_in_under_a_second_from_a_small_file(open_view, tmp_path):
    page = open_view(long_record())
    assert (tmp_path / "view.html").stat().st_size <= 20e6
    times = []
    for _ in range(4):
        page.reload()
        part(page, "loading").wait_for(state="hidden")
        times.append(
            page.evaluate(
                """performance.getEntriesByName("unpacked")[0].startTime
                   - performance.getEntriesByType("navigation")[0].domInteractive"""
            )
        )
    assert min(times) < 1000, times
    assert corner_colour(page, 1, 100, 99, 512) != corner_colour(page, 1, 100, 300, 512)
    part(page, "colours").select_option("viridis")
    took = page.evaluate(
        """() => {
            const select = document.querySelector('[data-part="colours"]');
            const times = ["greys", "cividis", "viridis"].map((name) => {
                select.value = name;
                const start = performance.now();
                select.dispatchEvent(new Event("change"));
                return performance.now() - start;
            });
            return Math.min(...times);
        }"""
    )
    assert took < 1000


def test_a_weight_that_travelled_as_a_byte_is_shown_as_it_was(open_view):
    record = long_record(layers=1, heads=2)
    page = open_view(record, "#layer=0&head=1&open=1&query=7&key=6")
    part(page, "figure").wait_for()
    for query, key in [(7, 6), (200, 199), (3, 2), (511, 510)]:
        page.goto(page.url.split("#")[0] + f"#layer=0&head=1&open=1&query={query}&key={key}")
        assert part(page, "number").inner_text() == f"{record.weights[0, 1, query, key]:.2f}"
    page.goto(page.url.split("#")[0] + "#layer=0&head=0&open=1&query=3&key=2")
    assert part(page, "number").inner_text() == "0.00"


def test_a_file_that_is_damaged_says_so(open_view, tmp_path):
    page = open_view(long_record(600, 1, 2))
    path = tmp_path / "view.html"
    text = path.read_text("utf-8")
    at = text.index('"maps":["') + 400
    path.write_text(text[:at] + "AAAAAAAA" * 40 + text[at + 320 :], "utf-8")
    page.reload()
    part(page, "failed").wait_for()
    assert "The file is damaged: save it again." in part(page, "failed").inner_text()

from __future__ import annotations

import numpy as np
import pytest

from regard.record import AttentionRecord
from regard.viewer import View
from regard.viewer.colours import ramp
from regard.viewer.tokens import shown_order

GERMAN = ("eine", "Frau", "mit", "blauem", "Hut", ".")
ENGLISH = ("a", "woman", "with", "a", "blue", "hat", ".")
WEIGHTS = np.array(
    [
        [0.90, 0.10, 0.00, 0.00, 0.00, 0.00],
        [0.05, 0.90, 0.05, 0.00, 0.00, 0.00],
        [0.00, 0.00, 1.00, 0.00, 0.00, 0.00],
        [0.10, 0.00, 0.20, 0.30, 0.40, 0.00],
        [0.00, 0.00, 0.00, 0.80, 0.20, 0.00],
        [0.00, 0.00, 0.00, 0.25, 0.75, 0.00],
        [0.00, 0.00, 0.00, 0.00, 0.00, 0.00],
    ]
)


@pytest.fixture
def record() -> AttentionRecord:
    return AttentionRecord(
        WEIGHTS,
        ENGLISH,
        GERMAN,
        title="German to English",
        sure=frozenset({(1, 1), (5, 4)}),
        possible=frozenset({(3, 3)}),
        copied=frozenset({6}),
    )


def part(page, name: str):
    return page.locator(f'[data-part="{name}"]')


def centre_of(page, query: int, column: int) -> tuple[float, float]:
    area = page.locator("canvas.cells").bounding_box()
    cell = area["width"] / len(GERMAN)
    return area["x"] + (column + 0.5) * cell, area["y"] + (query + 0.5) * cell


def colour_at(page, query: int, column: int, columns: int = len(GERMAN)) -> list[int]:
    """The colour a little off the middle of a cell, where neither gold nor numbers are drawn."""
    return page.evaluate(
        """([query, column, columns]) => {
            const canvas = document.querySelector("canvas.cells");
            const cell = canvas.width / columns;
            const at = [(column + 0.25) * cell, (query + 0.5) * cell].map(Math.round);
            const one = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
            one.getContext("2d").drawImage(canvas, at[0], at[1], 1, 1, 0, 0, 1, 1);
            return [...one.getContext("2d").getImageData(0, 0, 1, 1).data.slice(0, 3)];
        }""",
        [query, column, columns],
    )


def test_the_page_draws_weight_as_ink(open_view, record):
    page = open_view(record)
    inks = ramp("cividis", "light")
    assert colour_at(page, 2, 2) == inks[255].tolist()
    assert colour_at(page, 0, 4) == [255, 255, 255]
    assert colour_at(page, 4, 3) == inks[204].tolist()


def test_words_stand_beside_the_map(open_view, record):
    page = open_view(record)
    assert page.locator(".row-label").all_inner_texts() == list(ENGLISH)
    assert page.locator(".column-label").all_inner_texts() == list(GERMAN)
    assert "copied" in (page.locator(".row-label").last.get_attribute("class") or "")
    assert part(page, "title").inner_text() == "German to English"
    assert part(page, "input").inner_text() == "eine Frau mit blauem Hut ."


def test_hovering_a_cell_lights_its_row_and_column_and_says_what_it_is(open_view, record):
    page = open_view(record)
    page.mouse.move(*centre_of(page, 3, 4))
    assert part(page, "number").inner_text() == "0.40"
    assert part(page, "from").inner_text() == "a"
    assert part(page, "to").inner_text() == "Hut"
    assert part(page, "rank").inner_text() == "largest of 6 in its row"
    assert page.locator(".row-label.lit").all_inner_texts() == ["a"]
    assert page.locator(".column-label.lit").all_inner_texts() == ["Hut"]
    faint = colour_at(page, 2, 2)
    page.mouse.move(2, 2)
    assert sum(faint) > sum(colour_at(page, 2, 2))
    assert part(page, "hint").is_visible()


def test_hovering_a_word_shows_its_partners(open_view, record):
    page = open_view(record)
    page.locator(".row-label").nth(3).hover()
    assert part(page, "answer").is_hidden()
    assert part(page, "looks").locator("h3").inner_text() == "a looks most at"
    assert part(page, "looks").locator("li .word").all_inner_texts() == ["Hut", "blauem", "mit", "eine"]
    widths = [bar.bounding_box()["width"] for bar in part(page, "looks").locator(".bar").all()]
    assert widths == sorted(widths, reverse=True)
    assert set(page.locator(".column-label.partner").all_inner_texts()) == {"eine", "mit", "blauem", "Hut"}
    page.locator(".column-label").nth(4).hover()
    assert part(page, "looked").locator("h3").inner_text() == "Hut is looked at most by"
    assert part(page, "looked").locator("li .word").first.inner_text() == "hat"
    page.locator(".row-label").nth(6).hover()
    assert part(page, "looks").locator("h3").inner_text() == ". has no weight"


def focused(page) -> tuple[str, str]:
    return part(page, "from").inner_text(), part(page, "to").inner_text()


def test_the_keyboard_reaches_every_cell(open_view, record):
    page = open_view(record)
    for _ in range(12):  # past the choices of the page
        page.keyboard.press("Tab")
        if part(page, "grid").evaluate("grid => grid === document.activeElement"):
            break
    assert part(page, "grid").evaluate("grid => grid === document.activeElement")
    assert focused(page) == ("a", "eine")
    for key, expected in [
        ("ArrowRight", ("a", "Frau")),
        ("ArrowDown", ("woman", "Frau")),
        ("End", ("woman", ".")),
        ("ArrowRight", ("woman", ".")),
        ("Home", ("woman", "eine")),
        ("Control+End", (".", ".")),
        ("ArrowUp", ("hat", ".")),
        ("Shift+ArrowLeft", ("hat", "eine")),
        ("PageUp", ("a", "eine")),
        ("Control+End", (".", ".")),
        ("Control+Home", ("a", "eine")),
    ]:
        page.keyboard.press(key)
        assert focused(page) == expected, key
    page.keyboard.press("Escape")
    assert part(page, "hint").is_visible()


def test_the_focused_cell_is_spoken(open_view, record):
    page = open_view(record)
    part(page, "grid").focus()
    page.mouse.click(*centre_of(page, 5, 4))
    spoken = part(page, "spoken")
    assert spoken.get_attribute("aria-live") == "polite"
    assert spoken.text_content() == "“hat” looks at “Hut” with 0.75, its largest, a sure gold link"
    page.keyboard.press("ArrowLeft")
    assert spoken.text_content() == "“hat” looks at “blauem” with 0.25, 2nd of 6 in its row"
    grid = part(page, "grid")
    assert (grid.get_attribute("role"), grid.get_attribute("aria-rowcount")) == ("grid", "7")
    cell = page.locator("#" + str(grid.get_attribute("aria-activedescendant")))
    assert (cell.get_attribute("aria-rowindex"), cell.get_attribute("aria-colindex")) == ("6", "4")


def test_weights_below_a_threshold_get_no_ink(open_view, record):
    page = open_view(record, "#view=alignment")
    slider = part(page, "threshold")
    least = part(page, "threshold-at")
    assert least.inner_text() == "all"
    ink = """canvas => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        let dark = 0;
        for (let at = 0; at < data.length; at += 4) dark += data[at] < 200;
        return dark;
    }"""
    before = page.locator("canvas.cells").evaluate(ink)
    slider.focus()
    page.keyboard.press("End")
    assert least.inner_text() == "from 0.95"
    assert page.evaluate("location.hash").endswith("threshold=0.95")
    assert page.locator("canvas.cells").evaluate(ink) < before
    page.reload()
    assert least.inner_text() == "from 0.95"
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator("canvas.cells").evaluate(ink) == before


def test_every_state_has_an_address(open_view, record):
    page = open_view(record, "#query=4&key=3&colours=viridis&theme=dark")
    assert focused(page) == ("blue", "blauem")
    assert part(page, "colours").input_value() == "viridis"
    assert page.locator("html").get_attribute("data-theme") == "dark"
    part(page, "grid").focus()
    page.keyboard.press("ArrowDown")
    part(page, "colours").select_option("greys")
    assert page.evaluate("location.hash") == "#query=5&key=3&colours=greys&theme=dark"


@pytest.mark.parametrize(
    "fragment", ["#query=99&key=-1", "#record=7", "#colours=jet&theme=pink", "#%%%", "#query=1"]
)
def test_an_address_that_means_nothing_shows_the_whole_map(open_view, record, fragment):
    page = open_view(record, fragment)
    assert part(page, "hint").is_visible()
    assert colour_at(page, 2, 2) == ramp("cividis", "light")[255].tolist()


def test_the_page_follows_the_system_into_the_dark_unless_told_otherwise(open_view, record):
    page = open_view(record, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate(background) == "rgb(15, 17, 20)"
    assert colour_at(page, 2, 2) == ramp("cividis", "dark")[255].tolist()
    page.emulate_media(color_scheme="light")
    page.locator('html[data-theme="light"]').wait_for()
    assert colour_at(page, 2, 2) == ramp("cividis", "light")[255].tolist()
    part(page, "theme").select_option("dark")
    assert page.evaluate(background) == "rgb(15, 17, 20)"


def test_several_records_can_be_chosen(open_view, record):
    other = AttentionRecord(np.eye(2), ("hello", "world"), ("hallo", "Welt"), title="second")
    page = open_view([record, other])
    buttons = part(page, "records").locator("button")
    assert buttons.count() == 2
    buttons.nth(1).click()
    assert part(page, "title").inner_text() == "second"
    assert buttons.nth(1).get_attribute("aria-current") == "true"
    assert page.locator(".row-label").all_inner_texts() == ["hello", "world"]
    assert page.evaluate("location.hash") == "#record=1"
    assert part(page, "gold").is_hidden()


def test_one_record_needs_no_list(open_view, record):
    page = open_view(record)
    assert part(page, "records").is_hidden()
    assert part(page, "gold").is_visible()


def test_the_table_says_the_same_as_the_map(open_view, record):
    page = open_view(record)
    page.locator("summary", has_text="All weights").click()
    table = part(page, "table")
    assert table.locator("thead th").all_inner_texts() == list(GERMAN)
    assert table.locator("tbody th").all_inner_texts() == list(ENGLISH)
    assert table.locator("tbody tr").nth(3).locator("td").all_inner_texts() == [
        "0.10", "0.00", "0.20", "0.30", "0.40", "0.00",
    ]  # fmt: skip


def test_hostile_tokens_are_shown_as_text(open_view):
    tokens = (
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(2)</script>",
        "{{data}}",
        "\ud800",
        "&amp;",
    )
    page = open_view(AttentionRecord(np.eye(5), tokens, tokens, title="<i>title</i>"))
    assert page.locator(".row-label").all_inner_texts()[:3] == list(tokens[:3])
    assert page.locator("img, i:not(.square):not(.circle)").count() == 0
    assert page.title() == part(page, "title").inner_text() == "<i>title</i>"


def test_spaces_and_marks_are_quiet_symbols(open_view):
    page = open_view(AttentionRecord(np.eye(3), ("a", "\n", "</s>"), tuple("a b")))
    assert page.locator(".column-label").all_inner_texts() == ["a", "␣", "b"]
    assert page.locator(".row-label.quiet").all_inner_texts() == ["↵", "⊣"]


RIGHT_TO_LEFT = (
    "٣ مارس ٢٠٢١",
    "3 במרץ 2021",
    "אבג abc דהו",
    "abc אבג דהו xyz",
    "٢٠٢١/٣/٣",
    "יום ד׳, 3.3.21 בבוקר",
    "الأربعاء، ٣ مارس ٢٠٢١ م",
)


def test_columns_stand_where_the_browser_puts_the_letters(open_view):
    page = open_view(
        [AttentionRecord(np.zeros((1, len(text))), ("x",), tuple(text)) for text in RIGHT_TO_LEFT]
    )
    for number, text in enumerate(RIGHT_TO_LEFT):
        part(page, "records").locator("button").nth(number).click()
        letters, labels = page.evaluate(
            """(text) => {
                const line = document.body.appendChild(document.createElement("p"));
                line.dir = "auto";
                line.textContent = text;
                const letters = [...text].map((_, index) => {
                    const range = document.createRange();
                    range.setStart(line.firstChild, index);
                    range.setEnd(line.firstChild, index + 1);
                    return range.getBoundingClientRect().left;
                });
                const labels = [...document.querySelectorAll(".column-label")];
                return [letters, labels.map((label) => label.getBoundingClientRect().left)];
            }""",
            text,
        )
        for lefts in (letters, labels):
            assert sorted(range(len(text)), key=lefts.__getitem__) == shown_order(tuple(text)), text


def test_arrows_follow_the_eye_in_right_to_left_text(open_view):
    page = open_view(AttentionRecord(np.eye(3), ("1", "2", "3"), ("ראשון", "שני", "שלישי")), "#query=0&key=1")
    part(page, "grid").focus()
    page.keyboard.press("ArrowRight")
    assert focused(page) == ("1", "ראשון")


@pytest.mark.parametrize("size", [(1, 1), (3, 60), (60, 3), (120, 120), (400, 400)])
def test_maps_of_any_size_stay_within_the_page(open_view, size):
    queries, keys = size
    weights = np.zeros(size)
    weights[-1, -1] = 1
    page = open_view(
        AttentionRecord(weights, ("word",) * queries, ("Wort",) * keys),
        f"#query={queries - 1}&key={keys - 1}",
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sheet, grid = part(page, "sheet").bounding_box(), part(page, "grid").bounding_box()
    cells = page.locator("canvas.cells").bounding_box()
    assert cells["x"] >= sheet["x"]
    assert cells["x"] + cells["width"] <= sheet["x"] + sheet["width"]
    right, bottom = cells["x"] + cells["width"], cells["y"] + cells["height"]
    assert right <= grid["x"] + grid["width"] + 1
    assert bottom <= grid["y"] + grid["height"] + 1


def test_the_word_of_the_focused_cell_keeps_its_number(open_view, record):
    page = open_view(record)
    page.locator(".row-label").nth(1).click()
    page.mouse.move(*centre_of(page, 4, 0))
    page.locator(".row-label").nth(1).hover()
    assert (part(page, "number").inner_text(), *focused(page)) == ("0.90", "woman", "Frau")
    page.locator(".column-label").nth(1).hover()
    assert focused(page) == ("woman", "Frau")


def test_a_narrow_window_keeps_everything_in_reach(open_view, record):
    page = open_view(record, "#query=3&key=3")
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert part(page, "number").is_visible()


def test_a_record_without_words_says_so(open_view):
    page = open_view(
        [AttentionRecord(np.zeros((0, 2)), (), ("a", "b")), AttentionRecord(np.ones((1, 1)), ("a",), ("b",))]
    )
    assert part(page, "empty").is_visible()
    assert part(page, "figure").is_hidden()
    part(page, "records").locator("button").nth(1).click()
    assert part(page, "figure").is_visible()


def test_motion_is_absent_where_it_is_not_wanted(open_view, record):
    page = open_view(record, reduced_motion="reduce")
    durations = "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).transitionDuration)"
    assert set(page.evaluate(durations)) == {"0s"}


def test_the_page_works_inside_a_notebooks_frame(browser, record, tmp_path):
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><meta charset=utf-8>{View(record)._repr_html_()}", "utf-8")
    context = browser.new_context()
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(notebook.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".row-label").nth(1).click()
    assert frame.locator('[data-part="number"]').inner_text() == "0.90"
    assert complaints == []
    context.close()

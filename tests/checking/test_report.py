"""A report says first what matters, in every form, and nothing in it can command a terminal or a page."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from rich.console import Console

from regard.checking.report import Law, Mistake, Report
from regard.errors import InputError

SUM = Law(
    "weights_sum_to_one",
    "wrong",
    False,
    "The weights of a query do not sum to 1 over the keys.",
    "f(q, k, v)\n  query     [[0]]\n  keys      [[0], [1]]\n  sums      [[2]]\n  expected  [[1]]",
)
EMPTY = Law("empty_row_is_zero", "fragile", False, "A query that may look nowhere gets NaN.", "f(q, k, v)")
SHAPES = Law("shapes", "wrong", True, "The context has a row for each query.")
MASK = Law("mask_obeyed", "wrong", None, "It takes no mask.")
QUERIES = Mistake(
    "softmax_over_queries", "wrong", "Weights are normalised over the queries.", "softmax(scores, axis=-1)"
)

WRONG = Report("f", "NumPy · axes (Q, D)", (SHAPES, EMPTY, SUM, MASK), (QUERIES,))
FRAGILE = Report("f", "NumPy", (SHAPES, EMPTY, MASK))
RIGHT = Report("f", "NumPy", (SHAPES, MASK))


def printed(report: Report, **options) -> str:
    console = Console(file=io.StringIO(), **{"width": 80, "color_system": None, **options})
    console.print(report)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_report_is_true_where_nothing_is_wrong():
    assert RIGHT and RIGHT.passed and RIGHT.robust
    assert FRAGILE and FRAGILE.passed and not FRAGILE.robust
    assert not WRONG and not WRONG.passed and not WRONG.robust
    assert [each.verdict for each in (RIGHT, FRAGILE, WRONG)] == ["right", "right but fragile", "wrong"]


def test_a_mistake_alone_makes_it_wrong():
    assert not Report("f", "", (SHAPES,), (QUERIES,))


def test_the_verdict_comes_first_then_mistakes_then_laws():
    text = str(WRONG)
    assert text.startswith("✗ f is wrong\n  NumPy · axes (Q, D)\n")
    parts = [
        "softmax_over_queries",
        "→ softmax(scores, axis=-1)",
        "weights_sum_to_one",
        "expected  [[1]]",
        "empty_row_is_zero · fragile",
        "1 law kept",
        "✓ shapes",
        "1 law not tried",
        "It takes no mask.",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places), text


def test_its_representation_is_one_line_with_the_verdict_and_the_names():
    assert repr(WRONG) == "<Report: f is wrong: softmax_over_queries>"
    assert repr(FRAGILE) == "<Report: f is right but fragile: empty_row_is_zero>"
    assert repr(RIGHT) == "<Report: f is right>"


def test_a_right_function_needs_few_lines():
    assert str(RIGHT).splitlines()[0] == "✓ f is right"
    assert "Laws broken" not in str(RIGHT) and "mistake" not in str(RIGHT)


@pytest.mark.parametrize("width", [30, 60, 120])
def test_it_wraps_at_the_width_of_the_terminal(width):
    lines = printed(WRONG, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert "".join("".join(lines).split()).count("weights_sum_to_one") == 1


def test_a_terminal_shows_it_in_colour():
    assert "\x1b[" in printed(WRONG, color_system="truecolor", force_terminal=True)


def test_nothing_in_it_commands_a_terminal_or_is_read_as_markup():
    law = Law(
        "shapes",
        "wrong",
        False,
        "It fails: ValueError: \x1b[2J[bold]boo[/bold]\r\x07.",
        "f(…)\n  came  \x1b]0;x",
    )
    text = printed(Report("f\x1b[31m", "", (law,)))
    assert "\x1b" not in text and "\r" not in text and "\x07" not in text
    assert "[bold]boo[/bold]" in text


def test_in_a_notebook_every_text_is_escaped_and_nothing_is_loaded():
    law = Law("shapes", "wrong", False, "<script>alert(1)</script>", "f(<b>)\n  came  </pre><img src=x>")
    page = Report("<i>f</i>", "a & b", (law,))._repr_html_()
    assert "<script" not in page and "<img" not in page and "<b>" not in page and "<i>" not in page
    assert "http" not in page and "url(" not in page and "@import" not in page

    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

        def handle_endtag(self, tag):
            assert tags.pop() == tag

    Reader().feed(WRONG._repr_html_())
    assert not tags


def test_as_json_it_holds_all_that_was_found():
    values = json.loads(json.dumps(WRONG.to_dict()))
    assert values["verdict"] == "wrong" and values["passed"] is False and values["robust"] is False
    assert {**values["laws"][3]} == {
        "name": "mask_obeyed",
        "severity": "wrong",
        "held": None,
        "message": "It takes no mask.",
        "example": "",
    }
    assert [mistake["name"] for mistake in values["mistakes"]] == ["softmax_over_queries"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "dott"}, r"verify\(\): dott is not a score\. Known: additive, .*scaled_dot"),
        ({"normalizer": "soft"}, r"verify\(\): soft is not a normalizer\. Known: .*softmax"),
        ({"score": 3}, r"verify\(\): score must be a name or a function\. Got int"),
        ({"heads": 0}, r"verify\(\): heads must be a whole number of at least 1\. Got 0"),
        ({"width": 2.5}, r"verify\(\): width must be a whole number of at least 1\. Got 2\.5"),
        ({"heads": 3, "width": 8}, r"verify\(\): width 8 can't be split evenly into 3 heads"),
        ({"causal": "yes"}, r"verify\(\): causal must be True, False or None\. Got 'yes'"),
        (
            {"framework": "tensorflow"},
            r"verify\(\): tensorflow is not a framework\. Known: numpy, torch, jax",
        ),
    ],
)
def test_an_option_that_cannot_be_meant_is_an_error(options, message):
    from regard.checking.verify import verify

    with pytest.raises(InputError, match=message):
        verify(lambda query, keys, values: values, **options)


PLUGIN = "regard.checking.pytest_plugin"

A_TEST = """
from regard.checking.report import Law, Report

def verify():
    return Report("mine", "NumPy", (Law("shapes", "wrong", False, "It fails.", "mine(q, k, v)"),))

def test_mine():
    assert verify()

def test_named():
    report = verify()
    assert report.robust, "not robust"
"""


def test_a_failing_assertion_shows_the_whole_report_in_pytest(tmp_path):
    (tmp_path / "test_mine.py").write_text(A_TEST)
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert found.returncode == 1
    assert found.stdout.count(" regard.verify ") == 2
    assert found.stdout.count("✗ mine is wrong\n  NumPy\n\nLaws broken\n  ✗ shapes\n    It fails.") == 2

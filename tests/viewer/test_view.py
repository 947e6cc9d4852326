from __future__ import annotations

import html
import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from rich.cells import cell_len
from rich.console import Console

from regard.errors import InputError
from regard.record import load_records
from regard.viewer import View
from regard.viewer.html import page


def test_the_suffix_says_how_a_view_is_saved(tmp_path, words, date):
    view = View([words, date])
    assert view.save(tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(view.save(tmp_path / "v.svg")).getroot().tag.endswith("svg")
    assert view.save(tmp_path / "v.HTML").read_text("utf-8") == page([words, date])
    assert [record.title for record in load_records(view.save(tmp_path / "v.safetensors"))] == [
        words.title,
        "dates",
    ]


@pytest.mark.parametrize(("name", "given"), [("v.pdf", "'.pdf'"), ("v", "no suffix")])
def test_an_unknown_suffix_names_the_known_ones(tmp_path, words, name, given):
    with pytest.raises(InputError, match=rf"{given} is not known.*\.html, \.png, \.svg, \.safetensors"):
        View(words).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_printing_a_view_draws_it_no_wider_than_the_window(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "48")
    text = str(View(words))
    assert "\x1b" not in text
    assert "woman" in text
    assert max(cell_len(line) for line in text.split("\n")) <= 48


def test_a_console_draws_a_view_in_colour(words, date):
    console = Console(width=80, color_system="truecolor", force_terminal=True, file=io.StringIO())
    with console.capture() as capture:
        console.print(View([words, date]))
    assert "48;2;" in capture.get()
    assert "dates" in capture.get()


def test_a_notebook_gets_the_page_in_a_frame_that_reaches_nothing(hostile):
    shown = View(hostile)._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts"')
    assert "allow-same-origin" not in shown
    inside = shown.split('srcdoc="')[1].split('"')[0]
    assert html.unescape(inside) == page(hostile)


def test_a_view_holds_its_records(words, date):
    view = View(record for record in (words, date))
    assert view.record is words
    assert view.records == (words, date)
    assert repr(view) == "View(2 records: 11x9, 10x11)"
    with pytest.raises(InputError, match="no record"):
        View([])


def test_importing_the_viewer_is_light():
    code = (
        "import sys, regard.viewer\n"
        "print([m for m in ('torch', 'matplotlib', 'jax', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Notebooks show the page: live as a widget, and in what their own exporters write."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import numpy as np
import pytest

from regard.record import AttentionRecord
from regard.viewer import View

pytest.importorskip("anywidget")

CELLS = """
import numpy as np
from regard.record import AttentionRecord
from regard.viewer import View
words = ("Haus", "<img onerror=x>")
View(AttentionRecord(np.eye(2), words, ("house", "in"), title="exported"))
""".strip()


def view_of(title):
    return View(AttentionRecord(np.eye(2), ("a", "b"), ("c", "d"), title=title))


def pages_in(document):
    """The pages in the frames of a document."""
    return [html.unescape(found) for found in re.findall(r'srcdoc="([^"]*)"', document)]


def test_a_widget_shows_another_view_when_it_is_told():
    from regard.viewer.widget import ViewWidget

    widget = ViewWidget(view_of("one"))
    assert "one" in widget.page and "export default" in widget._esm
    widget.view = view_of("two")
    assert "two" in widget.page and widget.view.record.title == "two"
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    (shown,) = pages_in(data["text/html"])
    assert "two" in shown


def test_a_notebook_that_jupyter_exports_shows_the_picture():
    nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELLS)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python", "language": "python"}
    executed, _ = nbconvert.preprocessors.ExecutePreprocessor(timeout=60).preprocess(notebook, {})
    document, _ = nbconvert.HTMLExporter().from_notebook_node(executed)
    (shown,) = pages_in(document)
    assert "<title>exported</title>" in shown and "<img onerror" not in shown


def test_a_notebook_that_marimo_exports_shows_the_picture(tmp_path):
    pytest.importorskip("marimo")
    lines = "\n".join(f"    {line}" for line in CELLS.splitlines())
    notebook = tmp_path / "notebook.py"
    notebook.write_text(
        f"import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n{lines}\n    return\n",
        encoding="utf-8",
    )
    out = tmp_path / "notebook.html"
    command = [
        sys.executable,
        "-m",
        "marimo",
        "export",
        "html",
        str(notebook),
        "-o",
        str(out),
        "--no-include-code",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    document = out.read_text(encoding="utf-8")
    assert "srcdoc" in document and "exported" in document and "<img onerror" not in document

from __future__ import annotations

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from regard.errors import InputError
from regard.record import AttentionRecord
from regard.viewer import fonts
from regard.viewer.colours import lightness, ramp
from regard.viewer.layout import Layout, Ruler
from regard.viewer.picture import draw

SVG = "{http://www.w3.org/2000/svg}"


def pixels(path) -> np.ndarray:
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)


def texts(path) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.parse(path).iter(f"{SVG}text")]


def cell_centres(record: AttentionRecord, image: np.ndarray, width_mm: float = 120.0) -> np.ndarray:
    """(Q, K, 3) colours in the middle of each cell."""
    layout = Layout.of(record, width_mm - 5.0, Ruler())
    scale = image.shape[1] / width_mm
    x = 2.5 + layout.indent + layout.margin + (np.arange(layout.columns) + 0.5) * layout.cell
    y = 2.5 + layout.head + (np.arange(layout.rows) + 0.5) * layout.cell
    return image[(y * scale).astype(int)][:, (x * scale).astype(int)]


def test_weight_is_ink(tmp_path):
    record = AttentionRecord(np.array([[1.0, 0.5, 0.0], [0.0, 0.1, 0.9]]), ("a", "b"), ("x", "y", "z"))
    colours = cell_centres(record, pixels(draw(record, tmp_path / "p.png")))
    light = lightness(colours)
    assert light[0, 2] == light[1, 0] == pytest.approx(100, abs=0.1)
    assert light[0, 0] < light[1, 2] < light[0, 1] < light[1, 1] < 100
    np.testing.assert_array_equal(colours[0, 0], ramp()[255])


def test_nothing_blurs_when_cells_are_smaller_than_their_words(tmp_path):
    weights = np.zeros((90, 90))
    weights[10, 20] = 1
    record = AttentionRecord(weights, ("w",) * 90, ("word",) * 90)
    image = pixels(draw(record, tmp_path / "p.png"))
    light = lightness(cell_centres(record, image))
    assert light[10, 20] < 20
    light[10, 20] = 100
    assert light.min() > 99


def test_gold_is_drawn_around_the_cell(tmp_path, words):
    plain = AttentionRecord(words.weights, words.query_tokens, words.key_tokens, title=words.title)
    with_gold, without = (pixels(draw(one, tmp_path / "p.png")).astype(int) for one in (words, plain))
    orange = np.array([0xD1, 0x48, 0x0F])
    assert (np.abs(with_gold - orange).sum(-1) < 12).sum() > 200
    assert (np.abs(without - orange).sum(-1) < 12).sum() == 0


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_copied_word_is_underlined_and_the_legend_says_what_that_means(tmp_path, words, kind):
    without = replace(words, copied=frozenset())
    marked, plain = (draw(r, tmp_path / f"{n}.{kind}") for n, r in (("marked", words), ("plain", without)))
    if kind == "svg":
        assert ("copied" in texts(marked), "copied" in texts(plain)) == (True, False)
        lines = [len(list(ElementTree.parse(path).iter(f"{SVG}path"))) for path in (marked, plain)]
        assert lines[0] == lines[1] + 2  # below the word, and below the legend's
        return
    marked, plain = pixels(marked), pixels(plain)
    assert marked.shape == plain.shape
    rows, columns = np.nonzero((marked != plain).any(-1))
    layout = Layout.of(words, 115.0, Ruler())
    beside = columns < (2.5 + layout.indent + layout.margin) * marked.shape[1] / 120
    scale, place = marked.shape[1] / 120, 10 + 0.5
    below = 2.5 + layout.head + place * layout.cell
    heights = rows[beside & (rows < (2.5 + layout.head + layout.rows * layout.cell) * scale)] / scale
    assert len(heights)
    assert (abs(heights - below) < layout.cell).all()


def test_the_picture_has_the_stated_width_and_square_cells(tmp_path, words):
    image = pixels(draw(words, tmp_path / "p.png", width_mm=80, dpi=254))
    assert image.shape[1] == 800
    root = ElementTree.parse(draw(words, tmp_path / "p.svg", width_mm=80)).getroot()
    assert root.get("width") == "80mm"
    height = float(str(root.get("height")).removesuffix("mm"))
    assert image.shape[0] == pytest.approx(height * 10, abs=1)


def test_svg_holds_every_word_as_text(tmp_path, words):
    found = texts(draw(words, tmp_path / "p.svg"))
    for word in (*words.query_tokens, *words.key_tokens, words.title):
        assert word in found


def test_hostile_words_are_text_in_svg(tmp_path, hostile):
    path = draw(hostile, tmp_path / "p.svg")
    assert "<img src=x onerror=alert(1)>" in texts(path)
    assert "$x^2$" in texts(path)
    assert b"<img" not in path.read_bytes()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_record_gives_the_same_bytes_whatever_the_users_style(tmp_path, words, kind):
    first = draw(words, tmp_path / f"a.{kind}").read_bytes()
    with matplotlib.rc_context(
        {"font.size": 40, "axes.facecolor": "black", "svg.fonttype": "path", "lines.linewidth": 9}
    ):
        before = dict(matplotlib.rcParams)
        second = draw(words, tmp_path / f"b.{kind}").read_bytes()
        assert dict(matplotlib.rcParams) == before
    assert first == second


def test_characters_are_set_upright_and_words_slanted(tmp_path, date, words):
    rotated = [draw(one, tmp_path / "p.svg").read_text("utf-8").count("rotate(-45") for one in (date, words)]
    assert rotated == [0, len(words.key_tokens)]
    assert "␣" in texts(draw(date, tmp_path / "p.svg"))


def test_right_to_left_input_runs_from_right_to_left(tmp_path):
    record = AttentionRecord(np.eye(3), ("1", "2", "3"), ("ראשון", "שני", "שלישי"))
    found = [text for text in texts(draw(record, tmp_path / "p.svg")) if text in record.key_tokens]
    assert found == ["שלישי", "שני", "ראשון"]
    light = lightness(cell_centres(record, pixels(draw(record, tmp_path / "p.png"))))
    assert [int(row.argmin()) for row in light] == [2, 1, 0]


def test_a_script_that_no_font_has_is_drawn_without_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "_installed", lambda refresh: ())
    record = AttentionRecord(np.eye(2), ("日本", "\U000e1234"), ("𒀀", "b"), title="\u1bc0")
    assert pixels(draw(record, tmp_path / "p.png")).min() < 100
    assert "日本" in texts(draw(record, tmp_path / "p.svg"))


def test_fonts_are_looked_for_only_when_they_are_needed(monkeypatch):
    def never(refresh):
        raise AssertionError("looked for fonts")

    monkeypatch.setattr(fonts, "_installed", never)
    assert fonts.families_for(["Haus", "дом", "בית", "σπίτι"]) == ["DejaVu Sans"]


def test_long_texts_stay_legible_by_thinning_their_words(tmp_path):
    weights = np.eye(200)
    record = AttentionRecord(weights, tuple(f"w{n}" for n in range(200)), tuple(f"v{n}" for n in range(200)))
    layout = Layout.of(record, 115, Ruler())
    assert layout.font == 4.0
    assert layout.every_row > 1
    found = texts(draw(record, tmp_path / "p.svg"))
    assert "w0" in found
    assert "w1" not in found


@pytest.mark.parametrize("length", [3, 40, 400])
def test_long_words_leave_room_for_the_cells(length):
    record = AttentionRecord(np.eye(6), ("w" * length,) * 6, ("v" * length,) * 6)
    for width in (30.0, 60.0, 180.0):
        layout = Layout.of(record, width, Ruler())
        assert layout.margin + layout.columns * layout.cell <= width + 0.01
        assert layout.columns * layout.cell >= 0.25 * width or layout.cell >= 4


def test_several_records_stand_beneath_each_other(tmp_path, words, date):
    heights = [pixels(draw(one, tmp_path / "p.png")).shape[0] for one in (words, date, [words, date])]
    assert heights[2] > max(heights[:2])
    found = texts(draw([words, date], tmp_path / "p.svg"))
    assert {"German to English", "dates"} <= set(found)


def test_a_record_without_words_says_so(tmp_path):
    record = AttentionRecord(np.zeros((0, 2)), (), ("a", "b"))
    assert "nothing to look at" in texts(draw(record, tmp_path / "p.svg"))


def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(tmp_path, date):
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        draw(date, tmp_path / "p.pdf")
    with pytest.raises(InputError, match="30 to 2000"):
        draw(date, tmp_path / "p.png", width_mm=5)
    with pytest.raises(InputError, match="cividis, viridis, greys"):
        draw(date, tmp_path / "p.png", colours="jet")
    with pytest.raises(InputError, match="too tall"):
        draw([date] * 100, tmp_path / "p.png", dpi=400)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_matplotlib_says_what_to_install(tmp_path, date, monkeypatch):
    monkeypatch.setattr("regard.viewer.picture.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'regard\[look\]'"):
        draw(date, tmp_path / "p.png")


def test_drawing_leaves_the_users_own_plots_alone(tmp_path):
    code = (
        "import sys, io, regard.viewer as v, regard.record as r\n"
        "print('matplotlib' in sys.modules, 'torch' in sys.modules)\n"
        f"v.View(r.AttentionRecord([[1.0]], ('a',), ('b',))).save({str(tmp_path / 'p.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]
    assert done.stderr == ""
    assert io.BytesIO((tmp_path / "p.png").read_bytes()).read(4) == b"\x89PNG"

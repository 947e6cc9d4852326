from __future__ import annotations

import numpy as np

from regard.record import AttentionRecord
from regard.viewer import View
from regard.viewer.grid import Grid, needs_grid, shares


def of_heads(layers: int, heads: int, length: int) -> AttentionRecord:
    weights = np.random.default_rng(0).dirichlet(np.ones(length), (layers, heads, length))
    words = ("word",) * length
    return AttentionRecord(weights, words, words, axes=("layer", "head", "query", "key"), title="heads")


def test_a_picture_of_heads_is_a_map_of_each(tmp_path):
    svg = View(of_heads(3, 4, 5)).save(tmp_path / "v.svg").read_text("utf-8")
    assert svg.count("<image") == 3 * 4 + 1  # and the legend
    assert "layers down, heads across" in svg


def test_a_long_text_is_drawn_without_its_words_on_a_logarithmic_scale(tmp_path):
    words = ("w",) * 4096
    record = AttentionRecord(np.eye(64) / 64, words, words, pooled=(64, 64), largest=np.eye(64))
    svg = View(record).save(tmp_path / "v.svg").read_text("utf-8")
    assert "logarithmic" in svg
    assert "4,096 tokens" in svg
    assert View(record).save(tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")


def test_maps_fill_the_width_they_are_given():
    grid = Grid.of(of_heads(12, 12, 4), 115)
    assert (grid.layers, grid.across) == (12, 12)
    assert 100 < grid.across * grid.size <= 115


def test_only_nothing_gets_no_ink():
    record = of_heads(1, 2, 100)
    inked = shares(record, np.array([0.0, 1e-9, 1e-2, 1.0]))
    assert inked[0] == 0 < inked[1] <= inked[2] < inked[3] == 1


def test_one_whole_map_keeps_its_words():
    assert not needs_grid(AttentionRecord(np.eye(2), ("a", "b"), ("c", "d")))

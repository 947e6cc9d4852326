"""What onnxruntime computes from the graphs is what the network computes, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regard.data.batches import rectangle
from regard.data.tokenization import END, START
from regard.decoding.translator import Model
from regard.errors import InputError
from regard.export import onnx as exported
from regard.export import plain

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EXPORTED: list[dict[str, Any]] = [
    {},
    {"norm": "pre", "positions": "rotary", "activation": "swiglu", "key_heads": 2, "normalizer": "entmax15"},
    {"copy": True, "positions": "rotary", "encoder_window": 3},
    {"architecture": "recurrent"},
    {
        "architecture": "recurrent",
        "cell": "lstm",
        "encoder_layers": 2,
        "decoder_layers": 2,
        "attention": "coverage",
    },
]
PLAIN: list[dict[str, Any]] = [
    *EXPORTED,
    {"positions": "learned", "longest": 50, "score": "additive", "normalizer": "sink", "bias": False},
    {"positions": "relative", "normalizer": "sparsemax", "tied": "none"},
    {"score": "cosine", "normalizer": "entmax"},
    {"score": "general", "normalizer": "top_k"},
    {"score": "learned_query", "normalizer": "hardmax"},
    {"score": "concat", "normalizer": "sigmoid", "activation": "gelu"},
    {"score": "negative_squared_distance", "alignment_layer": 2, "positions": "alibi"},
    {"architecture": "recurrent", "attention": "sparsemax", "copy": True},
]


def names(model: Model) -> tuple[list[str], list[str]]:
    recurrent = model.network.config.architecture == "recurrent"
    return (exported._recurrent_names if recurrent else exported._transformer_names)(model.network)


class Plain:
    """The functions that graphs are made of, asked as the graphs are."""

    def __init__(self, model: Model) -> None:
        self.memory, self.state = names(model)
        if model.network.config.architecture == "recurrent":
            self.reader: Any = plain.RecurrentReader(model.network)
            self.stepper: Any = plain.RecurrentStepper(model.network)
        else:
            self.reader = plain.TransformerReader(model.network, 100)
            self.stepper = plain.TransformerStepper(model.network, 100)

    @torch.no_grad()
    def read(self, source: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        made = self.reader(torch.from_numpy(source), torch.from_numpy(lengths))
        return dict(zip((*self.memory, *self.state), (part.numpy() for part in made), strict=True))

    @torch.no_grad()
    def step(self, words: np.ndarray, held: dict[str, np.ndarray]) -> list[np.ndarray]:
        parts = ([torch.from_numpy(held[name]) for name in group] for group in (self.memory, self.state))
        return [part.numpy() for part in self.stepper(torch.from_numpy(words), *parts)]


class Graphs:
    """The exported folder in onnxruntime."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "regard.json").read_text())
        self.memory, self.state = about["memory"], about["state"]
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.encoder, self.stepper = (
            runtime.InferenceSession(folder / f"{name}.onnx", options) for name in ("encoder", "step")
        )
        self.asked = {entry.name for entry in self.stepper.get_inputs()}

    def read(self, source: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        found = self.encoder.run(None, {"source": source, "lengths": lengths})
        return dict(zip((entry.name for entry in self.encoder.get_outputs()), found, strict=True))

    def step(self, words: np.ndarray, held: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self.stepper.run(None, {n: v for n, v in ({"words": words} | held).items() if n in self.asked})


def require_same(model: Model, other: Plain | Graphs, texts: list[str]) -> None:
    """Run along some texts, one and several at a time, and compare each step."""
    ids = [encoded.ids for encoded in model.tokenizer.encode(texts)]
    for rows in ([0], [1, 2, 3], [4, 5]):
        source, lengths = rectangle([ids[i] for i in rows]), np.array([len(ids[i]) for i in rows])
        said = rectangle([[START, *ids[i][:5]] for i in rows])
        made = other.read(source, lengths)
        state = {name: made[name] for name in other.state}
        with torch.no_grad():
            steps, before = model.network.start(
                model.network.encode(torch.from_numpy(source), torch.from_numpy(lengths))
            )
            for words in said.T:
                held = {name: made[name] for name in other.memory} | state
                found = other.step(np.ascontiguousarray(words), held)
                *expected, before = model.network.step(steps, before, torch.from_numpy(words.copy()))
                for mine, theirs in zip(found, expected, strict=False):
                    np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4)
                state = dict(zip(other.state, found[2:], strict=True))


@pytest.mark.parametrize("settings", PLAIN, ids=str)
def test_the_plain_functions_are_the_network(settings, tiny, texts):
    model = tiny(**settings)
    require_same(model, Plain(model), texts)


@pytest.mark.parametrize("settings", EXPORTED, ids=str)
def test_the_graphs_compute_what_the_network_computes(settings, tiny, texts, tmp_path):
    model = tiny(**settings)
    exported.write(model, tmp_path / "out")
    require_same(model, Graphs(tmp_path / "out"), texts)


def test_greedy_search_over_the_graphs_says_what_the_model_says(tiny, texts, tmp_path):
    model = tiny(taught=True)
    exported.write(model, tmp_path / "out")
    graphs = Graphs(tmp_path / "out")
    ids = [encoded.ids for encoded in model.tokenizer.encode(texts)]
    held = graphs.read(rectangle(ids), np.array([len(row) for row in ids]))
    words, said = np.full(len(texts), START), []
    for _ in range(40):
        found = graphs.step(words, held)
        held |= dict(zip(graphs.state, found[2:], strict=True))
        words = found[0].argmax(-1)
        said.append(words)
    rows = np.stack(said, axis=1).tolist()
    tokens = [row[: row.index(END)] for row in rows]
    spelt = [model.tokenizer.join([model.tokenizer.tokens[i] for i in row]) for row in tokens]
    assert spelt == [prediction.text for prediction in model.predict(texts, beam=1)]


@pytest.mark.parametrize("attention", ["mocha", "reinforce", "marginal"])
def test_what_picks_or_sums_is_refused(attention, tiny, tmp_path):
    with pytest.raises(InputError, match=rf"model\.attention is '{attention}', which ONNX cannot hold"):
        exported.write(tiny("recurrent", attention=attention), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_learned_entmax_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match=r"model\.normalizer is 'entmax', which ONNX cannot hold"):
        exported.write(tiny(normalizer="entmax"), tmp_path / "out")

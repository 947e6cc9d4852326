"""To ONNX: a graph that reads a sentence, and one that says a word more, for any runtime.

    made = encoder(source, lengths)                        memory, and the first state
    said, weights, state = step(words, memory, state)      again and again

`regard.json` beside them says which inputs are which: "memory" stays the same at each step, "state" is
replaced by the outputs whose names begin with "next." All sizes of batches and lengths go through the same
graphs. For k hypotheses a sentence, repeat the rows of memory and state k times.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.data.tokenization import END, PAD, START, UNKNOWN
from regard.decoding.translator import Model
from regard.export.folders import new_folder, write_json
from regard.export.huggingface import longest
from regard.export.limits import require, setting
from regard.export.plain import RecurrentReader, RecurrentStepper, TransformerReader, TransformerStepper
from regard.models.config import SCORES

OF_WORDS = ("source", "tokens", "mask", "remembered")
"""The inputs (R, S); others with two axes are of features."""
NORMALIZERS = ("softmax", "sink", "sparsemax", "entmax15", "sigmoid", "top_k", "hardmax")
HOLDS: Mapping[str, tuple[Any, ...]] = {"attention": (*SCORES, *NORMALIZERS), "normalizer": NORMALIZERS}
INSTEAD = "What picks keys, sums over them, or learns its α runs in regard alone."


def write(model: Model, folder: str | Path) -> None:
    """Write a folder with `encoder.onnx`, `step.onnx`, `tokenizer.json` and `regard.json`.

    Args:
        model: a Transformer, or a recurrent model with soft attention.
        folder: must not exist, or be empty.

    Raises:
        InputError: an attention that ONNX has no operations for, or the folder is not free.
        TrainingError: the disk is full, or cannot be written to.
    """
    require(model.network.config, "ONNX", HOLDS, instead=INSTEAD)
    network = deepcopy(model.network).eval().float()
    recurrent = setting(network.config, "architecture", None) == "recurrent"
    reader: nn.Module = RecurrentReader(network) if recurrent else TransformerReader(network, longest(model))
    stepper: nn.Module = (
        RecurrentStepper(network) if recurrent else TransformerStepper(network, longest(model))
    )
    memory, state = (_recurrent_names if recurrent else _transformer_names)(network)
    with new_folder(Path(folder)) as temporary, torch.no_grad():
        source, lengths = torch.full((3, 5), UNKNOWN), torch.tensor([5, 4, 3])
        made = dict(zip((*memory, *state), reader(source, lengths), strict=True))
        _export(reader, {"source": source, "lengths": lengths}, (*memory, *state), temporary / "encoder.onnx")
        words = torch.full((3,), START)
        if not recurrent:  # some positions before, lest their number be taken for 0 for ever
            made |= {name: torch.randn(*made[name].shape[:2], 2, made[name].shape[3]) for name in state}
        inputs = {
            "words": words,
            "memory": {name: made[name] for name in memory},
            "state": {name: made[name] for name in state},
        }
        outputs = ("log_probabilities", "weights", *(f"next.{name}" for name in state))
        _export(stepper, inputs, outputs, temporary / "step.onnx")
        model.tokenizer.save(temporary / "tokenizer.json")
        about = {
            "name": model.name,
            "memory": memory,
            "state": state,
            "special": {"pad": PAD, "unknown": UNKNOWN, "start": START, "end": END},
            "search": asdict(model.search),
        }
        write_json(temporary / "regard.json", about)


def _transformer_names(network: Any) -> tuple[list[str], list[str]]:
    layers = [
        f"{number}.{kind}" for number in range(network.config.decoder_layers) for kind in ("keys", "values")
    ]
    copied = ["copy.keys", "copy.values"] if network.copies else []
    first = ["mask", "tokens"] if network.copies else ["mask"]
    return [*first, *(f"source.{name}" for name in layers), *copied], [f"target.{name}" for name in layers]


def _recurrent_names(network: Any) -> tuple[list[str], list[str]]:
    parts = ("h", "c")[: network.encoder.cell.parts]
    layers = [f"{number}.{part}" for number in range(network.config.decoder_layers) for part in parts]
    remembered = ["remembered"] if network.decoder.score.remembers else []
    first = ["mask", "tokens"] if network.copies else ["mask"]
    return [*first, "outputs"], ["attended", *layers, *remembered]


def _export(
    module: nn.Module,
    inputs: Mapping[str, Tensor | dict[str, Tensor]],
    outputs: Sequence[str],
    path: Path,
) -> None:
    """Write a module as a graph, every axis but those of features free.

    Args:
        module: what to write.
        inputs: an example of each of its arguments; those that are lists as tensors by name.
        outputs: the names of what it gives.
        path: where to.
    """
    names, given, shapes = [], {}, {}
    for argument, value in inputs.items():
        parts = {argument: value} if isinstance(value, Tensor) else value
        free = [_free(name, part) for name, part in parts.items()]
        names += parts
        given[argument] = value if isinstance(value, Tensor) else list(parts.values())
        shapes[argument] = free[0] if isinstance(value, Tensor) else free
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(
                module.eval(),
                kwargs=given,
                f=str(path),
                input_names=names,
                output_names=list(outputs),
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
                custom_translation_table=_translations(),
            )
        finally:
            logging.disable(logging.NOTSET)


def _free(name: str, value: Tensor) -> dict[int, Any]:
    """The axes of rows, and of words: (R,), (R, W) or (R, S), (R, S, W), (R, H, S, D)."""
    axes = {1: (0,), 2: (0, 1) if name in OF_WORDS else (0,), 3: (0, 1), 4: (0, 2)}[value.ndim]
    return dict.fromkeys(axes, torch.export.Dim.DYNAMIC)


def _translations() -> dict[Any, Any]:
    """Operations for which PyTorch's own translation is missing, or rounds too much."""
    from onnxscript import opset20

    op: Any = opset20

    def sort(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        size = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]))
        return op.TopK(self, size, axis=dim, largest=int(descending), sorted=1)

    def log_sigmoid(self: Any) -> Any:  # a small sigmoid, of which the logarithm is taken, is not precise
        return op.Neg(op.Softplus(op.Neg(self)))

    return {torch.ops.aten.sort.stable: sort, torch.ops.aten.log_sigmoid.default: log_sigmoid}

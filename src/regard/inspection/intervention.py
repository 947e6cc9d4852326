"""Running a model with other weights than its own: what does the output owe to them?"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.inspection import huggingface, modules
from regard.inspection.calls import Call
from regard.inspection.capture import Prepared, kind_of

Change = Callable[[str, int, Tensor, Tensor], Tensor]
"""From the kind of attention, its layer from 0, its weights (B, H, Q, K) and booleans of where a query may
look, to the weights to take instead."""


@contextlib.contextmanager
def changed(model: nn.Module, prepared: Prepared, change: Change) -> Iterator[None]:
    """While this is open, each attention of the model takes the weights that `change` gives.

    Args:
        model: as `regard.inspection.capture.capture` takes it.
        prepared: what it will be handed; see `regard.inspection.capture.prepare`.
        change: see `Change`. Gradients flow through it.
    """
    names = {module: name for name, module in model.named_modules()}
    counted: dict[str, int] = {}
    layers: dict[tuple[str, nn.Module, int], int] = {}
    nth: dict[nn.Module, int] = {}

    def anew(*_: Any) -> None:
        nth.clear()

    def attend(module: nn.Module, call: Call, context: Tensor | None) -> Tensor:
        kind = kind_of(module, names.get(module, ""), call)
        turn = nth.get(module, 0)
        nth[module] = turn + 1
        if (kind, module, turn) not in layers:
            layers[kind, module, turn] = counted.get(kind, 0)
            counted[kind] = counted.get(kind, 0) + 1
        weights, seen, values = call.plain()
        weights = change(kind, layers[kind, module, turn], weights, seen)
        return (weights @ values).to(call.values.dtype)

    with contextlib.ExitStack() as stack:
        stack.callback(_require_heard, model, counted)
        hook = model.register_forward_pre_hook(anew)
        stack.callback(hook.remove)
        stack.enter_context(huggingface.listening(model, attend))
        stack.enter_context(modules.listening(model, attend))
        if modules.is_ours(model):
            prepared.inputs["seen"] = modules.asked(model, attend)
            stack.callback(lambda: prepared.inputs.pop("seen", None))
        yield


def _require_heard(model: nn.Module, counted: Mapping[str, int]) -> None:
    """An error where no attention took other weights: nothing that was found would say anything."""
    if not counted and sys.exc_info()[0] is None:
        raise InputError(
            f"the attention of {type(model).__name__} can be seen but not changed: it has a way of "
            f"its own. How far its weights can be believed cannot be tried."
        )


def unchanged(kind: str, layer: int, weights: Tensor, seen: Tensor) -> Tensor:
    """Take the weights as they are."""
    return weights


def uniform(kind: str, layer: int, weights: Tensor, seen: Tensor) -> Tensor:
    """Let each query look alike at all keys that it may see."""
    return seen / seen.sum(-1, keepdim=True).clamp_min(1)


def permuted(generator: torch.Generator) -> Change:
    """Let each query's weights change places among the keys that it may see.

    Args:
        generator: draws the places.

    Source:
        Jain and Wallace 2019, "Attention is not explanation", algorithm 1, arXiv:1902.10186.
    """

    def change(kind: str, layer: int, weights: Tensor, seen: Tensor) -> Tensor:
        order = torch.rand(weights.shape, generator=generator).to(weights.device)
        # Sorted by chance, with what is hidden at the end on both sides.
        drawn = order.masked_fill(~seen, 2).argsort(-1)
        places = seen.float().mul(-1).argsort(dim=-1, stable=True)
        return torch.zeros_like(weights).scatter(-1, places, weights.gather(-1, drawn))

    return change


def without(heads: Sequence[tuple[int, int]], kind: str) -> Change:
    """Let some heads, (layer, head) from 0, find nothing.

    Source:
        Michel, Levy and Neubig 2019, "Are sixteen heads really better than one?", arXiv:1905.10650.
    """

    def change(of: str, layer: int, weights: Tensor, seen: Tensor) -> Tensor:
        mine = [head for where, head in heads if where == layer] if of == kind else []
        if not mine:
            return weights
        keep = torch.ones(weights.shape[1], device=weights.device)
        keep[mine] = 0
        return weights * keep[:, None, None]

    return change


@dataclass(frozen=True, eq=False)
class Said:
    """What a model says at one position: probabilities, or features.

    Args:
        vector: (V,) probabilities that add up to 1, or (E,) features.
        likely: whether they are probabilities.
    """

    vector: Tensor
    likely: bool

    def moved(self, other: Said) -> float:
        """How far it is from another: of probabilities the share that is elsewhere, from 0 to 1; of features
        1 minus the cosine, from 0 to 2."""
        one, two = self.vector.double(), other.vector.double()
        if self.likely:
            return float((one - two).abs().sum() / 2)
        return float(1 - nn.functional.cosine_similarity(one, two, dim=0))

    def size(self, like: Said) -> Tensor:
        """One number whose gradient says what this is owed to: log of the likeliest token's probability, or
        the features along their direction."""
        if self.likely:
            return self.vector[like.vector.argmax()].log()
        return self.vector @ nn.functional.normalize(like.vector, dim=0)


def say(model: Any, prepared: Prepared, position: int) -> Said:
    """Run a model, and take what it says at a position of its one text.

    Args:
        model, prepared: as for `changed`.
        position: of the text, −1 the last; of a model that says one thing of a text, any.
    """
    outputs = model(**prepared.inputs)
    logits = model.logits(outputs) if modules.is_gpt(model) else getattr(outputs, "logits", None)
    if logits is not None:
        if logits.shape[-1] == 1:
            raise InputError("the model says a single number, which has no share that could move. Not tried.")
        of = logits[0] if logits.ndim == 2 else logits[0, position]
        return Said(torch.softmax(of.float(), -1), True)
    features = outputs if isinstance(outputs, Tensor) else outputs[0]
    return Said(features[0, position].float(), False)


def ablation(
    model: nn.Module, prepared: Prepared, position: int, kind: str, shape: tuple[int, int]
) -> np.ndarray:
    """How far the output moves when each head alone finds nothing.

    Args:
        model, prepared, position: as for `say`.
        kind: "encoder", "decoder" or "cross".
        shape: (L, H).

    Returns:
        (L, H), as `Said.moved` counts.
    """
    found = np.zeros(shape, np.float32)
    with torch.no_grad():
        before = say(model, prepared, position)
        for place in np.ndindex(shape):
            with changed(model, prepared, without([(place[0], place[1])], kind)):
                found[place] = before.moved(say(model, prepared, position))
    return found

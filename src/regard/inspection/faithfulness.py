"""How far weights can be believed: what the output does when what is looked at is taken away.

    belief = believe(model, "the law will be obeyed", tokenizer=tokenizer)
    print(belief)

Weights say where a model looks. Whether the output depends on what is there is another question, and is
answered here by trying: for one input, one position, and one model at a time.

Source: Jain and Wallace 2019, "Attention is not explanation", arXiv:1902.10186; Wiegreffe and Pinter 2019,
"Attention is not not explanation", arXiv:1908.04626; DeYoung et al. 2020, "ERASER", arXiv:1911.03429.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.inspection import modules
from regard.inspection.capture import Prepared, capture, prepare
from regard.inspection.intervention import Said, changed, permuted, say, unchanged, uniform
from regard.record import AttentionRecord

DRAWS = 20


@dataclass(frozen=True)
class Belief:
    """What was found of one position of one text.

    Effects are how far the output moves: of probabilities the share that goes elsewhere (total variation, 0
    to 1), of features 1 minus the cosine (0 to 2).

    Attributes:
        tokens: of the text; position: whose output and whose weights these are.
        importance: for each token its weight, over all layers and heads or the one that was asked for.
        top: the positions looked at most, without the own one.
        effect_top: of hiding these.
        effects_random: of hiding as many others, drawn by chance, each draw.
        effect_uniform: of looking everywhere alike, in all layers.
        effects_permuted: of weights that have changed places, each draw.
        gradients: for each token how much the output depends on it: |gradient · embedding|; None where there
            are no embeddings.
        correlation: Spearman's rank correlation of `importance` with `gradients`; None where there is none.
        likely: whether the output is probabilities.
    """

    tokens: tuple[str, ...]
    position: int
    importance: np.ndarray
    top: tuple[int, ...]
    effect_top: float
    effects_random: np.ndarray
    effect_uniform: float
    effects_permuted: np.ndarray
    gradients: np.ndarray | None
    correlation: float | None
    likely: bool

    @property
    def beaten(self) -> float:
        """The share of the draws that move the output less than what is looked at most does; ties by half."""
        less = (self.effects_random < self.effect_top).mean()
        return float(less + (self.effects_random == self.effect_top).mean() / 2)

    @property
    def verdict(self) -> str:
        """In one sentence how far the weights can be trusted to point at what matters, for this input."""
        if self.effect_uniform < NOTHING and self.effects_permuted.max() < NOTHING:
            return "The output hardly depends on these weights: with others it is the same. They say little."
        if self.beaten >= 0.95 and (self.correlation is None or self.correlation > 0.3):
            return (
                "Hiding what is looked at most moves the output more than hiding other words does. The "
                "weights point at words that matter here."
            )
        if self.beaten >= 0.75:
            return (
                "Hiding what is looked at most moves the output more than most other words do, but not "
                "clearly. Take the weights as a hint, not as a finding."
            )
        return (
            "Hiding what is looked at most moves the output no more than hiding other words. Here the "
            "weights do not show what matters."
        )

    def __str__(self) -> str:
        words = ", ".join(f"«{self.tokens[at].strip() or self.tokens[at]}»" for at in self.top)
        measure = (
            "the share of probability that goes elsewhere" if self.likely else "1 − cosine of the features"
        )
        random, places = self.effects_random, self.effects_permuted
        lines = [
            f"«{self.tokens[self.position].strip()}» (position {self.position}) looks most at {words}.",
            f"How far its output moves, as {measure}:",
            f"  {self.effect_top:.2f}  hiding these",
            f"  {random.mean():.2f}  hiding any {len(self.top)} by chance: {random.min():.2f} to "
            f"{random.max():.2f} in {len(random)} draws, {self.beaten:.0%} of which move it less",
            f"  {self.effect_uniform:.2f}  looking everywhere alike",
            f"  {places.mean():.2f}  weights changing places",
        ]
        if self.correlation is not None:
            lines.append(f"The order of weights and gradients agrees with ρ = {self.correlation:.2f}.")
        return "\n".join([*lines, self.verdict])


NOTHING = 0.01
"""An output that moves less than this has not moved."""


def believe(
    model: nn.Module,
    text: str | Mapping[str, Any],
    *,
    tokenizer: Any = None,
    position: int = -1,
    top: int = 3,
    layer: int | None = None,
    head: int | None = None,
    draws: int = DRAWS,
    seed: int = 1,
) -> Belief:
    """Try how far the weights of one position can be trusted.

    Args:
        model: an encoder or a decoder, as `regard.inspection.capture.capture` takes it.
        text: one text, or the arguments of the model's forward pass with ``input_ids``, or ``tokens``.
        tokenizer: as for `capture`.
        position: whose output is watched and whose weights are tried; −1 the last.
        top: how many of the positions looked at most are hidden.
        layer, head: whose weights; None for the mean over all.
        draws: how often as many others are hidden by chance, and weights change places.
        seed: of the draws.

    Returns:
        What was found, with a verdict in words.

    Raises:
        InputError: a text too short to try, several texts, an encoder–decoder, a position or a head that
            there is not; or what `capture` raises.
    """
    if top < 1 or draws < 1:
        raise InputError(f"believe(): top and draws are at least 1; got {top} and {draws}.")
    prepared, name, record, position = _captured("believe", model, text, tokenizer, position)
    length = len(record.query_tokens)
    importance = _rows(record.weights, layer, head)[position]
    others = [at for at in range(length) if at != position and _seen(record.weights, position)[at]]
    if len(others) <= top:
        raise InputError(
            f"believe(): position {position} sees {len(others)} others, too few to hide {top} of them. Give "
            f"a longer text, a later position, or a smaller top."
        )
    with _evaluating(model):
        return _tried(model, prepared, name, record, importance, position, others, top, draws, seed)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, each module afterwards as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _captured(
    function: str, model: nn.Module, text: str | Mapping[str, Any], tokenizer: Any, position: int
) -> tuple[Prepared, str, AttentionRecord, int]:
    """One text without what only fills it up, the name of its tokens among the inputs, its record, and the
    position counted from 0; InputError where that cannot be tried."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise InputError(
            f"{function}(): takes an encoder or a decoder; of an encoder–decoder hand in one of them."
        )
    prepared = prepare(model, text, tokenizer)
    name = "tokens" if modules.is_ours(model) else "input_ids"
    tokens = prepared.inputs.get(name)
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or len(tokens) != 1:
        raise InputError(f"{function}(): takes one text, with {name} (1, L). Call it for each text.")
    if "source" in prepared.there and not bool(prepared.there["source"].all()):
        there = prepared.there["source"][0]
        inputs = {
            key: value[:, there] if isinstance(value, Tensor) and value.shape[:2] == tokens.shape else value
            for key, value in prepared.inputs.items()
            if key not in ("attention_mask", "mask", "position_ids")
        }
        prepared = prepare(model, inputs, tokenizer)
    record = capture(model, dict(prepared.inputs), tokenizer=tokenizer).record()
    if not record.whole:
        raise InputError(
            f"{function}(): {len(record.key_tokens):,} tokens are too many to try. Cut the text."
        )
    length = len(record.query_tokens)
    if not -length <= position < length:
        raise InputError(f"{function}(): position is from 0 to {length - 1}; got {position}.")
    return prepared, name, record, position % length


def gradient_weights(
    model: nn.Module, text: str | Mapping[str, Any], *, tokenizer: Any = None, position: int = -1
) -> AttentionRecord:
    """Each weight times how much the output at a position would change with it: gradient × attention.

    Args:
        model, text, tokenizer: as for `believe`.
        position: whose output is asked about; −1 the last.

    Returns:
        A record of (layer, head, query, key): what each weight adds to the log of the likeliest token's
        probability, or to the features along their own direction, to first order; below 0 where it takes
        away.

    Raises:
        InputError: as `believe`.

    Source:
        Barkan et al. 2021, "Grad-SAM", arXiv:2204.11073, without its rectifier.
    """
    prepared, _, record, position = _captured("gradient_weights", model, text, tokenizer, position)
    kept: list[Tensor] = []

    def keep(kind: str, layer: int, weights: Tensor, seen: Tensor) -> Tensor:
        weights = weights if weights.requires_grad else weights.requires_grad_(True)
        kept.append(weights)
        return weights

    with _evaluating(model):
        with torch.no_grad():
            before = say(model, prepared, position)
        with torch.enable_grad(), changed(model, prepared, keep):
            size = say(model, prepared, position).size(before)
        gradients = torch.autograd.grad(size, kept, allow_unused=True)
    found = [
        torch.zeros_like(weights) if gradient is None else gradient * weights
        for gradient, weights in zip(gradients, kept, strict=True)
    ]
    weights = torch.cat(found).detach().float().cpu().numpy()
    return replace(record, weights=weights, title=f"{record.title}, gradient × attention", statistics={})


def _tried(
    model: nn.Module,
    prepared: Prepared,
    name: str,
    record: Any,
    importance: np.ndarray,
    position: int,
    others: Sequence[int],
    top: int,
    draws: int,
    seed: int,
) -> Belief:
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    ranked = sorted(others, key=lambda at: -importance[at])
    chosen = tuple(ranked[:top])
    with torch.no_grad():
        before = say(model, prepared, position)

        def effect(hidden: Sequence[int]) -> float:
            return before.moved(say(model, _hiding(model, prepared, name, hidden), position))

        hiding = effect(chosen)
        by_chance = np.array([effect(rng.choice(others, top, replace=False).tolist()) for _ in range(draws)])
        with changed(model, prepared, uniform):
            even = before.moved(say(model, prepared, position))
        places = []
        for _ in range(draws):
            with changed(model, prepared, permuted(generator)):
                places.append(before.moved(say(model, prepared, position)))
    gradients = _gradients(model, prepared, before, position)
    correlation = None
    if gradients is not None:
        correlation = spearman(importance[others], gradients[others])
    return Belief(
        record.key_tokens,
        position,
        importance,
        chosen,
        hiding,
        by_chance,
        even,
        np.array(places),
        gradients,
        correlation,
        before.likely,
    )


def _rows(weights: np.ndarray, layer: int | None, head: int | None) -> np.ndarray:
    """(Q, K): the weights of one layer and head, or the mean of those that are left open."""
    for name, asked, size in (("layer", layer, weights.shape[0]), ("head", head, weights.shape[1])):
        if asked is not None and not 0 <= asked < size:
            raise InputError(f"believe(): {name} is from 0 to {size - 1}; got {asked}.")
    chosen = weights if layer is None else weights[layer : layer + 1]
    chosen = chosen if head is None else chosen[:, head : head + 1]
    return chosen.mean(axis=(0, 1))


def _seen(weights: np.ndarray, position: int) -> np.ndarray:
    """Where the position looks in some layer."""
    return weights[:, :, position].max(axis=(0, 1)) > 0


def _hiding(model: nn.Module, prepared: Prepared, name: str, positions: Sequence[int]) -> Prepared:
    """The same input, some positions of which nobody sees."""
    mask_name = "mask" if modules.is_ours(model) else "attention_mask"
    tokens = prepared.inputs[name]
    mask = prepared.inputs.get(mask_name)
    mask = torch.ones_like(tokens) if mask is None else mask.clone()
    mask[0, list(positions)] = 0
    mask = mask.bool() if modules.is_ours(model) else mask
    inputs = {**prepared.inputs, mask_name: mask}
    if "position_ids" in prepared.inputs or _takes_positions(model):
        # Nobody moves up where somebody is hidden.
        inputs["position_ids"] = torch.arange(tokens.shape[1], device=tokens.device)[None]
    return replace(prepared, inputs=inputs)


def _takes_positions(model: nn.Module) -> bool:
    return "position_ids" in inspect.signature(model.forward).parameters


def _gradients(model: Any, prepared: Prepared, before: Said, position: int) -> np.ndarray | None:
    """|gradient · embedding| of each token, (L,); None where the model has no embeddings to ask for."""
    if modules.is_ours(model):
        embedding = model.tokens
    elif callable(getattr(model, "get_input_embeddings", None)):
        embedding = model.get_input_embeddings()
    else:
        return None
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: Any, found: Tensor) -> Tensor:
        found = found.detach().requires_grad_(True)
        kept.append(found)
        return found

    hook = embedding.register_forward_hook(keep)
    try:
        with torch.enable_grad(), changed(model, prepared, unchanged):
            size = say(model, prepared, position).size(before)
            (gradient,) = torch.autograd.grad(size, kept[:1])
    finally:
        hook.remove()
    return (gradient * kept[0]).sum(-1)[0].abs().detach().float().cpu().numpy()


def spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """The rank correlation of two rows, equal numbers sharing their ranks; None where a row is constant.

    Source: Spearman 1904.
    """
    ranks = [_ranks(np.asarray(row, np.float64)) for row in (one, other)]
    if any(np.ptp(row) == 0 for row in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(row: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]

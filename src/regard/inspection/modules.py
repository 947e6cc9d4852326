"""Listening to what is no model of `transformers`: PyTorch's multi-head attention, and regard's own."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.inspection.calls import Call, Hear, mask_and_bias
from regard.models.bert import Bert
from regard.models.gpt import Gpt
from regard.nn.multihead import MultiheadAttention


def is_ours(model: nn.Module) -> TypeGuard[Bert | Gpt]:
    """Whether it is a BERT or GPT of regard, which takes tokens and a mask."""
    return isinstance(model, Bert | Gpt)


def is_gpt(model: nn.Module) -> TypeGuard[Gpt]:
    """Whether it is a GPT of regard, whose features are not yet logits."""
    return isinstance(model, Gpt)


@contextlib.contextmanager
def listening(model: nn.Module, hear: Hear) -> Iterator[None]:
    """While this is open, each `torch.nn.MultiheadAttention` in the model is heard."""
    found = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    fast = torch.backends.mha.get_fastpath_enabled()
    own = {module: vars(module)["forward"] for module in found if "forward" in vars(module)}
    try:
        if found:  # the fast path of whole layers does not call their attention
            torch.backends.mha.set_fastpath_enabled(False)
        for module in found:
            module.forward = _heard(module, module.forward, hear)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module in found:
            if module in own:
                module.forward = own[module]
            else:
                del module.forward


def _heard(module: nn.MultiheadAttention, forward: Callable[..., Any], hear: Hear) -> Callable[..., Any]:
    signature = inspect.signature(nn.MultiheadAttention.forward)

    def attention(*arguments: Any, **options: Any) -> Any:
        returned = forward(*arguments, **options)
        given = signature.bind(module, *arguments, **options)
        given.apply_defaults()
        other = hear(module, _call(module, given.arguments), None)
        return returned if other is None else _returned(module, other, returned, given.arguments)

    return attention


def _call(module: nn.MultiheadAttention, given: dict[str, Any]) -> Call:
    """The call of PyTorch's module in our words: its masks are True where nothing is seen."""
    if module.bias_k is not None or module.add_zero_attn:
        raise InputError(
            "capture(): torch.nn.MultiheadAttention with add_bias_kv or add_zero_attn looks at keys that "
            "stand for no token. Leave these options out."
        )
    sides = [given[name] for name in ("query", "key", "value")]
    if sides[0].ndim == 2:
        sides = [side[None] for side in sides]
    elif not module.batch_first:
        sides = [side.transpose(0, 1) for side in sides]
    query, keys, values = (
        nn.functional.linear(side, weight, bias).unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
        for side, weight, bias in zip(sides, *_projections(module), strict=True)
    )
    seen, bias = _seen(given["attn_mask"], query.shape[0])
    padding, padding_bias = _seen(given["key_padding_mask"], 0)
    for mask in (padding, padding_bias):
        if mask is not None and mask.ndim == 1:
            raise InputError("capture(): hand texts to torch.nn.MultiheadAttention as a batch, (1, L, E).")
    if padding is not None:
        padding = padding[:, None, None]
        seen = padding if seen is None else seen & padding
    if padding_bias is not None:
        padding_bias = padding_bias[:, None, None]
        bias = padding_bias if bias is None else bias + padding_bias
    itself = given["query"] is given["key"]
    return Call(query, keys, values, query.shape[-1] ** -0.5, mask=seen, bias=bias, itself=itself)


def _returned(
    module: nn.MultiheadAttention, context: Tensor, returned: Any, given: dict[str, Any]
) -> tuple[Tensor, Any]:
    """What the module would return with this context (B, H, Q, V)."""
    found = module.out_proj(context.transpose(1, 2).flatten(2).to(module.out_proj.weight.dtype))
    if given["query"].ndim == 2:
        found = found[0]
    elif not module.batch_first:
        found = found.transpose(0, 1)
    return found, returned[1]


def _projections(module: nn.MultiheadAttention) -> tuple[list[Tensor], list[Tensor | None]]:
    biases: list[Tensor | None] = [None] * 3
    if module.in_proj_bias is not None:
        biases = list(module.in_proj_bias.chunk(3))
    if module.in_proj_weight is not None:
        return list(module.in_proj_weight.chunk(3)), biases
    return [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight], biases


def _seen(mask: Tensor | None, batch: int) -> tuple[Tensor | None, Tensor | None]:
    """A mask of PyTorch's module as booleans, True where a query may look, or as a bias."""
    if mask is not None and batch and mask.ndim == 3:
        mask = mask.unflatten(0, (batch, -1))
    if mask is None:
        return None, None
    return mask_and_bias(mask) if mask.is_floating_point() else (~mask, None)


def asked(model: Bert | Gpt, hear: Hear) -> dict[str, Any]:
    """What a model of regard is handed as `seen`, to be heard."""
    attentions = [module for module in model.modules() if isinstance(module, MultiheadAttention)]

    def hearing(module: MultiheadAttention) -> Callable[..., Tensor | None]:
        def told(
            inputs: tuple[Tensor, Tensor, Tensor], options: dict[str, Any], context: Tensor
        ) -> Tensor | None:
            key_mask, offset = options["key_mask"], None
            if options["causal"]:
                offset = inputs[1].shape[2] - inputs[0].shape[2]
            call = Call(
                *inputs,
                inputs[0].shape[-1] ** -0.5,
                mask=None if key_mask is None else key_mask[:, None, None],
                bias=options["bias"],
                offset=offset,
                window=options["window"],
                itself=True,
            )
            return hear(module, call, None if module.training and module.dropout else context)

        return told

    return {name: hearing(module) for name, module in zip(model.attentions, attentions, strict=True)}

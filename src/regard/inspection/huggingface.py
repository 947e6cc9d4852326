"""Listening to the attention of a model of `transformers`, while its own kernel computes.

`transformers` lets a function be registered under a name, as attention and as what makes its mask. Both are
registered here: with the first alone the mask for padding is dropped without a word. What runs is still the
function that the model was loaded with.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.inspection.calls import Call, Hear, mask_and_bias

PREFIX = "regard"
ONE_AT_A_TIME = threading.RLock()
"""What listens is registered for all models of the process, so that threads take turns."""
NUMBERS = itertools.count()
OWN_MASKS = ("flash",)
"""Kernels that are handed which keys are there, and make the rest of the mask themselves."""


@contextmanager
def listening(model: nn.Module, hear: Hear) -> Iterator[None]:
    """While this is open, each attention of the model is heard.

    Args:
        model: of `transformers`.
        hear: is told of each call, after it.

    Raises:
        InputError: the model runs an attention that is not understood.
    """
    transformers = sys.modules.get("transformers")
    if transformers is None or not any(
        isinstance(module, transformers.PreTrainedModel) for module in model.modules()
    ):
        yield
        return
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    with ONE_AT_A_TIME:
        yield from _listening(model, hear, ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS)


def _listening(model: nn.Module, hear: Hear, attentions: Any, masks: Any) -> Iterator[None]:
    prefix = f"{PREFIX}{next(NUMBERS)}_"
    configs = _configs(model)
    before = [(config, config._attn_implementation) for config in configs]
    names = {name for _, name in before}
    for name in names:
        _require_understood(name)
    try:
        for name in names:
            attentions.register(prefix + name, _listener(attentions, name, hear))
            if name in masks:
                masks.register(prefix + name, masks[name])
        for config, name in before:
            config._attn_implementation_internal = prefix + name
        yield
    finally:
        for config, name in before:
            config._attn_implementation_internal = name
        for name in names:
            for registered in (attentions, masks):
                registered._global_mapping.pop(prefix + name, None)


def _configs(model: nn.Module) -> list[Any]:
    """The settings of the model and its parts, each once."""
    found: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if getattr(config, "_attn_implementation", None) is not None:
            found[id(config)] = config
    return list(found.values())


def _require_understood(name: str) -> None:
    known = name in ("eager", "sdpa") or name.startswith(OWN_MASKS)
    if not known:
        raise InputError(
            f"capture(): the model runs the attention {name!r}, which is not understood here. Load it with "
            f"attn_implementation='sdpa', or 'eager'; what it computes is the same."
        )


def _listener(functions: Any, name: str, hear: Hear) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """The attention of this name, and telling of it afterwards."""

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        own = functions[name] if name in functions else _eager(module)
        context, weights = own(module, query, key, value, mask, **options)
        call = _call(module, query, key, value, mask, name, options)
        other = hear(module, call, None if options.get("dropout") else context.transpose(1, 2))
        return (context if other is None else other.transpose(1, 2).contiguous()), weights

    return attention


def _eager(module: nn.Module) -> Callable[..., Any]:
    """The plain attention of the model's own file."""
    for kind in type(module).__mro__:
        found = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if found is not None:
            return found
    raise InputError(
        f"capture(): {type(module).__name__} runs the attention 'eager', but its file has none. Load the "
        f"model with attn_implementation='sdpa'."
    )


def _call(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    name: str,
    options: dict[str, Any],
) -> Call:
    """What the attention was handed, in our words."""
    queries, keys = query.shape[2], key.shape[2]
    bias, offset, window = options.get("position_bias"), None, None
    if mask is not None and not isinstance(mask, Tensor):
        raise InputError(
            f"capture(): the mask of {type(module).__name__} is a {type(mask).__name__}, not an array. Load "
            f"the model with attn_implementation='sdpa'."
        )
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if name.startswith(OWN_MASKS):
        mask = None if mask is None else mask[:, None, None, :keys].bool()
        offset = keys - queries if causal else None
        window = options.get("sliding_window")
    elif mask is not None:
        mask = mask[..., :keys]
        if mask.dtype != torch.bool:
            mask, bias = mask_and_bias(mask, bias)
    elif name == "sdpa" and causal and queries > 1:
        offset = 0  # where nothing is masked, that kernel begins with the first key
    scale = options.get("scaling")
    return Call(
        query,
        key,
        value,
        query.shape[-1] ** -0.5 if scale is None else float(scale),
        options.get("softcap"),
        mask,
        None if bias is None else bias[..., :keys],
        offset,
        window,
        options.get("s_aux"),
    )

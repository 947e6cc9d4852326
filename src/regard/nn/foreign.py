"""Weights of other libraries' multi-head attention, as settings and a state of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.core import normalizers
from regard.errors import InputError

Loaded = tuple[dict[str, Any], dict[str, Tensor]]
"""The arguments of `regard.nn.multihead.MultiheadAttention`, and its state."""

KERAS = {"query": "query", "key": "keys", "value": "values", "attention_output": "out"}
"""The names of Keras' projections, in its order, and ours."""


def of_torch(module: nn.MultiheadAttention) -> Loaded:
    """What a module of PyTorch holds, copied.

    Raises:
        InputError: a module with add_bias_kv.
    """
    if module.bias_k is not None or module.bias_v is not None:
        raise InputError(
            "from_torch(): a module with add_bias_kv=True cannot be loaded: "
            "it looks at a learned key that is none of the inputs'."
        )
    if module.in_proj_weight is not None:
        matrices = module.in_proj_weight.detach().chunk(3)
    else:
        matrices = [w.detach() for w in (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)]
    names = list(KERAS.values())
    weights = dict(zip((f"{name}.weight" for name in names), matrices, strict=False))
    weights["out.weight"] = module.out_proj.weight.detach()
    if module.in_proj_bias is not None:
        biases = [*module.in_proj_bias.detach().chunk(3), module.out_proj.bias.detach()]
        weights |= dict(zip((f"{name}.bias" for name in names), biases, strict=True))
    sink = normalizers.softmax_with(sink=0.0) if module.add_zero_attn else normalizers.softmax
    settings = {
        "width": module.embed_dim,
        "heads": module.num_heads,
        "keys_width": module.kdim,
        "values_width": module.vdim,
        "bias": module.in_proj_bias is not None,
        "dropout": module.dropout,
        "normalizer": sink,
    }
    return settings, {name: weight.clone() for name, weight in weights.items()}


def of_keras(weights: Sequence[Any] | Mapping[str, Any]) -> Loaded:
    """What a MultiHeadAttention or GroupQueryAttention layer of Keras holds, copied.

    Raises:
        InputError: weights that are missing, too many, or do not fit together.
    """
    arrays = _named(weights)
    kernels = {ours: arrays[f"{theirs}/kernel"] for theirs, ours in KERAS.items()}
    for name, kernel in kernels.items():
        if kernel.ndim != 3:
            raise InputError(f"from_keras(): the kernel of {name} must have three axes. Got {kernel.shape}.")
    (width, heads, head_width), (keys_width, key_heads, _) = kernels["query"].shape, kernels["keys"].shape
    values_width, _, value_head_width = kernels["values"].shape
    settings = {
        "width": width,
        "heads": heads,
        "key_heads": key_heads,
        "keys_width": keys_width,
        "values_width": values_width,
        "head_width": head_width,
        "value_head_width": value_head_width,
        "out_width": kernels["out"].shape[-1],
        "bias": "query/bias" in arrays,
    }
    expected = {
        "keys": (keys_width, key_heads, head_width),
        "values": (values_width, key_heads, value_head_width),
        "out": (heads, value_head_width, settings["out_width"]),
    }
    for name, shape in expected.items():
        if kernels[name].shape != shape:
            raise InputError(
                f"from_keras(): the kernel of {name} must be {shape} to fit the others. "
                f"Got {kernels[name].shape}."
            )
    found = {f"{name}.weight": _rows(kernel, name) for name, kernel in kernels.items()}
    for theirs, ours in KERAS.items() if settings["bias"] else ():
        bias, features = arrays[f"{theirs}/bias"], len(found[f"{ours}.weight"])
        if bias.size != features:
            raise InputError(
                f"from_keras(): the bias of {ours} must have {features} numbers to fit its kernel. "
                f"Got {bias.shape}."
            )
        found[f"{ours}.bias"] = bias.reshape(-1)
    return settings, {name: torch.tensor(np.ascontiguousarray(array)) for name, array in found.items()}


def _rows(kernel: np.ndarray, name: str) -> np.ndarray:
    """A kernel (E, H, D), or (H, V, E) of the last projection, as PyTorch keeps it: (features out, in)."""
    return (kernel.reshape(-1, kernel.shape[-1]) if name == "out" else kernel.reshape(len(kernel), -1)).T


def _named(weights: Sequence[Any] | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every array by the end of its name, such as query/kernel; all four kernels, and all biases or none."""
    kernels = [f"{name}/kernel" for name in KERAS]
    full = [f"{name}/{part}" for name in KERAS for part in ("kernel", "bias")]
    if isinstance(weights, Mapping):
        arrays = {"/".join(name.split("/")[-2:]): np.asarray(array) for name, array in weights.items()}
        if set(arrays) in (set(kernels), set(full)) and len(arrays) == len(weights):
            return arrays
        came = ", ".join(sorted(weights))
    else:
        for names in (kernels, full):
            if len(weights) == len(names):
                return dict(zip(names, map(np.asarray, weights), strict=True))
        came = f"{len(weights)} arrays"
    raise InputError(
        f"from_keras(): needs {', '.join(full)}, or the kernels alone. Got {came}. "
        "A gate's weights cannot be loaded."
    )

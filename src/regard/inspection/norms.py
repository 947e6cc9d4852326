"""How much each key brings: the length of what its value becomes, which the weight then scales.

Source: Kobayashi et al. 2020, "Attention is not only a weight: analyzing transformers with vector norms",
arXiv:2004.10102.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.inspection.calls import Call

OUT = ("o_proj", "out_proj", "c_proj", "out_lin", "dense", "wo", "o", "out")
"""What the projection after attention is called."""


def value_norms(call: Call, projection: Tensor) -> Tensor:
    """‖W_O v‖ of each key and head.

    Args:
        call: with values (B, H / n, K, V).
        projection: W_O, (E, H · V).

    Returns:
        (B, H, K).

    Source:
        Kobayashi et al. 2020, eq. 4; the bias of the values is part of them.
    """
    heads = call.query.shape[1]
    group = heads // call.values.shape[1]
    values = call.values.float().repeat_interleave(group, dim=1)
    own = projection.detach().float().unflatten(1, (heads, -1)).transpose(0, 1)  # (H, E, V)
    return (values @ own.transpose(1, 2)).norm(dim=-1)


def out_projection(module: nn.Module, name: str, modules: dict[str, nn.Module], width: int) -> Tensor | None:
    """The weights (E, H · V) that follow an attention, by the names that models give it; None if unknown.

    Args:
        module: the attention.
        name: of the module in its model; modules: all by name.
        width: H · V, so that no other projection is taken for it.
    """
    beside = modules.get(name.rpartition(".")[0])
    places: list[nn.Module | None] = [module]
    if (output := getattr(beside, "output", None)) is not None:  # a BERT's projects in a module beside it
        places.append(output)
    for place in places:
        for called in OUT:
            found = getattr(place, called, None)
            weight = getattr(found, "weight", None)
            if not isinstance(weight, Tensor) or weight.ndim != 2:
                continue
            if type(found).__name__ == "Conv1D":  # GPT-2's lies the other way round
                weight = weight.T
            if weight.shape[1] == width and not torch.is_complex(weight):
                return weight
    return None

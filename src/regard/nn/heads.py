"""Heads: one axis of features as several, and back; and what is checked before they are made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regard.core.dtypes import dtype_name
from regard.core.masks import require_boolean
from regard.core.shapes import fits
from regard.errors import DtypeError, ShapeError


def split(x: Tensor, heads: int) -> Tensor:
    """(…, L, H · D) as (…, H, L, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge(x: Tensor) -> Tensor:
    """(…, H, L, D) as (…, L, H · D)."""
    return x.transpose(-3, -2).flatten(-2)


def over_heads(array: Any, heads: Tensor) -> Any:
    """A mask or a bias (…, Q, K), or with an axis of heads (…, H, Q, K), beside scores (…, H, Q, K).

    Args:
        array: booleans or numbers; None for none. With as many axes as the scores it has one of heads; with
            one less, where that is more than two, it is the same for all heads.
        heads: (…, H, L, D), to tell how many axes the scores have.
    """
    if array is None:
        return None
    array = torch.as_tensor(array, device=heads.device)
    return array.unsqueeze(-3) if array.ndim == heads.ndim - 1 > 2 else array


def checked(where: str, name: str, x: Tensor, projection: nn.Linear, key_mask: Any = None) -> Tensor:
    """The inputs of a projection, with zeros where no key is, lest a NaN there reach its gradient.

    Args:
        where, name: who was handed them, and what they are, for messages.
        x: (…, L, E).
        projection: from E features.
        key_mask: (…, L) booleans, True where a key is there; None where all are.

    Raises:
        ShapeError: inputs of another width, a key mask that does not fit them.
        DtypeError: inputs of another dtype, a key mask of numbers.
    """
    width, dtype = projection.in_features, projection.weight.dtype
    if x.ndim < 2 or x.shape[-1] != width:
        raise ShapeError(f"{where}: {name} must be (…, L, {width}). Got {tuple(x.shape)}.")
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise DtypeError(
            f"{where}: {name} and the module's weights need one dtype; convert one of them. "
            f"Got {name} {dtype_name(x)}, weights {dtype_name(projection.weight)}."
        )
    if key_mask is None:
        return x
    key_mask = torch.as_tensor(key_mask, device=x.device)
    require_boolean(where, "key_mask", key_mask)
    *own, last = key_mask.shape or (0,)
    between = (1,) * (x.ndim - 2 - len(own))
    if last != x.shape[-2] or not fits((*own, *between), tuple(x.shape[:-2])):
        raise ShapeError(
            f"{where}: key_mask must be {tuple(x.shape[:-1])}, or have fewer axes before the last, or axes "
            f"of size 1. Got {tuple(key_mask.shape)}."
        )
    return x.masked_fill(~key_mask.reshape(*own, *between, last, 1), 0.0)

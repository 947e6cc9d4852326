"""How wide is computed: products may be narrow, what follows them is not."""

from math import log

import torch
from torch import Tensor

BITS = 1 / log(2)
"""In a nat: powers of 2 are computed several times as fast as those of e."""


def wide(x: Tensor) -> Tensor:
    """x in float32, or as it is where it is wider."""
    return x if x.dtype == torch.float64 else x.float()


def product_dtype(weight: Tensor) -> torch.dtype:
    """What products with a matrix are computed in: the dtype of `torch.autocast` where that is on."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype

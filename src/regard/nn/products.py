"""Products with a model's matrices, and a faster way to them while nothing is learned.

PyTorch hands float32 products to MKL, which on processors of another maker than its own runs code for older
ones: on an AMD EPYC with AVX-512 oneDNN, which comes with PyTorch too, is 2.2 times as fast. It wants a
matrix in an order of its own. While a model decodes, its matrices stay as they are, so `packed` brings each
into that order once, when it is first used.

In bfloat16 PyTorch hands the product to oneDNN, but writes the bias to the result before, one more pass over
it. Where no gradient is asked for, oneDNN adds the bias too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORTH = 2**20
"""Multiplications from which on the packed product is the faster one; it takes longer to begin."""

Packs = dict[int, tuple[Tensor, Tensor]]
"""By the identity of a matrix: the matrix, and what was made of it."""

_packs: Packs | None = None


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed by `product`."""

    def forward(self, input: Tensor) -> Tensor:
        """x (…, K) to (…, N)."""
        return product(input, self.weight, self.bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, as `torch.nn.functional.linear`, of x (…, K), W (N, K) and b (N,)."""
    packs = _packs
    if bias is not None and _fuses(x, weight, bias):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], None)
    if packs is None or not _fits(x, weight):
        return F.linear(x, weight, bias)
    if id(weight) not in packs:
        packs[id(weight)] = weight, torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return torch.ops.mkldnn._linear_pointwise(x, packs[id(weight)][1], bias, "none", [], None)


@contextmanager
def packed() -> Iterator[None]:
    """Within it no matrix changes, and products without gradients may be computed the faster way."""
    global _packs
    before = _packs
    if before is None and _available():
        _packs = {}
    try:
        yield
    finally:
        _packs = before


def _fits(x: Tensor, weight: Tensor) -> bool:
    """Whether a product may be computed with a packed matrix, and it pays."""
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() * len(weight) >= WORTH
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def _fuses(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether oneDNN may add the bias while it multiplies; PyTorch writes it to the result first."""
    return (
        x.dtype == weight.dtype == bias.dtype == torch.bfloat16
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and _available()
    )


@cache
def _available() -> bool:
    """Whether this PyTorch has the packed product, and this processor what makes it pay."""
    has = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return has and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )

"""The loss of a translator: cross-entropy with label smoothing over a large vocabulary.

    ℓ = −Σ_v q_v log softmax(E f + b)_v,    q = (1 − ε) · one word + ε / V for each word

`smoothed_cross_entropy` is the specification. `blocked_cross_entropy` gives the same number without ever
holding the N × V matrix of logits: it goes through the rows in blocks and forms the gradients on the way,
since p − q is at hand. `blocked_row_losses` gives the same of each row, for losses that are made from them,
and goes through the blocks once more on the way back.

Source: Szegedy et al. 2016, section 7, arXiv:1512.00567.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from regard.data.tokenization import PAD
from regard.nn.precision import product_dtype

BLOCK_ROWS = 1024


def smoothed_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, smoothing: float
) -> Tensor:
    """The summed loss in nats.

    Args:
        features: (N, E), what the model says of each position.
        weight: (V, E) and bias: (V,), the projection to the vocabulary.
        wanted: (N,) tokens; padding counts nothing.
        smoothing: ε, the probability spread evenly over the vocabulary.
    """
    logits = F.linear(features, weight, bias).float()
    return F.cross_entropy(logits, wanted, ignore_index=PAD, label_smoothing=smoothing, reduction="sum")


def blocked_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, smoothing: float
) -> Tensor:
    """`smoothed_cross_entropy` in bounded memory; under `torch.autocast` the products are in its dtype."""
    real = (wanted != PAD).nonzero()[:, 0]
    return _BlockedCrossEntropy.apply(features[real], weight, bias, wanted[real], smoothing)  # pyright: ignore


def blocked_row_losses(
    features: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, smoothing: float
) -> Tensor:
    """The loss of each row, (N,), in nats, none of it padding: `smoothed_cross_entropy` is their sum."""
    return _BlockedRowLosses.apply(features, weight, bias, wanted, smoothing)  # pyright: ignore


class _BlockedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, smoothing: float
    ) -> Tensor:
        dtype = product_dtype(weight)
        ctx.dtypes = features.dtype, weight.dtype
        features, matrix, offset = features.to(dtype), weight.to(dtype), bias.to(dtype)
        d_features = torch.empty_like(features)
        d_weight = torch.zeros_like(weight, dtype=torch.promote_types(dtype, torch.float32))
        d_bias = torch.zeros_like(bias, dtype=d_weight.dtype)
        total = torch.zeros((), dtype=d_weight.dtype)
        for rows in _blocks(len(features)):
            logits = torch.addmm(offset, features[rows], matrix.T).to(d_weight.dtype)
            losses, normalizer = _losses(logits, wanted[rows], smoothing)
            d_logits = _gradient(logits, normalizer, wanted[rows], smoothing)
            total += losses.sum()
            _pass_back(d_logits, features[rows], matrix, d_features[rows], d_weight, d_bias)
        ctx.save_for_backward(d_features, d_weight, d_bias)
        return total

    @staticmethod
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        d_features, d_weight, d_bias = ctx.saved_tensors
        features_dtype, weight_dtype = ctx.dtypes
        d_features = (d_features * scale).to(features_dtype)
        return d_features, (d_weight * scale).to(weight_dtype), (d_bias * scale).to(weight_dtype), None, None


class _BlockedRowLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, smoothing: float
    ) -> Tensor:
        dtype = product_dtype(weight)
        ctx.dtypes, ctx.smoothing = (features.dtype, weight.dtype), smoothing
        features, matrix, offset = features.to(dtype), weight.to(dtype), bias.to(dtype)
        losses = torch.empty(len(features), dtype=torch.promote_types(dtype, torch.float32))
        normalizer = torch.empty_like(losses)
        for rows in _blocks(len(features)):
            logits = torch.addmm(offset, features[rows], matrix.T).to(losses.dtype)
            losses[rows], normalizer[rows] = _losses(logits, wanted[rows], smoothing)
        ctx.save_for_backward(features, matrix, offset, wanted, normalizer)
        return losses

    @staticmethod
    def backward(ctx, scales: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        features, matrix, offset, wanted, normalizer = ctx.saved_tensors
        features_dtype, weight_dtype = ctx.dtypes
        d_features = torch.empty_like(features)
        d_weight = torch.zeros_like(matrix, dtype=scales.dtype)
        d_bias = torch.zeros_like(offset, dtype=scales.dtype)
        for rows in _blocks(len(features)):
            logits = torch.addmm(offset, features[rows], matrix.T).to(scales.dtype)
            d_logits = _gradient(logits, normalizer[rows], wanted[rows], ctx.smoothing)
            d_logits *= scales[rows, None]
            _pass_back(d_logits, features[rows], matrix, d_features[rows], d_weight, d_bias)
        return d_features.to(features_dtype), d_weight.to(weight_dtype), d_bias.to(weight_dtype), None, None


def _blocks(count: int) -> Iterator[slice]:
    return (slice(begin, begin + BLOCK_ROWS) for begin in range(0, count, BLOCK_ROWS))


def _pass_back(
    d_logits: Tensor, features: Tensor, matrix: Tensor, d_features: Tensor, d_weight: Tensor, d_bias: Tensor
) -> None:
    """Write what the gradient of some rows' logits (M, V) gives to their features, and add the rest."""
    d_bias += d_logits.sum(0)
    d_logits = d_logits.to(matrix.dtype)
    torch.mm(d_logits, matrix, out=d_features)
    d_weight += d_logits.T @ features


def _losses(logits: Tensor, wanted: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The losses of some rows (M, V), and by what each is normalised, both (M,)."""
    normalizer = torch.logsumexp(logits, dim=-1)
    wanted_logits, mean = logits[torch.arange(len(wanted)), wanted], logits.mean(dim=-1)
    return normalizer - (1 - smoothing) * wanted_logits - smoothing * mean, normalizer


def _gradient(logits: Tensor, normalizer: Tensor, wanted: Tensor, smoothing: float) -> Tensor:
    """softmax − q of some rows (M, V), which takes the place of the logits."""
    gradient = logits.sub_(normalizer[:, None]).exp_().sub_(smoothing / logits.shape[-1])
    gradient[torch.arange(len(wanted)), wanted] -= 1 - smoothing
    return gradient

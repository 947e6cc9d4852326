"""The loss of a translator: cross-entropy with label smoothing over a large vocabulary.

    ℓ = −Σ_v q_v log softmax(E f + b)_v,    q = (1 − ε) · one word + ε / V for each word

`smoothed_cross_entropy` is the specification. `blocked_cross_entropy` gives the same number without ever
holding the N × V matrix of logits: it goes through the rows in blocks and forms the gradients on the way,
since p − q is at hand.

Source: Szegedy et al. 2016, section 7, arXiv:1512.00567.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from regard.data.tokenization import PAD

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


class _BlockedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, smoothing: float
    ) -> Tensor:
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else weight.dtype
        ctx.dtypes = features.dtype, weight.dtype
        features, matrix, offset = features.to(dtype), weight.to(dtype), bias.to(dtype)
        d_features = torch.empty_like(features)
        d_weight = torch.zeros_like(weight, dtype=torch.promote_types(dtype, torch.float32))
        d_bias = torch.zeros_like(bias, dtype=d_weight.dtype)
        total = torch.zeros((), dtype=d_weight.dtype)
        for begin in range(0, len(features), BLOCK_ROWS):
            rows = slice(begin, begin + BLOCK_ROWS)
            logits = torch.addmm(offset, features[rows], matrix.T).to(d_weight.dtype)
            loss, d_logits = _loss_and_gradient(logits, wanted[rows], smoothing)
            total += loss
            d_bias += d_logits.sum(0)
            d_logits = d_logits.to(dtype)
            torch.mm(d_logits, matrix, out=d_features[rows])
            d_weight += d_logits.T @ features[rows]
        ctx.save_for_backward(d_features, d_weight, d_bias)
        return total

    @staticmethod
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        d_features, d_weight, d_bias = ctx.saved_tensors
        features_dtype, weight_dtype = ctx.dtypes
        d_features = (d_features * scale).to(features_dtype)
        return d_features, (d_weight * scale).to(weight_dtype), (d_bias * scale).to(weight_dtype), None, None


def _loss_and_gradient(logits: Tensor, wanted: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The summed loss of some rows (M, V), and softmax − q, which takes the place of the logits."""
    rows = torch.arange(len(wanted))
    normalizer = torch.logsumexp(logits, dim=-1)
    wanted_logits, mean = logits[rows, wanted], logits.mean(dim=-1)
    loss = (normalizer - (1 - smoothing) * wanted_logits - smoothing * mean).sum()
    gradient = logits.sub_(normalizer[:, None]).exp_().sub_(smoothing / logits.shape[-1])
    gradient[rows, wanted] -= 1 - smoothing
    return loss, gradient

"""Copying through the attention: the next word is either said or pointed at in the source.

    p(w) = g · softmax(E f + b)_w + (1 − g) · Σ_{j: x_j = w} α_j,    g = σ(z)

z comes from the context, the decoder's state and the word that it was given (`Pointer`), α is where the step
looked, x the source. Copying is of tokens: with subwords each word of a source can be spelt, so that no
vocabulary has to be extended; a source token that the vocabulary does not hold is copied as the unknown
token, and spelt as it stands where the step looked.

`pointer_cross_entropy` is the specification of the loss. Of each row only the wanted word's probability
matters, so `blocked_pointer_cross_entropy` gives the same number and gradients without ever holding the
N × V matrix of logits. With r the share of saying in that probability, r = g · softmax_w / p(w),

    ∂(−log p(w)) / ∂logits = r · (softmax − w),    ∂/∂z = g − r,    ∂/∂c = −(1 − r) / c = −(1 − g) / p(w)

where c is the attention on w, and the last w stands for a one at that word.

Source: See, Liu and Manning 2017, eqs. 8 and 9, arXiv:1704.04368. Their p_gen is our g, their a our α.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.data.tokenization import PAD
from regard.errors import InputError
from regard.nn.losses import filled, parts, real_among
from regard.nn.precision import product_dtype, wide

BLOCK_ROWS = 512


class Pointer(nn.Module):
    """Whether to say a word or to point at one: z of eq. 8, the logit of saying one.

    Args:
        context, state, word: features of what was seen, of the decoder's state, of the word it was given.
    """

    def __init__(self, context: int, state: int, word: int) -> None:
        super().__init__()
        self.context = nn.Linear(context, 1)
        self.state = nn.Linear(state, 1, bias=False)
        self.word = nn.Linear(word, 1, bias=False)

    def forward(self, context: Tensor, state: Tensor, from_word: Tensor) -> Tensor:
        """The logits z (…) in float32 or wider.

        Args:
            context: (…, C) and state: (…, D).
            from_word: (…), what `word` makes of the words, which are known before the steps are.
        """
        return wide(self.context(context) + self.state(state))[..., 0] + wide(from_word)


def looked_at(weights: Tensor, source: Tensor, wanted: Tensor) -> Tensor:
    """How much each step looks at its wanted word, wherever it stands: c, (B, T), in float32 or wider.

    Args:
        weights: (B, T, S), where each step looks.
        source: (B, S) tokens, padded behind.
        wanted: (B, T) tokens. Padding is looked at nowhere.
    """
    there = (source[:, None] == wanted[..., None]) & (wanted != PAD)[..., None]
    return torch.where(there, wide(weights), 0.0).sum(-1)


def copy_share(spoken: Tensor, gates: Tensor, copied: Tensor) -> Tensor:
    """The share of copying in the probability of a word, from 0 to 1, (…).

    Args:
        spoken: (…), log softmax of the word, as the vocabulary says it.
        gates: (…), z.
        copied: (…), c, the attention on the word.
    """
    return torch.sigmoid(_log(copied) + F.logsigmoid(-gates) - spoken - F.logsigmoid(gates))


def pointer_log_probabilities(logits: Tensor, gates: Tensor, weights: Tensor, source: Tensor) -> Tensor:
    """log p of each word, (R, V), in float32 or wider.

    Args:
        logits: (R, V), of the vocabulary.
        gates: (R,), z.
        weights: (R, S), where each step looked.
        source: (R, S) tokens that it looked at.
    """
    spoken = torch.log_softmax(wide(logits), dim=-1) + F.logsigmoid(gates)[:, None]
    weights = wide(weights).to(spoken.dtype)
    sums = torch.zeros_like(spoken).scatter_add_(1, source, weights)
    mixed = _mixed(spoken.gather(1, source), gates[:, None], sums.gather(1, source))
    return spoken.scatter(1, source, mixed)  # a token that stands there twice is written twice, alike


def with_gates(features: Tensor, gates: Tensor | None) -> Tensor:
    """Features (…, E) with the gates z (…) behind them, (…, E + 1); as they are where there are none."""
    return features if gates is None else torch.cat([features.to(gates.dtype), gates[..., None]], dim=-1)


def said_or_copied(
    project: Callable[[Tensor], Tensor], features: Tensor, weights: Tensor, source: Tensor | None
) -> Tensor:
    """log p of each word (B, T, V).

    Args:
        project: from features (…, E) to logits (…, V).
        features: (B, T, E + 1), from `with_gates`.
        weights: (B, T, S), and source: (B, S) tokens.

    Raises:
        InputError: the source is not there.
    """
    if source is None:
        raise InputError(
            "log_probabilities(): a model that copies can say no word's probability without what it read; "
            "hand source= as it was given to forward()."
        )
    rows = source[:, None].expand_as(weights).flatten(0, 1)
    logits, gates = project(features[..., :-1]).flatten(0, 1), features[..., -1].flatten()
    return pointer_log_probabilities(logits, gates, weights.flatten(0, 1), rows).unflatten(
        0, weights.shape[:2]
    )


def copy_shares(
    project: Callable[[Tensor], Tensor], features: Tensor, weights: Tensor, source: Tensor, wanted: Tensor
) -> Tensor:
    """The share of copying in the probability of each wanted word, from 0 to 1, (B, T).

    Args:
        project, features, weights, source: as for `said_or_copied`.
        wanted: (B, T) tokens.
    """
    rows, words = features[..., :-1].flatten(0, 1), wanted.flatten()
    spoken = [  # never all logits at once
        torch.log_softmax(wide(project(rows[block])), dim=-1).gather(-1, words[block, None])[:, 0]
        for block in _blocks(len(rows))
    ]
    copied = looked_at(weights, source, wanted)
    return copy_share(torch.cat(spoken).view_as(copied), features[..., -1], copied)


def pointer_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gates: Tensor,
    copied: Tensor,
    wanted: Tensor,
    smoothing: float,
) -> Tensor:
    """The summed loss in nats, −(1 − ε) log p(w) − ε/V Σ_v log softmax_v.

    The share ε asks what the vocabulary says to be even, and nothing of what is copied: with g = 1 it is
    `regard.nn.losses.smoothed_cross_entropy`.

    Args:
        features: (N, E), what the model says of each position.
        weight: (V, E) and bias: (V,), the projection to the vocabulary.
        gates: (N,), z.
        copied: (N,), c, the attention on the wanted word, from `looked_at`.
        wanted: (N,) tokens; padding counts nothing.
        smoothing: ε.
    """
    said = torch.log_softmax(wide(F.linear(features, weight, bias)), dim=-1)
    spoken = F.logsigmoid(gates) + said.gather(1, wanted[:, None])[:, 0]
    losses = -(1 - smoothing) * _mixed(spoken, gates, copied) - smoothing * said.mean(-1)
    return losses.masked_fill(wanted == PAD, 0.0).sum()


def blocked_pointer_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gates: Tensor,
    copied: Tensor,
    wanted: Tensor,
    smoothing: float,
) -> Tensor:
    """`pointer_cross_entropy` in bounded memory; under `torch.autocast` the products are in its dtype."""
    real = (wanted != PAD).nonzero()[:, 0]
    rows, z, c, words = (filled(x[real]) for x in (features, gates, copied, wanted))
    return _BlockedPointer.apply(rows, weight, bias, z, c, words, len(real), smoothing)  # pyright: ignore


class _BlockedPointer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gates: Tensor,
        copied: Tensor,
        wanted: Tensor,
        count: int,
        smoothing: float,
    ) -> Tensor:
        dtype = product_dtype(weight)
        ctx.dtypes = [None if x is None else x.dtype for x in (features, weight, bias, gates, copied)]
        features, matrix = features.to(dtype), weight.to(dtype)
        d_features = torch.empty_like(features)
        d_weight = torch.zeros_like(weight, dtype=torch.promote_types(dtype, torch.float32))
        d_bias = None if bias is None else torch.zeros_like(bias, dtype=d_weight.dtype)
        gates, copied = gates.to(d_weight.dtype), copied.to(d_weight.dtype)
        g = torch.sigmoid(gates)
        log_g, log_copied = F.logsigmoid(gates), F.logsigmoid(-gates) + _log(copied)
        share, log_p, total = torch.empty_like(g), torch.empty_like(g), d_weight.new_zeros(())
        for rows in _blocks(len(features)):
            logits = F.linear(features[rows], matrix, None if bias is None else bias.to(dtype)).to(g.dtype)
            normalizer, at = torch.logsumexp(logits, dim=-1), torch.arange(len(logits), device=logits.device)
            spoken = log_g[rows] + logits[at, wanted[rows]] - normalizer
            p = torch.logaddexp(spoken, log_copied[rows])
            r = (1 - smoothing) * torch.exp(spoken - p)
            losses = smoothing * (normalizer - logits.mean(-1)) - (1 - smoothing) * p
            real = real_among(rows, count)
            total += losses[:real].sum()
            share[rows], log_p[rows] = r, p
            d_logits = logits.sub_(normalizer[:, None]).exp_().mul_((r + smoothing)[:, None])
            d_logits.sub_(smoothing / d_logits.shape[-1])[at, wanted[rows]] -= r
            d_logits[real:] = 0
            if d_bias is not None:
                d_bias += d_logits.sum(0)
            d_logits = d_logits.to(dtype)
            torch.mm(d_logits, matrix, out=d_features[rows])
            d_weight += d_logits.T @ features[rows]
        d_gates = (1 - smoothing) * g - share
        # (1 − r) / c without the difference, of which nothing is left where c is small
        rate = torch.exp((F.logsigmoid(-gates) - log_p).clamp(max=80))
        d_copied = torch.where(copied > 0, (smoothing - 1) * rate, 0.0)
        ctx.save_for_backward(d_features, d_weight, d_bias, d_gates, d_copied)
        return total

    @staticmethod
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return *(None if d is None else (d * scale).to(dtype) for d, dtype in gradients), *(None,) * 3


def _blocks(count: int) -> Iterator[slice]:
    return parts(slice(0, count), BLOCK_ROWS)


def _mixed(spoken: Tensor, gates: Tensor, copied: Tensor) -> Tensor:
    """log p of words, from what saying them gives to it, log (g · softmax_w), z, and c."""
    never = copied == 0  # whose logarithm has no gradient
    pointed = F.logsigmoid(-gates) + copied.masked_fill(never, 1.0).log()
    return torch.where(never, spoken, torch.logaddexp(spoken, pointed))


def _log(x: Tensor) -> Tensor:
    """log x, −∞ where x is 0, or a little less by rounding."""
    return x.clamp(min=0).log()

"""The loss of a translator: cross-entropy with label smoothing over a large vocabulary.

    ℓ = −Σ_v q_v log softmax(E f + b)_v,    q = (1 − ε) · one word + ε / V for each word

`smoothed_cross_entropy` is the specification. `blocked_cross_entropy` gives the same number without ever
holding the N × V matrix of logits: it goes through the rows in blocks that fit the cache, and forms the
gradients on the way, since p − q is at hand; the even part of q is added to them as one row. The products
with p − q are made for as many rows at a time as `HELD` numbers allow. `blocked_row_losses` gives the same of
each row, for losses that are made from them, and goes through the blocks once more on the way back.

`consistent_cross_entropy` sees each position twice, under other dropout masks, and wants both to agree.

Source: Szegedy et al. 2016, section 7, arXiv:1512.00567. Liang et al. 2021 (R-Drop), eq. 4, arXiv:2106.14448.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from regard.data.tokenization import PAD
from regard.errors import ShapeError
from regard.nn.precision import product_dtype, wide

BLOCK_ROWS = 128
HELD = 2**24  # numbers of logits' gradients that are held at a time


def smoothed_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, smoothing: float
) -> Tensor:
    """The summed loss in nats.

    Args:
        features: (N, E), what the model says of each position.
        weight: (V, E) and bias: (V,) or None, the projection to the vocabulary.
        wanted: (N,) tokens; padding counts nothing.
        smoothing: ε, the probability spread evenly over the vocabulary.
    """
    logits = wide(F.linear(features, weight, bias))
    return F.cross_entropy(logits, wanted, ignore_index=PAD, label_smoothing=smoothing, reduction="sum")


def blocked_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, smoothing: float
) -> Tensor:
    """`smoothed_cross_entropy` in bounded memory; under `torch.autocast` the products are in its dtype."""
    real = (wanted != PAD).nonzero()[:, 0]
    return _BlockedCrossEntropy.apply(features[real], weight, bias, wanted[real], smoothing)  # pyright: ignore


def smoothed_consistent_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    wanted: Tensor,
    smoothing: float,
    consistency: float,
) -> Tensor:
    """The specification of `consistent_cross_entropy`."""
    first, second = features.tensor_split(2)
    both = (smoothed_cross_entropy(part, weight, bias, wanted, smoothing) for part in (first, second))
    real = wanted != PAD
    p, q = (F.log_softmax(wide(F.linear(part[real], weight, bias)), dim=-1) for part in (first, second))
    there, back = (F.kl_div(b, a, reduction="sum", log_target=True) for a, b in ((p, q), (q, p)))
    return sum(both) / 2 + consistency / 4 * (there + back)


def consistent_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    wanted: Tensor,
    smoothing: float,
    consistency: float,
) -> Tensor:
    """R-Drop's summed loss in nats, in bounded memory: ½ (ℓ₁ + ℓ₂) + α / 4 · (KL(p₁‖p₂) + KL(p₂‖p₁)).

    This is half of the paper's eq. 4, so that without its second term it is the mean of both losses.

    Args:
        features: (2N, E); rows i and N + i are the same position, seen twice under other dropout masks.
        weight: (V, E) and bias: (V,) or None, the projection to the vocabulary.
        wanted: (N,) tokens; padding counts nothing.
        smoothing: ε, as for `smoothed_cross_entropy`.
        consistency: α ≥ 0; the paper takes 5 for translation.

    Raises:
        ShapeError: not twice as many features as tokens.
    """
    if len(features) != 2 * len(wanted):
        raise ShapeError(
            "consistent_cross_entropy(): features must be (2N, E) for N wanted tokens, as each position is "
            f"seen twice. Got {len(features)} rows, {len(wanted)} tokens."
        )
    real = (wanted != PAD).nonzero()[:, 0]
    both = torch.cat((real, real + len(wanted)))
    return _ConsistentCrossEntropy.apply(  # pyright: ignore[reportReturnType]
        features[both], weight, bias, wanted[real], smoothing, consistency
    )


def blocked_row_losses(
    features: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, smoothing: float
) -> Tensor:
    """The loss of each row, (N,), in nats, none of it padding: `smoothed_cross_entropy` is their sum."""
    return _BlockedRowLosses.apply(features, weight, bias, wanted, smoothing)  # pyright: ignore


class _Projection:
    """The projection to the vocabulary, in the dtype of its products, and the gradients that it gathers."""

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        dtype = product_dtype(weight)
        self.features, self.weight = features.to(dtype), weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)
        self.wide = torch.promote_types(dtype, torch.float32)

    def logits(self, rows: slice) -> Tensor:
        """What some rows say, (M, V), wide enough for an exponential."""
        features = self.features[rows]
        if self.bias is None:
            return torch.mm(features, self.weight.T).to(self.wide)
        return torch.addmm(self.bias, features, self.weight.T).to(self.wide)

    def groups(self) -> Iterator[slice]:
        """As many rows at a time as may be held."""
        return _parts(slice(0, len(self.features)), max(HELD // len(self.weight), BLOCK_ROWS))


class _Gradients:
    """The gradients of a projection, summed over groups of rows.

    Args:
        even: what each row's gradient of each logit gets beside what is passed in, before its own scale.
    """

    def __init__(self, projection: _Projection, even: float) -> None:
        self.projection, self.even = projection, even
        weight, bias = projection.weight, projection.bias
        self.row = weight.sum(0, dtype=projection.wide).mul_(even).to(weight.dtype)
        self.features = torch.empty_like(projection.features)
        self.weight = torch.zeros_like(weight, dtype=projection.wide)
        self.bias = None if bias is None else torch.zeros_like(bias, dtype=projection.wide)

    def add(self, rows: slice, d_logits: Tensor) -> None:
        """Take in the gradient (M, V) of some rows' logits."""
        features = self.projection.features[rows]
        torch.addmm(self.row, d_logits, self.projection.weight, out=self.features[rows])
        row = features.sum(0, dtype=self.projection.wide).mul_(self.even).to(features.dtype)
        self.weight += torch.addmm(row, d_logits.T, features)
        if self.bias is not None:
            self.bias += d_logits.sum(0, dtype=self.projection.wide).add_(self.even * len(d_logits))

    def save(self, ctx, *inputs: Tensor | None) -> None:
        """Keep them for the way back, with the dtypes of features, weight and bias."""
        ctx.dtypes = [None if x is None else x.dtype for x in inputs]
        ctx.save_for_backward(self.features, self.weight, self.bias)


def _scaled(ctx, scale: Tensor) -> list[Tensor | None]:
    """The gradients that were saved, times that of the loss."""
    found = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
    return [None if x is None else (x * scale).to(dtype) for x, dtype in found]


class _BlockedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, smoothing: float
    ) -> Tensor:
        projection = _Projection(features, weight, bias)
        gradients = _Gradients(projection, -smoothing / len(weight))
        total = features.new_zeros((), dtype=projection.wide)
        for group in projection.groups():
            d_logits = projection.features.new_empty(group.stop - group.start, len(weight))
            for rows in _parts(group, BLOCK_ROWS):
                logits = projection.logits(rows)
                shares = torch.softmax(logits, dim=-1)
                total += _losses(logits, _normalizer(logits, shares), wanted[rows], smoothing).sum()
                shares[torch.arange(len(shares)), wanted[rows]] -= 1 - smoothing
                d_logits[rows.start - group.start : rows.stop - group.start] = shares
            gradients.add(group, d_logits)
        gradients.save(ctx, features, weight, bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_scaled(ctx, scale), None, None


class _ConsistentCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        wanted: Tensor,
        smoothing: float,
        consistency: float,
    ) -> Tensor:
        projection = _Projection(features, weight, bias)
        gradients = _Gradients(projection, -smoothing / len(weight) / 2)
        count, pull = len(wanted), consistency / 4
        total = features.new_zeros((), dtype=projection.wide)
        for group in _parts(slice(0, count), max(HELD // len(weight) // 2, BLOCK_ROWS)):
            d_logits = projection.features.new_empty(2, group.stop - group.start, len(weight))
            for rows in _parts(group, BLOCK_ROWS):
                first, second = (
                    _Seen(projection.logits(part), wanted[rows], smoothing) for part in _twice(rows, count)
                )
                for place, (loss, d_block) in enumerate(_pulled(first, second, pull)):
                    total += loss
                    d_block[torch.arange(len(d_block)), wanted[rows]] -= (1 - smoothing) / 2
                    d_logits[place, rows.start - group.start : rows.stop - group.start] = d_block
            for part, d_part in zip(_twice(group, count), d_logits, strict=True):
                gradients.add(part, d_part)
        gradients.save(ctx, features, weight, bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_scaled(ctx, scale), None, None, None


class _Seen:
    """What one of two sights says of some rows: logits and shares (M, V), normaliser and loss (M,)."""

    def __init__(self, logits: Tensor, wanted: Tensor, smoothing: float) -> None:
        self.logits, self.shares = logits, torch.softmax(logits, dim=-1)
        self.normalizer = _normalizer(logits, self.shares)
        self.losses = _losses(logits, self.normalizer, wanted, smoothing)


def _pulled(first: _Seen, second: _Seen, pull: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each sight the loss, and its logits' gradient but for the part of what is wanted.

    With r = log p₁ − log p₂, KL(p₁‖p₂) = Σ p₁ r has the gradient p₁ (r − KL) at the first logits, and
    KL(p₂‖p₁) has p₁ − p₂ there.
    """
    ratio = first.logits - second.logits
    ratio -= (first.normalizer - second.normalizer)[:, None]
    for seen, other, sign in ((first, second, 1), (second, first, -1)):
        divergence = sign * torch.linalg.vecdot(seen.shares, ratio)
        factor = ratio * (sign * pull)
        factor += (0.5 + pull - pull * divergence)[:, None]
        gradient = factor.mul_(seen.shares).sub_(other.shares, alpha=pull)
        yield (seen.losses / 2 + pull * divergence).sum(), gradient


class _BlockedRowLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, smoothing: float
    ) -> Tensor:
        projection = _Projection(features, weight, bias)
        ctx.dtypes = [None if x is None else x.dtype for x in (features, weight, bias)]
        ctx.smoothing = smoothing
        losses = features.new_empty(len(features), dtype=projection.wide)
        for rows in _parts(slice(0, len(features)), BLOCK_ROWS):
            logits = projection.logits(rows)
            normalizer = torch.logsumexp(logits, dim=-1)
            losses[rows] = _losses(logits, normalizer, wanted[rows], smoothing)
        ctx.save_for_backward(projection.features, projection.weight, projection.bias, wanted)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, scales: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        *inputs, wanted = ctx.saved_tensors
        projection = _Projection(*inputs)
        gradients = _Gradients(projection, 0.0)
        for rows in _parts(slice(0, len(wanted)), BLOCK_ROWS):
            d_logits = torch.softmax(projection.logits(rows), dim=-1).sub_(ctx.smoothing / len(inputs[1]))
            d_logits[torch.arange(len(d_logits)), wanted[rows]] -= 1 - ctx.smoothing
            gradients.add(rows, d_logits.mul_(scales[rows, None]).to(inputs[0].dtype))
        found = (gradients.features, gradients.weight, gradients.bias)
        narrow = (None if x is None else x.to(dtype) for x, dtype in zip(found, ctx.dtypes, strict=True))
        return *narrow, None, None


def _parts(whole: slice, size: int) -> Iterator[slice]:
    """A slice in slices of some size, the last of which may be smaller."""
    for begin in range(whole.start, whole.stop, size):
        yield slice(begin, min(begin + size, whole.stop))


def _twice(rows: slice, count: int) -> tuple[slice, slice]:
    """Some positions where they are seen first, and where they are seen again."""
    return rows, slice(rows.start + count, rows.stop + count)


def _normalizer(logits: Tensor, shares: Tensor) -> Tensor:
    """log Σ exp of rows whose softmax is known, (M,): at the largest logit, which no share rounds to zero."""
    return logits.amax(-1) - shares.amax(-1).log_()


def _losses(logits: Tensor, normalizer: Tensor, wanted: Tensor, smoothing: float) -> Tensor:
    """The losses of some rows (M, V), by what each is normalised by, (M,)."""
    wanted_logits, mean = logits[torch.arange(len(wanted)), wanted], logits.mean(dim=-1)
    return normalizer - (1 - smoothing) * wanted_logits - smoothing * mean

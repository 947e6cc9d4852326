"""The loss of a translator: cross-entropy with label smoothing over a large vocabulary.

    ℓ = −Σ_v q_v log softmax(E f + b)_v,    q = (1 − ε) · one word + ε / V for each word

`smoothed_cross_entropy` is the specification. `blocked_cross_entropy` gives the same number without ever
holding the N × V matrix of logits: it goes through groups of as many rows as `HELD` numbers allow, turns
their logits into softmax where they are, and forms the gradients on the way, since p − q is at hand; the even
part of q is added to them as one row. What softmax divided by is told by what became of the wanted word.
`blocked_row_losses` gives the same of each row, for losses that are made from them, and goes through the rows
once more on the way back.

`consistent_cross_entropy` sees each position twice, under other dropout masks, and wants both to agree.

How many words a batch holds differs from step to step, and each new number of rows would cost a processor
the compilation of its products and half a megabyte to keep them. So rows are filled up to a multiple of
`BLOCK_ROWS`, with rows that count nothing.

Source: Szegedy et al. 2016, section 7, arXiv:1512.00567. Liang et al. 2021 (R-Drop), eq. 4, arXiv:2106.14448.
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from regard.data.tokenization import PAD
from regard.errors import ShapeError
from regard.nn.precision import BITS, product_dtype, wide
from regard.nn.products import product

BLOCK_ROWS = 128
HELD = 6 * 2**20  # logits that are held at a time


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
    rows, words = filled(features[real]), filled(wanted[real])
    return _BlockedCrossEntropy.apply(rows, weight, bias, words, len(real), smoothing)  # pyright: ignore


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
    both = torch.cat([filled(part[real]) for part in features.tensor_split(2)])
    return _ConsistentCrossEntropy.apply(  # pyright: ignore[reportReturnType]
        both, weight, bias, filled(wanted[real]), len(real), smoothing, consistency
    )


def blocked_row_losses(
    features: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, smoothing: float
) -> Tensor:
    """The loss of each row, (N,), in nats, none of it padding: `smoothed_cross_entropy` is their sum."""
    losses = _BlockedRowLosses.apply(filled(features), weight, bias, filled(wanted), smoothing)
    return losses[: len(wanted)]  # pyright: ignore


class _Projection:
    """The projection to the vocabulary, in the dtype of its products.

    Args:
        features: (N, E), weight: (V, E), bias: (V,) or None.
    """

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        dtype = product_dtype(weight)
        self.features, self.weight = features.to(dtype), weight.to(dtype)
        self.narrow_bias = None if bias is None else bias.to(dtype)
        self.wide = torch.promote_types(dtype, torch.float32)
        self.bias = None if self.narrow_bias is None else self.narrow_bias.to(self.wide)
        self.bias_in_bits = None if self.bias is None else self.bias * BITS
        self.row = self.weight.sum(0, dtype=self.wide)

    def logits(self, rows: slice | Tensor) -> Tensor:
        """The logits of some rows in nats, (M, V), in the dtype of products."""
        return product(self.features[rows], self.weight, self.narrow_bias)

    @cached_property
    def room(self) -> tuple[Tensor, Tensor]:
        """Where `bits` puts what it finds, narrow and wide."""
        room = 2, BLOCK_ROWS, len(self.weight)
        return self.features.new_empty(room), self.features.new_empty(room, dtype=self.wide)

    def bits(self, rows: slice, place: int = 0) -> Tensor:
        """The logits of a block of rows in bits, (M, V): powers of 2 are faster than those of e.

        What was found before in the same place, 0 or 1, is written over: memory that is in the cache already.
        """
        features = self.features[rows]
        narrow, found = (room[place] for room in self.room)
        torch.addmm(features.new_empty(1), features, self.weight.T, beta=0, alpha=BITS, out=narrow)
        found.copy_(narrow)
        return found if self.bias_in_bits is None else found.add_(self.bias_in_bits)

    def means(self) -> Tensor:
        """The mean logit of each row, in nats, (N,)."""
        means = (self.features * self.row).sum(-1).div_(len(self.weight))
        return means if self.bias is None else means.add_(self.bias.mean())

    def groups(self, copies: int = 1) -> Iterator[slice]:
        """As many rows at a time as may be held, of features that stand there so many times."""
        rows = len(self.features) // copies
        blocks = HELD // len(self.weight) // copies // BLOCK_ROWS
        return parts(slice(0, rows), max(blocks, 1) * BLOCK_ROWS)


class _Gradients:
    """The gradients of a projection, summed over groups of rows.

    Args:
        projection: of what.
        even: what each logit of each row has as a gradient beside what is passed in.
    """

    def __init__(self, projection: _Projection, even: float) -> None:
        self.projection, self.even = projection, even
        self.row = (projection.row * even).to(projection.weight.dtype)
        self.features = torch.empty_like(projection.features)
        self.weight = torch.zeros_like(projection.weight, dtype=projection.wide)
        self.bias = None if projection.bias is None else torch.zeros_like(projection.bias)

    def add(self, rows: slice, d_logits: Tensor, real: int) -> None:
        """Take in the gradient (M, V) of some rows' logits, as narrow as products are.

        Only the first of them are real: what the others have is written over, and their features are zeros.
        """
        d_logits[real:] = 0
        if self.bias is not None:
            self.bias += d_logits.sum(0)
            self.bias += self.even * real
        features = self.projection.features[rows]
        torch.addmm(self.row, d_logits, self.projection.weight, out=self.features[rows])
        row = features.sum(0, dtype=self.projection.wide).mul_(self.even).to(features.dtype)
        self.weight += torch.addmm(row, d_logits.T, features)

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
        ctx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        wanted: Tensor,
        count: int,
        smoothing: float,
    ) -> Tensor:
        projection = _Projection(features, weight, bias)
        gradients = _Gradients(projection, -smoothing / len(weight))
        total = projection.means()[:count].sum() * -smoothing
        for rows in projection.groups():
            logits, at, real = projection.logits(rows), _at(wanted[rows]), real_among(rows, count)
            said = logits[at].to(projection.wide)
            d_logits = torch.softmax(logits, dim=-1, out=logits)
            shares = d_logits[at].to(projection.wide)
            lost = (shares < torch.finfo(shares.dtype).tiny).nonzero()[:, 0]
            normalizers = said - shares.log()
            if len(lost):  # too small a share to be told from nothing
                again = projection.logits(lost + rows.start).to(projection.wide)
                normalizers[lost] = torch.logsumexp(again, dim=-1)
            total += (normalizers - (1 - smoothing) * said)[:real].sum()
            d_logits[at] = (shares - (1 - smoothing)).to(d_logits.dtype)
            gradients.add(rows, d_logits, real)
        gradients.save(ctx, features, weight, bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_scaled(ctx, scale), None, None, None


class _ConsistentCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        wanted: Tensor,
        count: int,
        smoothing: float,
        consistency: float,
    ) -> Tensor:
        projection = _Projection(features, weight, bias)
        gradients = _Gradients(projection, -smoothing / len(weight) / 2)
        copy = len(wanted)
        total = projection.means().view(2, copy)[:, :count].sum() * (-smoothing / 2)
        for group in projection.groups(copies=2):
            d_logits = projection.features.new_empty(2, group.stop - group.start, len(weight))
            for rows in parts(group, BLOCK_ROWS):
                first, second = (
                    projection.bits(part, place) for place, part in enumerate(_twice(rows, copy))
                )
                losses, *slopes = _drawn_together(first, second, wanted[rows], smoothing, consistency / 4)
                total += losses[: real_among(rows, count)].sum()
                for place, slope in zip(d_logits, slopes, strict=True):
                    slope[_at(wanted[rows])] -= (1 - smoothing) / 2
                    place[rows.start - group.start : rows.stop - group.start] = slope
            for part, d_part in zip(_twice(group, copy), d_logits, strict=True):
                gradients.add(part, d_part, real_among(group, count))
        gradients.save(ctx, features, weight, bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return *_scaled(ctx, scale), None, None, None, None


def _drawn_together(
    first: Tensor, second: Tensor, wanted: Tensor, smoothing: float, pull: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of some rows, from two sights' logits in bits, and the gradients of their logits.

    Both lack the parts of smoothing, and the gradients that of what is wanted. With r = log p₁ − log p₂,
    KL(p₁‖p₂) = Σ p₁ r has the gradient p₁ (r − KL) at the first logits, and KL(p₂‖p₁) has p₁ − p₂ there.
    """
    ratio = first - second
    losses_1, p1, normalizer_1 = _seen(first, wanted, smoothing)
    losses_2, p2, normalizer_2 = _seen(second, wanted, smoothing)
    ratio.sub_((normalizer_1 - normalizer_2)[:, None]).mul_(pull / BITS)
    there, back = torch.linalg.vecdot(p1, ratio), torch.linalg.vecdot(p2, ratio)
    d_first = (ratio + (0.5 + pull - there)[:, None]).mul_(p1).sub_(p2, alpha=pull)
    d_second = ratio.neg_().add_((0.5 + pull + back)[:, None]).mul_(p2).sub_(p1, alpha=pull)
    return (losses_1 + losses_2) / 2 + there - back, d_first, d_second


class _BlockedRowLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, features: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, smoothing: float
    ) -> Tensor:
        projection = _Projection(features, weight, bias)
        ctx.dtypes = [None if x is None else x.dtype for x in (features, weight, bias)]
        ctx.smoothing = smoothing
        losses = projection.means().mul_(-smoothing)
        for rows in parts(slice(0, len(features)), BLOCK_ROWS):
            losses[rows] += _seen(projection.bits(rows), wanted[rows], smoothing)[0]
        ctx.save_for_backward(projection.features, projection.weight, projection.bias, wanted)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, scales: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        *inputs, wanted = ctx.saved_tensors
        projection = _Projection(*inputs)
        gradients = _Gradients(projection, 0.0)
        for rows in parts(slice(0, len(wanted)), BLOCK_ROWS):
            _, shares, _ = _seen(projection.bits(rows), wanted[rows], ctx.smoothing)
            shares.sub_(ctx.smoothing / len(projection.weight))
            shares[_at(wanted[rows])] -= 1 - ctx.smoothing
            d_logits = shares.mul_(scales[rows, None]).to(projection.weight.dtype)
            gradients.add(rows, d_logits, len(d_logits))
        found = (gradients.features, gradients.weight, gradients.bias)
        narrow = (None if x is None else x.to(dtype) for x, dtype in zip(found, ctx.dtypes, strict=True))
        return *narrow, None, None


def filled(rows: Tensor) -> Tensor:
    """Rows (N, …), and zeros behind them up to a multiple of `BLOCK_ROWS`; zero is padding among tokens."""
    missing = -len(rows) % BLOCK_ROWS
    return F.pad(rows, (*(0,) * (2 * (rows.ndim - 1)), 0, missing))


def real_among(rows: slice, count: int) -> int:
    """How many of these rows are among the first so many, which are real."""
    return min(max(count - rows.start, 0), rows.stop - rows.start)


def parts(whole: slice, size: int) -> Iterator[slice]:
    """A slice in slices of some size, the last of which may be smaller."""
    for begin in range(whole.start, whole.stop, size):
        yield slice(begin, min(begin + size, whole.stop))


def _twice(rows: slice, count: int) -> tuple[slice, slice]:
    """Some positions where they are seen first, and where they are seen again."""
    return rows, slice(rows.start + count, rows.stop + count)


def _at(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where the wanted tokens (M,) are in (M, V)."""
    return torch.arange(len(wanted), device=wanted.device), wanted


def _seen(bits: Tensor, wanted: Tensor, smoothing: float) -> tuple[Tensor, Tensor, Tensor]:
    """What is said of some rows, from their logits in bits (M, V), which are written over.

    Returns:
        the losses (M,) but for the part of the mean logits, the shares (M, V), which are softmax, and by how
        many bits the logits were above the logarithms of the shares, (M,).
    """
    wanted_bits, top = bits[_at(wanted)], bits.amax(-1, keepdim=True)
    shares = bits.sub_(top).exp2_()
    sums = shares.sum(-1, keepdim=True)
    normalizer = (top + sums.log2())[:, 0]
    losses = (normalizer - (1 - smoothing) * wanted_bits) / BITS
    return losses, shares.mul_(sums.reciprocal_()), normalizer

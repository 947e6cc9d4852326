"""Dropout: exact, cheap on a processor, and the same however a batch is divided.

`dropout` and `add_dropped` draw each feature by itself. The random bits come from NumPy's PCG64, eight of
them a feature, which takes a twentieth of the time of PyTorch's own; where eight cannot meet the rate
closely, sixteen. What is kept grows by exactly the share that these bits drop.

`dropout_seed` says where the bits come from: the n-th call of a step has a stream of its own, and each row of
the batch its own stretch of it, so that two processes with half the rows each drop what one with all of them
would. Without it the seed of each call comes from PyTorch's global generator, so that a run's saved random
state repeats it.

`variational_mask` is drawn once a sentence and kept over its steps: a new mask at each step of a recurrent
network destroys what it has remembered; one mask for all steps does not, and costs one draw a sentence
instead of one a step.

Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
Gal and Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks",
section 4; arXiv:1512.05287.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.errors import InputError, ShapeError
from regard.nn.programs import outside

CLOSE = 0.02  # of the rate: how far the share that eight bits drop may be from it
ONE = np.int16(0x3F80)  # 1.0 in bfloat16, as an integer


@dataclass(frozen=True)
class _Seed:
    """Where a step's random bits come from."""

    seed: int
    first_row: int
    rows: int | None
    copies: int
    calls: Iterator[int] = field(default_factory=count)


_SEED: ContextVar[_Seed | None] = ContextVar("dropout_seed", default=None)


@contextmanager
def dropout_seed(
    seed: int, first_row: int = 0, rows: int | None = None, *, copies: int = 1
) -> Iterator[None]:
    """Let the calls inside draw from streams of their own: the n-th call from that of (seed, n).

    The first axis of what is dropped from is that of the batch, and each of its rows has its own part of the
    stream, which depends on where it stands in the whole batch and not on who draws it.

    Args:
        seed: a whole number ≥ 0, usually made of the run's seed and the step.
        first_row: where the first row of this process stands in the whole batch.
        rows: how many rows the whole batch has; needed where ``copies`` is more than one and this process
            has some of the rows only.
        copies: how often the batch stands in the tensors, one after another, as R-Drop wants it.

    Raises:
        InputError: a seed below 0, or rows that are not in the batch.
    """
    if seed < 0 or first_row < 0 or copies < 1 or (rows is not None and rows <= first_row):
        raise InputError(
            "dropout_seed(): seed and first_row must be at least 0, copies at least 1, and rows more than "
            f"first_row. Got seed {seed}, first_row {first_row}, rows {rows}, copies {copies}."
        )
    token = _SEED.set(_Seed(seed, first_row, rows, copies))
    try:
        yield
    finally:
        _SEED.reset(token)


def dropout(x: Tensor, rate: float, *, training: bool) -> Tensor:
    """x with each feature set to zero with the probability ``rate``, the others growing to make up for it.

    Args:
        x: (B, …), of any floating dtype; B is the axis that `dropout_seed` counts.
        rate: in [0, 1). What is dropped in truth is the nearest of 256 shares, or of 65,536 where that is
            more than 2 % off; the others are divided by exactly what is left.
        training: False gives x itself, and draws nothing.

    Raises:
        InputError: a rate outside [0, 1).
    """
    if not _drops(rate, training):
        return x
    keep, scale = multiplier(x, rate)
    return _Dropout.apply(x, keep, scale)  # pyright: ignore[reportReturnType]


def torch_dropout(x: Tensor, rate: float) -> Tensor:
    """PyTorch's own dropout, from its global generator; within `dropout_seed` that of `dropout`."""
    if _SEED.get() is None:
        return torch.nn.functional.dropout(x, rate)
    return dropout(x, rate, training=True)


def add_dropped(residual: Tensor, x: Tensor, rate: float, *, training: bool) -> Tensor:
    """residual + dropout(x), in one pass.

    Args:
        residual: (B, …) and x: the same shape and dtype.
        rate, training: as for `dropout`.

    Raises:
        InputError: a rate outside [0, 1).
    """
    if not _drops(rate, training):
        return residual + x
    keep, scale = multiplier(x, rate)
    return _AddDropped.apply(residual, x, keep, scale)  # pyright: ignore[reportReturnType]


@outside
def variational_mask(
    shape: tuple[int, ...], rate: float, *, training: bool, batch_axis: int = 0
) -> Tensor | None:
    """A multiplier of zeros and 1 / (1 − rate), to be broadcast over the steps of a sentence.

    Args:
        shape: the mask's axes, with a 1 where the steps are.
        rate: the share of features that are dropped, in [0, 1).
        training: False gives None, which `drop` leaves alone.
        batch_axis: which of the axes is the one that `dropout_seed` counts.

    Outside `dropout_seed` the mask comes from PyTorch's global generator, so that a run's saved random state
    repeats it.
    """
    if not training or rate == 0.0:
        return None
    if _SEED.get() is not None:
        bits, limit = _threshold(rate)
        rows = (shape[batch_axis], *shape[:batch_axis], *shape[batch_axis + 1 :])
        keep = np.moveaxis(_draw(rows, bits) >= limit, 0, batch_axis)
        return torch.from_numpy(keep.astype(np.float32) * np.float32(2**bits / (2**bits - limit)))
    return torch.rand(shape).ge_(rate).div_(1.0 - rate)


def of_the_batch(like: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """What chance gives this process's rows, where all draw for the whole batch from the same generator.

    Args:
        like: (B, …), the rows of this process.
        draw: fills an empty tensor of the dtype and device of `like`, in place.

    Returns:
        Of the shape of `like`; without `dropout_seed`, or where that knows no rows, all that was drawn.
    """
    source, like = _SEED.get(), like.detach()
    if source is None or source.rows is None:
        return draw(torch.empty_like(like))
    whole = draw(like.new_empty((source.rows, *like.shape[1:])))
    return whole[source.first_row : source.first_row + len(like)]


def drop(x: Tensor, mask: Tensor | None) -> Tensor:
    """x times the mask, where x is and in its dtype; x itself where there is no mask."""
    return x if mask is None else x * mask.to(x.device, x.dtype)


@outside
def multiplier(x: Tensor, rate: float) -> tuple[Tensor, float]:
    """Zeros and ones like x, drawn anew, and by what to multiply what is kept.

    Args:
        x: (B, …), whose shape, dtype and device count.
        rate: above 0 and below 1.
    """
    bits, limit = _threshold(rate)
    scale = 2**bits / (2**bits - limit)
    if x.device.type != "cpu":
        return _drawn_there(x, limit / 2**bits), scale
    keep = _draw(tuple(x.shape), bits) >= limit
    if x.dtype == torch.bfloat16:
        ones = keep.astype(np.int16)
        ones *= ONE
        return torch.from_numpy(ones).view(torch.bfloat16), scale
    return torch.from_numpy(keep.view(np.uint8)).to(x.dtype), scale


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return _kept(x, keep, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_dropped: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _kept(d_dropped, ctx.saved_tensors[0], ctx.scale), None, None


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, residual: Tensor, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return torch.addcmul(residual, x, keep, value=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_sum: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return d_sum, _kept(d_sum, ctx.saved_tensors[0], ctx.scale), None, None


def _kept(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    """x · keep · scale, rounded once."""
    return torch.addcmul(x.new_zeros(()), x, keep, value=scale)


def _drops(rate: float, training: bool) -> bool:
    if not 0 <= rate < 1:
        raise InputError(f"dropout(): rate must be in [0, 1). Got {rate}.")
    return training and rate > 0


def _threshold(rate: float) -> tuple[int, int]:
    """How many random bits a feature takes, and below which number they drop it."""
    limit = round(rate * 256)
    if 0 < limit < 256 and abs(limit / 256 - rate) <= CLOSE * min(rate, 1 - rate):
        return 8, limit
    return 16, min(max(round(rate * 65536), 1), 65535)


def _draw(shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Random numbers of some bits, each row's from its own stretch of the call's stream."""
    rows, features = (shape[0], prod(shape[1:])) if shape else (1, 1)
    words = -(-features * bits // 64)
    source = _SEED.get()
    if source is None:
        seed = int(torch.randint(2**63 - 1, ()))
        drawn = np.random.PCG64(seed).random_raw(rows * words)
    else:
        generator = np.random.PCG64((source.seed, next(source.calls)))
        drawn = _rows_of(source, generator, rows, words)
    numbers = drawn.view(np.uint8 if bits == 8 else np.uint16)
    if numbers.size != rows * features:
        numbers = numbers.reshape(rows, -1)[:, :features]
    return numbers.reshape(shape)


def _rows_of(source: _Seed, generator: np.random.PCG64, rows: int, words: int) -> np.ndarray:
    """The words of this process's rows, (rows · words,)."""
    if source.copies == 1:
        _require_rows(source, rows)
        return generator.advance(source.first_row * words).random_raw(rows * words)
    own, rest = divmod(rows, source.copies)
    if rest:
        raise ShapeError(
            f"dropout(): {source.copies} copies of a batch need a multiple of {source.copies} rows. "
            f"Got {rows}."
        )
    _require_rows(source, own)
    whole = own if source.rows is None else source.rows
    parts = []
    for copy in range(source.copies):
        generator.advance((source.first_row if copy == 0 else whole - own) * words)
        parts.append(generator.random_raw(own * words))
    return np.concatenate(parts)


def _require_rows(source: _Seed, rows: int) -> None:
    if source.rows is not None and source.first_row + rows > source.rows:
        raise ShapeError(
            f"dropout(): {rows} rows from row {source.first_row} on don't fit into a batch of {source.rows}; "
            "the first axis must be the one that dropout_seed() counts."
        )


def _drawn_there(x: Tensor, rate: float) -> Tensor:
    """Zeros and ones like x, drawn by x's own device."""
    source = _SEED.get()
    if source is None:
        return torch.empty_like(x).bernoulli_(1 - rate)
    sequence = np.random.SeedSequence((source.seed, next(source.calls)))
    generator = torch.Generator(x.device).manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
    own = len(x) // source.copies
    whole = source.first_row + own if source.rows is None else source.rows
    every = x.new_empty((source.copies, whole, *x.shape[1:])).bernoulli_(1 - rate, generator=generator)
    return every[:, source.first_row : source.first_row + own].reshape(x.shape)

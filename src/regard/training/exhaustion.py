"""What is said where the memory is not enough: for which batch, and what makes batches smaller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from regard.data.batches import Batch
from regard.errors import TrainingError
from regard.training.recipe import Recipe

_SIGNS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "bad_alloc",
)


@contextmanager
def naming_exhaustion(batch: Batch, step: int, recipe: Recipe) -> Iterator[None]:
    """Do something with a batch, and say which one it was where that takes more memory than there is.

    Args:
        batch: what is worked on.
        step: which one it is.
        recipe: with the settings that decide how large batches are.

    Raises:
        TrainingError: the memory was not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_exhaustion(error):
            raise
        raise TrainingError(exhausted(batch, step, recipe)) from None


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says, in Python's words or a library's, that there is no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def exhausted(batch: Batch, step: int, recipe: Recipe) -> str:
    """Which batch was too large, and which setting makes it smaller.

    A batch has at least `regard.data.shapes.ROW_STEP` pairs: where these are too many, shorter ones help.
    """
    rows, source = batch.source.shape
    target = batch.wanted.shape[1]
    tokens, longest = recipe.training.batch_tokens, recipe.data.longest
    smaller = f"training.batch_tokens (now {tokens:,})"
    if rows * max(source, target) > 2 * tokens:
        smaller = f"data.longest (now {longest:,}), as so few pairs are so long"
    return (
        f"the memory is not enough for the batch of step {step:,}: {rows:,} pairs of up to {source:,} source "
        f"and {target:,} target tokens. Train anew with a smaller {smaller}."
    )

"""Dropout whose mask is drawn once a sentence and kept over its steps.

A new mask at each step of a recurrent network destroys what it has remembered; one mask for all steps does
not, and costs one draw a sentence instead of one a step.

Source: Gal and Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural
networks", section 4; arXiv:1512.05287.
"""

import torch
from torch import Tensor


def variational_mask(shape: tuple[int, ...], rate: float, *, training: bool) -> Tensor | None:
    """A multiplier of zeros and 1 / (1 − rate), to be broadcast over the steps of a sentence.

    Args:
        shape: the mask's axes, with a 1 where the steps are.
        rate: the share of features that are dropped, in [0, 1).
        training: False gives None, which `drop` leaves alone.

    The mask comes from PyTorch's global generator, so that a run's saved random state repeats it.
    """
    if not training or rate == 0.0:
        return None
    return torch.rand(shape).ge_(rate).div_(1.0 - rate)


def drop(x: Tensor, mask: Tensor | None) -> Tensor:
    """x times the mask, in the dtype of x; x itself where there is no mask."""
    return x if mask is None else x * mask.to(x.dtype)

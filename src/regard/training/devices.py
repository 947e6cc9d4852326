"""Where a network is computed, how texts get there, and how a search on the processor asks it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import RecipeError


def chosen_device(setting: str) -> torch.device:
    """The processor, or, where asked for or «auto» finds one, a GPU; each process of a machine has its own.

    Raises:
        RecipeError: a GPU is asked for and there is none, or there are more processes than GPUs.
    """
    if setting == "cpu" or (setting == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise RecipeError(
            f"training.device is {setting}, but PyTorch finds no GPU here. Choose training.device cpu."
        )
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= count:
        processes = os.environ.get("LOCAL_WORLD_SIZE", f"at least {number + 1}")
        raise RecipeError(
            f"training.device is {setting}, but this machine has {processes} processes and {count} GPUs. "
            f"Start at most {count}, or choose training.device cpu."
        )
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device


def chosen_precision(setting: str, device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 where asked for, or where «auto» finds a processor, or a GPU, with units for it."""
    if torch.device(device).type == "cuda":
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if setting == "bf16" or (setting == "auto" and has_units) else torch.float32


def placed(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor there; the copy goes on beside what the GPU has still to do."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class _Kept:
    """What a network keeps for each row, where the network is."""

    kept: Any
    device: torch.device

    def select(self, rows: Tensor) -> _Kept:
        return _Kept(self.kept.select(rows.to(self.device)), self.device)


class Elsewhere(nn.Module):
    """A network that may be on a GPU, for a search that is on the processor.

    Args:
        network: an encoder–decoder; see `regard.models.interface`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    @property
    def device(self) -> torch.device:
        """Where the network is by now."""
        return next(self.network.parameters()).device

    def encode(self, source: Tensor, lengths: Tensor) -> _Kept:
        """See `EncoderDecoder`; so for `start` and `step`."""
        device = self.device
        return _Kept(self.network.encode(source.to(device), lengths.to(device)), device)  # pyright: ignore[reportCallIssue]

    def start(self, encoded: _Kept) -> tuple[_Kept, _Kept]:
        """What stays the same at each step, and the state before the first word."""
        steps, state = self.network.start(encoded.kept)  # pyright: ignore[reportCallIssue]
        return _Kept(steps, encoded.device), _Kept(state, encoded.device)

    def step(self, steps: _Kept, state: _Kept, words: Tensor) -> tuple[Tensor, Tensor, _Kept]:
        """From the last words to log-probabilities, weights and the next state."""
        said = self.network.step(steps.kept, state.kept, words.to(state.device))  # pyright: ignore[reportCallIssue]
        log_probabilities, weights, after = said
        return log_probabilities.cpu(), weights.cpu(), _Kept(after, state.device)

    def copy_shares(self, *texts: Tensor) -> Tensor:
        """See `TransformerTranslator.copy_shares`."""
        return self.network.copy_shares(*(text.to(self.device) for text in texts)).cpu()  # pyright: ignore[reportCallIssue]

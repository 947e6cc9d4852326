"""Checkpoints: everything a training step depends on, so that a resumed run computes what an unbroken one would have.

    checkpoints/step-N/weights.safetensors     the network
    checkpoints/step-N/optimizer.safetensors   AdamW's two moments and the random state
    checkpoints/step-N/progress.json           the step, the place in the epoch, the validations so far
    checkpoints/best-N.safetensors             the weights of a validation that was among the best

A folder appears under its name only when it is whole; the older one is removed after that.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from regard.errors import RunError
from regard.training.run import RunFolder, fill, named_weights, read_tensors, saving, write_json, write_tensors


@dataclass
class Progress:
    """Where training stands.

    Args:
        step: updates done.
        epoch, position: the next batch is number `position` of epoch `epoch`.
        seconds: time spent training so far, over all sessions.
        tokens: real target tokens learned from so far.
        best: (score, step) of the best validations, best first.
        stale: validations since the last one that was better than all before.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0
    tokens: int = 0
    best: list[tuple[float, int]] = field(default_factory=list)
    stale: int = 0


def save_checkpoint(run: RunFolder, progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write `checkpoints/step-N`, then remove what it makes superfluous.

    Raises:
        TrainingError: the disk is full; the checkpoint before is still there.
    """
    run.checkpoints.mkdir(exist_ok=True)
    folder = run.checkpoints / f"step-{progress.step}"
    with saving(folder) as temporary:
        temporary.mkdir()
        write_tensors(temporary / "weights.safetensors", named_weights(network))
        write_tensors(temporary / "optimizer.safetensors", _optimizer_tensors(network, optimizer))
        write_json(temporary / "progress.json", asdict(progress))
    _tidy(run, progress)


def _tidy(run: RunFolder, progress: Progress) -> None:
    kept = {f"step-{progress.step}"} | {best_path(run, step).name for _, step in progress.best}
    for path in run.checkpoints.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def best_path(run: RunFolder, step: int) -> Path:
    """Where the weights of a validation are kept while it is among the best."""
    return run.checkpoints / f"best-{step}.safetensors"


def last_checkpoint(run: RunFolder) -> Path | None:
    """The newest whole checkpoint, or None before the first."""
    folders = [path for path in run.checkpoints.glob("step-*") if path.name[5:].isdecimal()]
    return max(folders, key=lambda path: int(path.name[5:]), default=None)


def load_checkpoint(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put network, optimizer and random state back to where they were.

    Raises:
        RunError: a file is missing, cut short, or of another model.
    """
    try:
        stored = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        progress = Progress(**stored | {"best": [(score, step) for score, step in stored["best"]]})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{folder}: the checkpoint is not whole ({error}). Remove it to go on from an earlier one.") from None
    fill(network, read_tensors(folder / "weights.safetensors"), folder)
    tensors = read_tensors(folder / "optimizer.safetensors")
    try:
        torch.set_rng_state(tensors["random_state"])
        for name, parameter in network.named_parameters():
            optimizer.state[parameter] = {key: tensors[f"{key}/{name}"] for key in _MOMENTS}
    except KeyError as error:
        raise RunError(f"{folder}: the checkpoint lacks {error}; it is of another model or version.") from None
    return progress


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _optimizer_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"random_state": torch.get_rng_state()}
    for name, parameter in network.named_parameters():
        for key in _MOMENTS:
            tensors[f"{key}/{name}"] = optimizer.state[parameter][key]
    return tensors

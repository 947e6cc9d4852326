"""Checkpoints: what a training step depends on, so that a resumed run computes what an unbroken one does.

    checkpoints/step-N/weights.safetensors     the network
    checkpoints/step-N/optimizer.safetensors   AdamW's two moments and the random state
    checkpoints/step-N/progress.json           the step, the place in the epoch, the validations so far
    checkpoints/best-N.safetensors             the weights of a validation that was among the best

A folder appears under its name only when it is whole; what it makes superfluous is removed after that.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from regard.errors import RunError
from regard.training.files import read_tensors, remove, saving, tensor_bytes
from regard.training.run import RunFolder, fill, named_weights


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


def save_checkpoint(
    run: RunFolder, progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write `checkpoints/step-N`, then remove what it makes superfluous.

    Raises:
        TrainingError: the disk is full; the checkpoint before is still there.
    """
    with saving(run.checkpoints / f"step-{progress.step}") as folder:
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(tensor_bytes(named_weights(network)))
        (folder / "optimizer.safetensors").write_bytes(tensor_bytes(_optimizer_tensors(network, optimizer)))
        (folder / "progress.json").write_text(json.dumps(asdict(progress), indent=1) + "\n", encoding="utf-8")
    tidy(run, progress)


def tidy(run: RunFolder, progress: Progress) -> None:
    """Remove all but the last checkpoint and the best weights, also what a kill left half written."""
    kept = {f"step-{progress.step}"} | {best_path(run, step).name for _, step in progress.best}
    for path in run.checkpoints.iterdir():
        if path.name not in kept:
            remove(path)


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
        raise RunError(
            f"{folder / 'progress.json'}: not whole ({error}). Remove {folder} to train from the start."
        ) from None
    weights, state = (read_tensors(folder / f"{name}.safetensors") for name in ("weights", "optimizer"))
    fill(network, weights, folder)
    try:
        for name, parameter in network.named_parameters():
            optimizer.state[parameter] = {key: state[f"{key}/{name}"] for key in _MOMENTS}
        torch.set_rng_state(state["random_state"])
    except KeyError as error:
        raise RunError(
            f"{folder}: the checkpoint lacks {error}; it is of another model or version."
        ) from None
    return progress


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _optimizer_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"random_state": torch.get_rng_state()}
    for name, parameter in network.named_parameters():
        for key in _MOMENTS:
            tensors[f"{key}/{name}"] = optimizer.state[parameter][key]
    return tensors

"""Checkpoints: what a training step depends on, so that a resumed run computes what an unbroken one does.

    checkpoints/step-N/weights.safetensors     the network
    checkpoints/step-N/optimizer.safetensors   AdamW's two moments, the moving average, the random state
    checkpoints/step-N/progress.json           the step, the place in the epoch, the validations so far
    checkpoints/best-N.safetensors             the weights of a validation that was among the best

A folder appears under its name only when it is whole; what it makes superfluous is removed after that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from regard.errors import RunError
from regard.training.files import read_tensors, remove, saving, tensor_bytes
from regard.training.master import MasterWeights
from regard.training.run import RunFolder, named_weights, require_alike


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


@dataclass(frozen=True)
class TrainingState:
    """The tensors that a step depends on and changes.

    Args:
        network: whose parameters they are, whole in each process.
        master: all weights with a gradient, in float32.
        optimizer: AdamW over `master.flat`.
        average: the moving average of the weights, of the form of `master.flat`; None where there is none.
    """

    network: nn.Module
    master: MasterWeights
    optimizer: torch.optim.Optimizer
    average: Tensor | None = None

    def weights_of(self, flat: Tensor | None = None) -> dict[str, Tensor]:
        """Every weight of the network under its name, from the master's or another flat tensor."""
        return named_weights(self.network) | self.master.named(flat)

    @property
    def beside(self) -> dict[str, Tensor]:
        """What is kept beside the weights, each of the form of `master.flat`, by name."""
        moments = self.optimizer.state[self.master.flat]
        kept = {key: moments[key] for key in ("exp_avg", "exp_avg_sq")}
        return kept if self.average is None else kept | {"average": self.average}


def save_checkpoint(run: RunFolder, progress: Progress, state: TrainingState, *, leads: bool = True) -> None:
    """Write `checkpoints/step-N`, then remove what it makes superfluous.

    Args:
        run, progress, state: what is saved, and where.
        leads: whether this process writes; the others bring their part of the state.

    Raises:
        TrainingError: the disk is full; the checkpoint before is still there.
    """
    weights, beside = state.weights_of(), _tensors_beside(state)
    if not leads:
        return
    with saving(run.checkpoints / f"step-{progress.step}") as folder:
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(tensor_bytes(weights))
        (folder / "optimizer.safetensors").write_bytes(tensor_bytes(beside))
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


def load_checkpoint(folder: Path, state: TrainingState) -> Progress:
    """Put weights, optimizer and random state back to where they were.

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
    weights, beside = (read_tensors(folder / f"{name}.safetensors") for name in ("weights", "optimizer"))
    require_alike(state.network, weights, folder)
    _put_back(state, weights)
    try:
        for key, flat in state.beside.items():
            state.master.fill(flat, _below(beside, key))
        state.optimizer.state[state.master.flat]["step"].copy_(beside["step"])
        torch.set_rng_state(beside["random_state"])
    except KeyError as error:
        raise RunError(
            f"{folder}: the checkpoint lacks {error}; it is of another model or version."
        ) from None
    return progress


@torch.no_grad()
def _put_back(state: TrainingState, weights: Mapping[str, Tensor]) -> None:
    for name, parameter in named_weights(state.network).items():
        parameter.copy_(weights[name])
    state.master.fill(state.master.flat, weights)
    state.master.publish()


def _tensors_beside(state: TrainingState) -> dict[str, Tensor]:
    step = state.optimizer.state[state.master.flat]["step"]
    tensors = {"random_state": torch.get_rng_state(), "step": step}
    for key, flat in state.beside.items():
        tensors |= {f"{key}/{name}": part for name, part in state.master.named(flat).items()}
    return tensors


def _below(tensors: Mapping[str, Tensor], key: str) -> dict[str, Tensor]:
    """What is stored as ``key/name``, by name."""
    return {name[len(key) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{key}/")}

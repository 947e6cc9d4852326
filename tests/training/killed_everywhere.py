"""Kill a run before each of its changes to files in turn, let it go on, and compare it with an unbroken one.

A program of its own, run by test_resume.py: PyTorch is loaded once, and each attempt is a fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import regard
from regard.evaluation.text import bleu
from regard.training.board import Board
from regard.training.files import part
from regard.training.loop import make_optimizer
from regard.training.master import MasterWeights
from regard.training.recipe import Recipe
from regard.training.run import RunFolder

CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
PAIRS = [(f"{i} {j}", f"{j} {i}") for i in range(6) for j in range(6)]
RECIPE = Recipe().changed(
    {
        "data": {"tokenizer": "word"},
        "model": {"architecture": "recurrent", "embedding": 4, "width": 4},
        "training": {"steps": 4, "validate_every": 2, "batch_tokens": 64, "average": 2},
        "decoding": {"longest_extra": 1},
    }
)


def load_everything(folder: Path) -> None:
    """Let PyTorch and the others load what they load on first use, so that the children need not."""
    network = torch.nn.Linear(1, 1)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    make_optimizer(MasterWeights(network, torch.float32), RECIPE.training).step()
    bleu(["a"], ["a"])
    Board.open(folder, 0)


def in_a_child(work: Callable[..., Any], *arguments: Any) -> int:
    """Do something in a fork of this process; 0 when done, else the signal that ended it or a status."""
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(99)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def train(out: Path, killed_at: int = 0) -> None:
    """Train; where `killed_at` is given, until just before that change of the files below `out`."""
    count = 0

    def audit(event: str, arguments: tuple) -> None:
        nonlocal count
        reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES and not reads and str(arguments[0]).startswith(str(out)):
            count += 1
            if count == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    regard.fit(PAIRS, recipe=RECIPE, out=out, resume=(out / "regard.toml").exists())


def main(folder: Path) -> None:
    load_everything(folder)
    whole = folder / "whole"
    assert in_a_child(train, whole) == 0
    kills = starts = 0
    while (status := in_a_child(train, out := folder / f"killed-{kills + 1}", kills + 1)) != 0:
        kills += 1
        assert status == -signal.SIGKILL, f"change {kills}: ended with {status}"
        if (out / "regard.toml").exists():
            RunFolder.open(out).tokenizer()
        else:
            starts += 1
            assert not out.exists() or not any(out.iterdir()) or part(out / "regard.toml").exists()
        assert in_a_child(train, out) == 0, f"killed at change {kills}: does not go on"
        compare(out, whole, kills)
    print(f"killed at {kills} changes, {starts} before there was a run")


def compare(run: Path, whole: Path, kills: int) -> None:
    where = f"killed at change {kills}"
    weights = [(path / "model.safetensors").read_bytes() for path in (run, whole)]
    assert weights[0] == weights[1], f"{where}: the weights differ"
    assert files(run) == files(whole), f"{where}: the files are {files(run)}, not {files(whole)}"


def files(run: Path) -> list[str]:
    """What is in a run's folder, events for TensorBoard aside, of which each session has a file."""
    names = (path.relative_to(run).as_posix() for path in run.rglob("*"))
    return sorted(name for name in names if "tfevents" not in name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

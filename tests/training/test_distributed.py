"""Two processes train what one does: the batch defines the result, not how many share it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regard.training.distributed import Loss, Team

SETTINGS = {
    "transformer": [
        "model.width=16",
        "model.heads=2",
        "model.feed_forward=24",
        "model.encoder_layers=1",
        "model.decoder_layers=2",
        "model.attention_dropout=0.1",
    ],
    "recurrent": ["model.architecture=recurrent", "model.embedding=12", "model.width=16"],
    "r_drop": [
        "model.width=16",
        "model.feed_forward=24",
        "model.encoder_layers=1",
        "model.decoder_layers=1",
        "training.r_drop=2.0",
        "training.moving_average=0.9",
    ],
}
COMMON = [
    "data.tokenizer=word",
    "training.precision=float32",
    "training.batch_tokens=64",
    "training.warmup=5",
    "training.patience=0",
    "training.average=2",
    "decoding.longest_extra=1",
    "decoding.beam=1",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{i} {j} {i}\t{j} {i}\n" for i in range(9) for j in range(9)), encoding="utf-8")
    return path


def command(processes: int, *arguments: str | Path) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    before = launcher if processes > 1 else []
    return [sys.executable, *before, "-m", "regard", "fit", *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def fit(processes: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(processes, *arguments), env=environment(), capture_output=True, text=True, timeout=300
    )


def started(kind: str, corpus: Path, out: Path, steps: int = 50, every: int = 25) -> list[str | Path]:
    settings = [*COMMON, *SETTINGS[kind], f"training.steps={steps}", f"training.validate_every={every}"]
    return [corpus, "--out", out, *(part for each in settings for part in ("--set", each))]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("kind", SETTINGS)
def test_two_processes_and_one_agree_in_loss_over_fifty_steps(
    kind: str, corpus: Path, tmp_path: Path
) -> None:
    for processes in (1, 2):
        done = fit(processes, *started(kind, corpus, tmp_path / str(processes)))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Try it:") == 1  # nothing is said twice
    alone, together = (losses(tmp_path / str(processes)) for processes in (1, 2))
    assert len(alone) == len(together) == 50
    assert together == pytest.approx(alone, abs=1e-4)
    assert alone[-1] < 0.9 * alone[0]
    one, other = (load_file(tmp_path / str(n) / "model.safetensors") for n in (1, 2))
    for name, weight in one.items():
        if name.endswith("keys.bias"):  # has no gradient but rounding, which Adam blows up
            continue
        torch.testing.assert_close(other[name], weight, rtol=0, atol=2e-3, msg=name)


def cut_off(processes: int, arguments: list[str | Path], run: Path) -> str:
    """Start a run, and kill one of its processes once there is a checkpoint; gives what the rest said."""
    started = subprocess.Popen(
        command(processes, *arguments),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not list(run.glob("checkpoints/step-*/progress.json")):
        assert time.monotonic() < until, "no checkpoint"
        assert started.poll() is None, started.communicate()
        time.sleep(0.02)
    victim = started.pid if processes == 1 else max(workers(started.pid))
    os.kill(victim, signal.SIGKILL)
    out, err = started.communicate(timeout=120)
    assert started.returncode != 0
    return out + err


def workers(launcher: int) -> list[int]:
    """The processes that a launcher has started for the work."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, parent, args in rows if int(parent) == launcher and "regard" in args]


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2)])
def test_a_run_that_lost_a_process_goes_on_exactly_with_any_number(
    before: int, after: int, corpus: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    steps, every = 400, 10
    done = fit(before, *started("transformer", corpus, whole, steps, every))
    assert done.returncode == 0, done.stderr
    said = cut_off(before, started("transformer", corpus, cut, steps, every), cut)
    assert not (cut / "model.safetensors").exists()
    if before > 1:
        (sentence,) = re.findall(r"^.*regard: another process was lost.*$", said, re.MULTILINE)
        assert "regard fit --resume" in sentence
    done = fit(after, "--resume", cut)
    assert done.returncode == 0, done.stderr
    if before == after:
        assert losses(cut) == losses(whole)
    else:
        assert losses(cut) == pytest.approx(losses(whole), abs=1e-3)


def test_one_process_alone_is_a_team() -> None:
    team = Team()
    assert (team.rank, team.size, team.leads) == (0, 1, True)
    assert team.told(1.5, 2.0) == [1.5, 2.0]
    assert team.rows(7) == (0, 7)
    assert team.total(torch.tensor(3.0)) == 3.0
    module = torch.nn.Linear(1, 1)
    assert team.shared(module, some_unused=True) is module
    with team.leader_first():
        pass


def test_a_part_without_rows_has_a_loss_of_zero_and_all_gradients() -> None:
    loss = Loss(torch.nn.Linear(2, 3))
    empty = torch.zeros(0, 4, dtype=torch.long)
    value = loss([empty, empty, empty, empty])
    value.backward()
    assert value == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in loss.parameters())

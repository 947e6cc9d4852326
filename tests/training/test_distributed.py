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
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file

import regard
from regard.data.batches import Batches
from regard.data.tokenization import PAD
from regard.errors import RecipeError
from regard.models.architectures import Translator, make
from regard.models.config import AttentionName, RecurrentConfig
from regard.models.transformer import TransformerConfig
from regard.training.distributed import Loss, Team
from regard.training.recipe import Recipe

SETTINGS = {
    "transformer": [
        "model.width=16",
        "model.heads=2",
        "model.feed_forward=24",
        "model.encoder_layers=1",
        "model.decoder_layers=2",
        "model.attention_dropout=0.1",
    ],
    "recurrent": [
        "model.architecture=recurrent",
        "model.embedding=12",
        "model.width=16",
        "model.attention=gumbel",
        "model.recurrent_dropout=0.1",
    ],
    "r_drop": [
        "model.width=16",
        "model.heads=2",
        "model.feed_forward=24",
        "model.encoder_layers=2",
        "model.decoder_layers=1",
        "model.score=additive",
        "model.attention_dropout=0.1",
        "model.layer_drop=0.2",
        "training.r_drop=2.0",
        "training.moving_average=0.9",
    ],
}
SETTINGS["fsdp"] = [*SETTINGS["r_drop"], "training.parallel=fsdp"]
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


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("transformer", 2, 2),
        ("transformer", 2, 1),
        ("transformer", 1, 2),
        ("fsdp", 2, 2),
        ("fsdp", 2, 1),
        ("fsdp", 1, 2),
    ],
)
def test_a_run_that_lost_a_process_goes_on_exactly_with_any_number(
    kind: str, before: int, after: int, corpus: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    steps, every = (400, 10) if kind == "transformer" else (80, 5)
    done = fit(before, *started(kind, corpus, whole, steps, every))
    assert done.returncode == 0, done.stderr
    said = cut_off(before, started(kind, corpus, cut, steps, every), cut)
    assert not (cut / "model.safetensors").exists()
    if before > 1:
        (sentence,) = re.findall(r"^.*regard: another process was lost.*$", said, re.MULTILINE)
        assert "regard fit --resume" in sentence
        assert not re.search(r"^\[rank", said, re.MULTILINE), "a process of ours shows a traceback"
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


def test_an_error_of_one_process_is_said_once_and_ends_all(tmp_path: Path) -> None:
    done = fit(2, tmp_path / "nothing.tsv", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("regard: ") == 1
    assert f"regard: {tmp_path / 'nothing.tsv'}: no such file" in done.stderr
    assert "[rank" not in done.stderr


def member(rank: int, size: int) -> Team:
    team = Team()
    team.rank, team.size = rank, size
    return team


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_the_parts_of_a_batch_are_its_rows_and_rows_in_which_nothing_is_wanted(size: int) -> None:
    batch = next(iter(Batches([[4, 5]] * 5, [[6]] * 5, tokens=100).coming()))[1]
    parts = [member(rank, size).part(batch) for rank in range(size)]
    assert all(len(part.rows) for part in parts)
    assert sum(part.tokens for part in parts) == batch.tokens
    real = [row for part in parts if part.tokens for row in part.rows]
    assert real == batch.rows.tolist()
    assert {part.source.shape[1] for part in parts} == {batch.source.shape[1]}


@pytest.mark.parametrize("config", [TransformerConfig(width=16), TransformerConfig(width=16, copy=True)])
def test_a_row_in_which_nothing_is_wanted_adds_nothing_to_a_transformers_gradient(
    config: TransformerConfig,
) -> None:
    require_nothing(make(config, 20))


@pytest.mark.parametrize("name", get_args(AttentionName))
def test_a_row_in_which_nothing_is_wanted_adds_nothing_to_a_recurrent_gradient(name: Any) -> None:
    require_nothing(make(RecurrentConfig(width=16, embedding=12, attention=name), 20))


def require_nothing(network: Translator) -> None:
    source = torch.tensor([[5, 6, 7]])
    wanted = torch.full_like(source, PAD)
    loss = Loss(network.train())([source, torch.tensor([3]), source, wanted], smoothing=0.1)
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert loss == 0
    assert gradients
    assert not any(gradient.any() for gradient in gradients)  # NaN would count as something


def test_sharing_out_a_weight_that_is_a_single_number_is_refused_before_any_work(
    corpus: Path, tmp_path: Path
) -> None:
    settings = ["training.parallel=fsdp", "model.normalizer=entmax"]
    with pytest.raises(RecipeError, match=r"^training\.parallel is fsdp, but the weight .*shape is a single"):
        regard.fit(corpus, settings=settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sharing_out_what_has_no_layers_is_refused() -> None:
    settings = {"model": {"architecture": "recurrent"}, "training": {"parallel": "fsdp"}}
    with pytest.raises(RecipeError, match=r"training\.parallel is fsdp, but model\.architecture recurrent"):
        Recipe().changed(settings)

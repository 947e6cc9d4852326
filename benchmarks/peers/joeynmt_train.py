"""How fast does JoeyNMT 2.3.0 train its recurrent encoder-decoder: one JSON object on stdout.

Run by the Python of an environment of its own:

    python3 -m venv PEER
    PEER/bin/pip install torch==2.13.0
    PEER/bin/pip install --no-deps joeynmt==2.3.0
    PEER/bin/pip install -r joeynmt-requirements.txt
    PEER/bin/python joeynmt_train.py --source train.en --target train.de --vocab vocab.txt --seconds 60

The data are JoeyNMT's plain-text format at its "word" level: a sentence a line, pieces separated by one
space, and a vocabulary with a piece a line, so both sides of a comparison train on the same pieces. Model,
loader, batches, loss, clipping, optimiser and logging are JoeyNMT's, run by its own TrainManager. This script
only writes the configuration, watches the clock at the start of each training step, counts tokens, and keeps
JoeyNMT from validating and from saving. The clock sees whole rounds: loading a batch, the step, the update.

JoeyNMT hands ReduceLROnPlateau a ``verbose`` that PyTorch no longer takes; it is dropped on the way. Threads
are pinned, since by default PyTorch takes as many as it sees.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VERSION = "2.3.0"


class Finished(Exception):
    """The time or the steps asked for are used up."""


class Clock:
    """Counts what lies between two starts of a training step, after the warm-up."""

    def __init__(self, *, warmup_steps: int, seconds: float | None, steps: int | None) -> None:
        self.warmup_steps, self.limit, self.most = warmup_steps, seconds, steps
        self.started = 0.0
        self.seen = 0
        self.counts: dict[str, int] = dict.fromkeys(
            ("sentences", "source_tokens", "target_tokens", "source_cells", "target_cells"), 0
        )
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        """Training steps that were timed from start to start."""
        return self.seen - self.warmup_steps

    def step_starts(self, batch: Any, pad: int) -> None:
        """Take the time of the steps before this one; raise Finished when there were enough of them."""
        now = time.perf_counter()
        if self.seen == self.warmup_steps:
            self.started = now
        elif self.seen > self.warmup_steps:
            self.seconds = now - self.started
            if (self.limit and self.seconds >= self.limit) or (self.most and self.steps >= self.most):
                raise Finished
        if self.seen >= self.warmup_steps:
            self._count(batch, pad)
        self.seen += 1

    def _count(self, batch: Any, pad: int) -> None:
        self.counts["sentences"] += len(batch.src)
        for side, ids in (("source", batch.src), ("target", batch.trg)):
            self.counts[f"{side}_tokens"] += int((ids != pad).sum())
            self.counts[f"{side}_cells"] += ids.numel()


def configuration(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what a user of JoeyNMT would write into its YAML file."""
    side = {"level": "word", "lowercase": False, "normalize": False, "max_length": -1}
    return {
        "name": "train-speed",
        "joeynmt_version": VERSION,
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "random_seed": args.seed,
        "data": {
            "train": str(folder / "train"),
            "dev": str(folder / "dev"),
            "dataset_type": "plain",
            "src": {"lang": "src", "voc_file": str(folder / "vocab.src"), **side},
            "trg": {"lang": "trg", "voc_file": str(folder / "vocab.trg"), **side},
        },
        "testing": {},
        "training": {
            "optimizer": "adam",
            "learning_rate": args.learning_rate,
            "learning_rate_min": 0.0,
            "scheduling": "plateau",
            "normalization": "tokens",
            "loss": "crossentropy",
            "label_smoothing": args.label_smoothing,
            "clip_grad_norm": args.clip,
            "batch_size": args.batch_tokens,
            "batch_type": "token",
            "shuffle": True,
            "epochs": 1_000_000,
            "logging_freq": 100,
            "validation_freq": 1_000_000_000,
        },
        "model": model_settings(args),
    }


def model_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the model part of the configuration: a recurrent encoder-decoder with input feeding."""
    shared = {
        "type": "recurrent",
        "rnn_type": args.cell,
        "embeddings": {"embedding_dim": args.embedding, "scale": False, "dropout": args.dropout},
        "num_layers": args.layers,
        "dropout": args.dropout,
    }
    return {
        "initializer": "xavier_uniform",
        "embed_initializer": "normal",
        "embed_init_weight": 0.1,
        "bias_initializer": "zeros",
        "tied_embeddings": args.tie_embeddings,
        "tied_softmax": args.tie_softmax,
        "encoder": {**shared, "hidden_size": args.encoder_width or args.width // 2, "bidirectional": True},
        "decoder": {
            **shared,
            "hidden_size": args.width,
            "hidden_dropout": args.dropout,
            "input_feeding": True,
            "init_hidden": "bridge",
            "attention": args.attention,
            "activation": "tanh",
        },
    }


def write_data(args: argparse.Namespace, folder: Path) -> dict[str, int]:
    """Put texts and vocabularies where JoeyNMT looks for them; return how many pairs and unknown pieces."""
    source, target = (read_lines(path) for path in (args.source, args.target))
    if len(source) != len(target):
        sys.exit(f"{args.source} has {len(source)} lines but {args.target} has {len(target)}.")
    pairs = [(s, t) for s, t in zip(source, target, strict=True) if s.strip() and t.strip()]
    unknown = 0
    for position, (suffix, vocab) in enumerate(
        (("src", args.vocab), ("trg", args.target_vocab or args.vocab))
    ):
        lines = [pair[position] for pair in pairs]
        pieces = read_lines(vocab)
        known = set(pieces)
        unknown += sum(piece not in known for line in lines for piece in line.split(" "))
        write_lines(folder / f"vocab.{suffix}", pieces)
        write_lines(folder / f"train.{suffix}", lines)
        # JoeyNMT does not start without a development set; it is never looked at
        write_lines(folder / f"dev.{suffix}", lines[:10])
    return {"pairs": len(pairs), "unknown_pieces": unknown}


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text; refuse the separators that only JoeyNMT would take for line ends."""
    text = path.read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n")
    if lines != text.splitlines():
        sys.exit(f"{path} holds a line separator other than a newline; JoeyNMT would split there.")
    return lines


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def train(config: dict[str, Any], clock: Clock) -> Any:
    """Train as ``joeynmt train`` does, until the clock stops it; return the model."""
    import joeynmt.builders as builders  # pyright: ignore[reportMissingImports]
    from joeynmt.config import parse_global_args  # pyright: ignore[reportMissingImports]
    from joeynmt.helpers import make_model_dir, set_seed  # pyright: ignore[reportMissingImports]
    from joeynmt.prediction import prepare  # pyright: ignore[reportMissingImports]
    from joeynmt.training import TrainManager  # pyright: ignore[reportMissingImports]

    plateau = builders.ReduceLROnPlateau
    builders.ReduceLROnPlateau = lambda *given, verbose=False, **named: plateau(*given, **named)

    class TimedManager(TrainManager):
        def _train_step(self, batch: Any) -> Any:
            clock.step_starts(batch, self.model.pad_index)
            return super()._train_step(batch)

        def _save_checkpoint(self, new_best: bool, score: float) -> None:
            pass

    make_model_dir(Path(config["model_dir"]))
    set_seed(config["random_seed"])
    args = parse_global_args(config, rank=0, mode="train")
    model, train_data, dev_data, _ = prepare(args, rank=0, mode="train")
    manager = TimedManager(
        rank=0,
        model=model,
        model_dir=args.model_dir,
        device=args.device,
        n_gpu=args.n_gpu,
        num_workers=args.num_workers,
        autocast=args.autocast,
        seed=args.seed,
        train_args=args.train,
        dev_args=args.test,
    )
    with contextlib.suppress(Finished):
        manager.train_and_validate(train_data=train_data, valid_data=dev_data)
    return model


def report(args: argparse.Namespace, clock: Clock, model: Any, data: dict[str, int]) -> dict[str, Any]:
    """Gather what was measured, with what is needed to compare it."""
    import joeynmt  # pyright: ignore[reportMissingImports]
    import numpy
    import torch

    counts = clock.counts
    given = {name: value.name if isinstance(value, Path) else value for name, value in vars(args).items()}
    # Linux counts in KiB, macOS in bytes
    mebibyte = 2**10 if sys.platform == "linux" else 2**20
    return {
        "system": "joeynmt",
        "target_tokens": counts["target_tokens"],
        "seconds": clock.seconds,
        "steps": clock.steps,
        "tokens_per_second": counts["target_tokens"] / clock.seconds,
        "source_tokens": counts["source_tokens"],
        "sentences": counts["sentences"],
        "target_padding": 1 - counts["target_tokens"] / counts["target_cells"],
        "source_padding": 1 - counts["source_tokens"] / counts["source_cells"],
        **data,
        "parameters": sum(p.numel() for p in model.parameters()),
        "shapes": {name: list(p.shape) for name, p in model.named_parameters()},
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / mebibyte,
        "threads": torch.get_num_threads(),
        "versions": {
            "joeynmt": joeynmt.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "arguments": given,
    }


def arguments() -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add = parser.add_argument
    add("--source", type=Path, required=True, help="pieces separated by a space, a sentence a line")
    add("--target", type=Path, required=True, help="as many lines")
    add(
        "--vocab",
        type=Path,
        required=True,
        help="a piece a line; JoeyNMT puts <unk> <pad> <s> </s> before them",
    )
    add("--target-vocab", type=Path, help="when the target side has a vocabulary of its own")
    add("--embedding", type=int, default=256)
    add("--width", type=int, default=512, help="hidden size of the decoder")
    add(
        "--encoder-width",
        type=int,
        help="hidden size of each direction of the encoder; default half of --width",
    )
    add("--layers", type=int, default=1, help="of the encoder and of the decoder")
    add("--attention", choices=("luong", "bahdanau"), default="luong")
    add("--cell", choices=("gru", "lstm"), default="gru")
    add(
        "--dropout",
        type=float,
        default=0.0,
        help="on embeddings, between layers, before the attentional layer",
    )
    add("--label-smoothing", type=float, default=0.0)
    add("--learning-rate", type=float, default=0.0005)
    add("--clip", type=float, default=1.0, help="largest norm of the gradient")
    add("--tie-embeddings", action="store_true", help="one matrix for source and target embeddings")
    add(
        "--tie-softmax",
        action="store_true",
        help="output layer is the target embeddings; needs embedding = width",
    )
    add(
        "--batch-tokens",
        type=int,
        default=4096,
        help="positions in the longer side of a batch, padding included",
    )
    add("--threads", type=int, default=2)
    add("--seconds", type=float, help="stop the clock after so long")
    add("--steps", type=int, help="stop the clock after so many steps")
    add("--warmup-steps", type=int, default=10, help="steps before the clock starts")
    add("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.seconds is None and args.steps is None:
        parser.error("--seconds or --steps is needed to know when to stop")
    return args


def main() -> None:
    args = arguments()
    # the thread pools read these when PyTorch and NumPy are first imported
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    clock = Clock(warmup_steps=args.warmup_steps, seconds=args.seconds, steps=args.steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(args, folder)
        model = train(configuration(args, folder), clock)
    print(json.dumps(report(args, clock, model, data)))


if __name__ == "__main__":
    main()

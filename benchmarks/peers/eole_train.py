"""How fast does Eole 0.6.4 train a Transformer: one JSON object on stdout.

Run by the Python of an environment of its own:

    python3 -m venv PEER
    PEER/bin/pip install torch==2.13.0
    PEER/bin/pip install -r eole-requirements.txt
    PEER/bin/python eole_train.py --source train.en --target train.de --vocab vocab.txt --seconds 60

The data are plain text, pieces separated by one space, and a vocabulary with a piece a line. The
configuration is checked and run as `eole train --config` does it: model, loader with its worker processes,
batches, loss, clipping, optimiser and logging are Eole's. This script only writes the configuration,
watches the clock at the start of each training step, and counts tokens.

`--precision bf16` is Eole's own `compute_dtype: bf16`: autocast with float32 weights (`use_amp`, its
default), which on a processor is `torch.cpu.amp.autocast()`. `bf16-pure` is the same with `use_amp: false`:
the weights are bfloat16 themselves. Eole's default is float32.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from timing import (
    Clock,
    Finished,
    parsed,
    parser,
    pin_threads,
    read_lines,
    read_pairs,
    report,
    unknown_pieces,
    write_lines,
)

PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {"compute_dtype": "fp32"},
    "bf16": {"compute_dtype": "bf16"},
    "bf16-pure": {"compute_dtype": "bf16", "use_amp": False},
}


def configuration(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what a user of Eole would write into its YAML file."""
    never = 1_000_000_000
    return {
        "seed": args.seed,
        "src_vocab": str(folder / "vocab"),
        "share_vocab": True,
        "src_vocab_size": 1_000_000,
        "tgt_vocab_size": 1_000_000,
        "overwrite": True,
        "report_every": 100,
        "data": {
            "corpus": {
                "path_src": str(folder / "train.src"),
                "path_tgt": str(folder / "train.tgt"),
                "transforms": [],
                "weight": 1,
            }
        },
        "training": {
            "model_path": str(folder / "model"),
            "world_size": 0,
            "gpu_ranks": [],
            "num_workers": args.workers,
            "batch_type": "tokens",
            "batch_size": args.batch_tokens,
            "normalization": "tokens",
            "optim": "adam",
            "learning_rate": args.learning_rate,
            "max_grad_norm": args.clip,
            "dropout": [args.dropout],
            "attention_dropout": [args.dropout],
            "label_smoothing": args.label_smoothing,
            "param_init_method": "xavier_uniform",
            "train_steps": never,
            "valid_steps": never,
            "save_checkpoint_steps": never,
            **PRECISIONS[args.precision],
        },
        "model": {
            "architecture": "transformer",
            "hidden_size": args.width,
            "transformer_ff": args.feed_forward,
            "heads": args.heads,
            "layers": args.layers,
            "add_qkvbias": True,
            "add_ffnbias": True,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "embeddings": {
                "word_vec_size": args.width,
                "position_encoding_type": "SinusoidalInterleaved",
            },
        },
    }


def write_data(args: argparse.Namespace, folder: Path) -> dict[str, int]:
    """Put texts and vocabulary where the configuration says; return how many pairs and unknown pieces."""
    pairs, pieces = read_pairs(args), read_lines(args.vocab)
    write_lines(folder / "vocab", pieces)
    unknown = 0
    for position, suffix in enumerate(("src", "tgt")):
        lines = [pair[position] for pair in pairs]
        unknown += unknown_pieces(lines, pieces)
        write_lines(folder / f"train.{suffix}", lines)
    return {"pairs": len(pairs), "unknown_pieces": unknown}


def train(config: dict[str, Any], clock: Clock) -> Any:
    """Train as ``eole train`` does, until the clock stops it; return the model."""
    from eole.bin.run.train import train as run  # pyright: ignore[reportMissingImports]
    from eole.config.run import TrainConfig  # pyright: ignore[reportMissingImports]
    from eole.trainer import Trainer  # pyright: ignore[reportMissingImports]

    step, trained = Trainer._train_step, []

    def timed(self: Any, batches: list[Any], *given: Any, **named: Any) -> Any:
        trained[:] = [self.model]
        pad = self.train_loss.padding_idx
        clock.step_starts(batches[0]["src"], batches[0]["tgt"][:, 1:], pad)
        return step(self, batches, *given, **named)

    Trainer._train_step = timed
    with contextlib.suppress(Finished):
        run(TrainConfig(**config))
    return trained[0]


def main() -> None:
    """Train, and print what was measured."""
    made = parser(__doc__)
    made.add_argument("--precision", choices=PRECISIONS, default="fp32")
    made.add_argument("--workers", type=int, default=2, help="processes that load data; Eole's default is 2")
    args = parsed(made)
    pin_threads(args.threads)
    clock = Clock(warmup_steps=args.warmup_steps, seconds=args.seconds, steps=args.steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(args, folder)
        with contextlib.redirect_stdout(sys.stderr):  # it flushes what it prints
            model = train(configuration(args, folder), clock)
    measured = report("eole", args, clock, model, data)
    measured["versions"]["eole"] = metadata.version("eole")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()

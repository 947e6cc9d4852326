"""How fast does JoeyNMT 2.3.0 train an encoder-decoder: one JSON object on stdout.

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

Computed in float32: JoeyNMT turns its `fp16` off where there is no GPU, and knows no bfloat16 (config.py).

JoeyNMT hands ReduceLROnPlateau a ``verbose`` that PyTorch no longer takes; it is dropped on the way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
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

VERSION = "2.3.0"


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
    """Return the model part of the configuration."""
    return {"recurrent": recurrent, "transformer": transformer}[args.architecture](args) | {
        "bias_initializer": "zeros",
        "tied_embeddings": args.tie_embeddings,
        "tied_softmax": args.tie_softmax,
    }


def recurrent(args: argparse.Namespace) -> dict[str, Any]:
    """A recurrent encoder-decoder with input feeding."""
    shared = {
        "type": "recurrent",
        "rnn_type": args.cell,
        "embeddings": {
            "embedding_dim": args.embedding or args.width,
            "scale": False,
            "dropout": args.dropout,
        },
        "num_layers": args.layers,
        "dropout": args.dropout,
    }
    return {
        "initializer": "xavier_uniform",
        "embed_initializer": "normal",
        "embed_init_weight": 0.1,
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


def transformer(args: argparse.Namespace) -> dict[str, Any]:
    """A Transformer as in the configurations that come with JoeyNMT: pre-norm, ReLU, scaled embeddings."""
    side = {
        "type": "transformer",
        "embeddings": {"embedding_dim": args.width, "scale": True, "dropout": args.dropout},
        "hidden_size": args.width,
        "ff_size": args.feed_forward,
        "num_layers": args.layers,
        "num_heads": args.heads,
        "dropout": args.dropout,
        "layer_norm": "pre",
    }
    return {
        "initializer": "xavier_uniform",
        "embed_initializer": "xavier_uniform",
        "encoder": dict(side),
        "decoder": dict(side),
    }


def write_data(args: argparse.Namespace, folder: Path) -> dict[str, int]:
    """Put texts and vocabularies where JoeyNMT looks for them; return how many pairs and unknown pieces."""
    pairs = read_pairs(args)
    unknown = 0
    for position, (suffix, vocab) in enumerate(
        (("src", args.vocab), ("trg", args.target_vocab or args.vocab))
    ):
        lines = [pair[position] for pair in pairs]
        pieces = read_lines(vocab)
        unknown += unknown_pieces(lines, pieces)
        write_lines(folder / f"vocab.{suffix}", pieces)
        write_lines(folder / f"train.{suffix}", lines)
        # JoeyNMT does not start without a development set; it is never looked at
        write_lines(folder / f"dev.{suffix}", lines[:10])
    return {"pairs": len(pairs), "unknown_pieces": unknown}


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
            clock.step_starts(batch.src, batch.trg, self.model.pad_index)
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


def arguments() -> argparse.Namespace:
    """What to train, on what, for how long."""
    made = parser(__doc__)
    add = made.add_argument
    add("--architecture", choices=("recurrent", "transformer"), default="recurrent")
    add("--target-vocab", type=Path, help="when the target side has a vocabulary of its own")
    add("--embedding", type=int, help="of the recurrent model, where it is not --width")
    add("--encoder-width", type=int, help="of each direction of the recurrent encoder; else half of --width")
    add("--attention", choices=("luong", "bahdanau"), default="luong", help="of the recurrent model")
    add("--cell", choices=("gru", "lstm"), default="gru")
    add("--tie-embeddings", action="store_true", help="one matrix for source and target embeddings")
    add("--tie-softmax", action="store_true", help="the output layer is the target embeddings")
    return parsed(made)


def main() -> None:
    """Train, and print what was measured."""
    args = arguments()
    pin_threads(args.threads)
    clock = Clock(warmup_steps=args.warmup_steps, seconds=args.seconds, steps=args.steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(args, folder)
        model = train(configuration(args, folder), clock)
    import joeynmt  # pyright: ignore[reportMissingImports]

    measured = report("joeynmt", args, clock, model, data)
    measured["versions"]["joeynmt"] = joeynmt.__version__
    print(json.dumps(measured))


if __name__ == "__main__":
    main()

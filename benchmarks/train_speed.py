"""Training speed against JoeyNMT 2.3.0: target tokens a second, same sizes, data, pieces, batch and threads.

    python benchmarks/train_speed.py --peer PEER/bin/python --source train.en --target train.de \
        --json benchmarks/results/train_speed.json

Both sides train on the same subwords, made once; they run in processes of their own, in turn, each repeat one
after the other, and count real target tokens (end tokens included, padding not) after some steps of warming
up. The peer is run as `peers/joeynmt_train.py` says, in an environment of its own. regard is run by
`regard.fit`, as its users run it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import machine, versions

HERE = Path(__file__).resolve().parent


class Finished(Exception):
    """The time is up."""


class Stopwatch:
    """A reporter that takes the time of the steps after the warm-up, and ends training after enough."""

    def __init__(self, warmup_steps: int, seconds: float) -> None:
        self.warmup_steps, self.limit = warmup_steps, seconds
        self.began = self.seconds = 0.0
        self.last = 0

    def note(self, text: str) -> None:
        """Pass a sentence on to stderr."""
        print(text, file=sys.stderr)

    def step(self, step: int, total: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """Look at the clock."""
        now = time.perf_counter()
        if step == self.warmup_steps:
            self.began = now
        elif step > self.warmup_steps:
            self.seconds, self.last = now - self.began, step
            if self.seconds >= self.limit:
                raise Finished

    def validation(self, step: int, metric: str, score: float, best: float) -> None:
        """There is none in the timed part."""

    def close(self) -> None:
        """Nothing to put away."""


def own_side(args: argparse.Namespace) -> dict[str, Any]:
    """Train with `regard.fit` until the clock stops it."""
    import torch

    import regard
    from regard.data.corpora import read_pairs
    from regard.models.recurrent import RecurrentTranslator
    from regard.training.recipe import Recipe

    torch.set_num_threads(args.threads)
    watch = Stopwatch(args.warmup_steps, args.seconds)
    recipe = Recipe().changed(
        {
            "data": {"vocabulary": args.vocabulary, "split_punctuation": False, "longest": 10_000},
            "model": {
                "embedding": args.width,
                "width": args.width,
                "attention": "general",
                "tied": "all",
                "dropout": args.dropout,
                "embedding_dropout": args.dropout,
            },
            "training": {
                "steps": 1_000_000,
                "validate_every": 1_000_000,
                "batch_tokens": args.batch_tokens,
                "label_smoothing": args.label_smoothing,
                "learning_rate": 0.0005,
                "checkpoint_minutes": 1000.0,
                "seed": args.seed,
            },
        }
    )
    corpus = read_pairs(args.source, args.target)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        with contextlib.suppress(Finished):
            regard.fit(corpus, valid=[("a", "b")], recipe=recipe, out=folder, reporter=watch)
        metrics = (folder / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in metrics.splitlines()]
        tokens = sum(line["tokens"] for line in lines if args.warmup_steps < line["step"] <= watch.last)
        model = RecurrentTranslator(recipe.model, args.vocabulary)
    return {
        "system": "regard",
        "target_tokens": tokens,
        "seconds": watch.seconds,
        "steps": watch.last - args.warmup_steps,
        "tokens_per_second": tokens / watch.seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
        "versions": versions("regard", "torch", "numpy"),
    }


def write_pieces(args: argparse.Namespace, folder: Path) -> list[str]:
    """The corpus cut into regard's subwords, for the peer; returns its arguments."""
    from regard.data.corpora import read_pairs
    from regard.data.tokenization import SPECIAL_TOKENS, Tokenizer

    corpus = read_pairs(args.source, args.target)
    texts = {"source": corpus.sources(), "target": corpus.targets()}
    tokenizer = Tokenizer.train(
        [*texts["source"], *texts["target"]], "bpe", vocabulary=args.vocabulary, split_punctuation=False
    )
    arguments = []
    for side, lines in texts.items():
        path = folder / f"train.{side}"
        path.write_text("".join(" ".join(e.tokens) + "\n" for e in tokenizer.encode(lines)), encoding="utf-8")
        arguments += [f"--{side}", str(path)]
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text(
        "".join(f"{t}\n" for t in tokenizer.tokens[len(SPECIAL_TOKENS) :]), encoding="utf-8"
    )
    return [*arguments, "--vocab", str(vocabulary)]


def measured(command: list[str], threads: int) -> dict[str, Any]:
    """Run one side to its end and read the object that it prints last."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn, as often as asked for."""
    shared = ["--threads", str(args.threads), "--seconds", str(args.seconds), "--seed", str(args.seed)]
    shared += [
        "--width",
        str(args.width),
        "--batch-tokens",
        str(args.batch_tokens),
        "--dropout",
        str(args.dropout),
    ]
    shared += ["--label-smoothing", str(args.label_smoothing), "--warmup-steps", str(args.warmup_steps)]
    files = ["--source", str(args.source), "--target", str(args.target), "--vocabulary", str(args.vocabulary)]
    own = [sys.executable, str(Path(__file__).resolve()), "--own-side", *files, *shared]
    rounds: dict[str, list[dict[str, Any]]] = {"regard": [], "joeynmt": []}
    with tempfile.TemporaryDirectory() as name:
        peer = [
            str(args.peer),
            str(HERE / "peers" / "joeynmt_train.py"),
            *write_pieces(args, Path(name)),
            *shared,
        ]
        peer += ["--embedding", str(args.width), "--attention", "luong", "--tie-embeddings", "--tie-softmax"]
        for number in range(args.repeats):
            for system, command in (("regard", own), ("joeynmt", peer)):
                result = measured(command, args.threads)
                rounds[system].append(result)
                print(f"{number + 1}: {system} {result['tokens_per_second']:,.0f} tokens/s", file=sys.stderr)
    medians = {
        system: statistics.median(r["tokens_per_second"] for r in results)
        for system, results in rounds.items()
    }
    ratios = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(*rounds.values(), strict=True)]
    return {
        "benchmark": "train_speed",
        "claim": "target tokens a second of regard at least 3 times those of JoeyNMT 2.3.0, recurrent model",
        "median_tokens_per_second": medians,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "settings": {
            k: v.name if isinstance(v, Path) else v
            for k, v in vars(args).items()
            if k not in ("peer", "json")
        },
        "machine": machine(),
        "rounds": rounds,
    }


def main() -> None:
    """Compare, or run one side of the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--own-side", action="store_true", help="run regard's side alone and print what it measured"
    )
    parser.add_argument("--peer", type=Path, help="the Python of JoeyNMT's environment")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument(
        "--width", type=int, default=512, help="of embeddings, encoder output and decoder state"
    )
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warmup-steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    if args.own_side:
        print(json.dumps(own_side(args)))
        return
    if args.peer is None:
        parser.error(
            "--peer is needed: the Python of an environment with JoeyNMT, see peers/joeynmt_train.py"
        )
    result = compare(args)
    text = json.dumps(result, indent=1)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Training speed against JoeyNMT 2.3.0 and Eole 0.6.4: target tokens a second, and the most memory held.

    python benchmarks/train_speed.py --joeynmt JOEYNMT/bin/python --eole EOLE/bin/python \
        --source train.en --target train.de --json benchmarks/results/train_speed_transformer.json

All sides have the same sizes, dropout in the same places, data, batch tokens and threads. They train on the
same subwords, made once; they run in processes of their own, in turn, each repeat one after the other, and
count real target tokens (end tokens included, padding not) after some steps of warming up. The peers are
run as `peers/joeynmt_train.py` and `peers/eole_train.py` say, each in an environment of its own; regard is
run by `regard.fit`, as its users run it. Where a peer computes in bfloat16 on request, as Eole does, it is
measured with and without.

`--preload LIBRARY` has every side allocate its memory by one library, such as libtcmalloc_minimal.so.4 of
Debian's libtcmalloc-minimal4. The most memory is that of the training process alone: what Eole's loaders
hold is noted beside it and not counted.

The recurrent model is compared with JoeyNMT alone: `--architecture recurrent --vocabulary 8000 --width 512
--dropout 0.2` are the sizes of `results/train_speed.json`.
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
CLAIMS = {"recurrent": {"joeynmt": 3.0}, "transformer": {"joeynmt": 12.0, "eole": 5.0}}
"""How many times the tokens a second of a peer are to be reached."""


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


def own_model(args: argparse.Namespace) -> dict[str, Any]:
    """The model part of regard's recipe."""
    shared = {"architecture": args.architecture, "width": args.width, "tied": "all", "dropout": args.dropout}
    if args.architecture == "recurrent":
        return shared | {
            "embedding": args.width,
            "attention": "general",
            "embedding_dropout": args.dropout,
        }
    return shared | {
        "heads": args.heads,
        "feed_forward": args.feed_forward,
        "encoder_layers": args.layers,
        "decoder_layers": args.layers,
        "norm": "pre",
        "attention_dropout": args.dropout,
        "activation_dropout": args.dropout,
    }


def own_side(args: argparse.Namespace) -> dict[str, Any]:
    """Train with `regard.fit` until the clock stops it."""
    import torch

    import regard
    from regard.data.corpora import read_pairs
    from regard.models.architectures import make
    from regard.training.recipe import Recipe

    torch.set_num_threads(args.threads)
    watch = Stopwatch(args.warmup_steps, args.seconds)
    recipe = Recipe().changed(
        {
            "data": {"vocabulary": args.vocabulary, "split_punctuation": False, "longest": 10_000},
            "model": own_model(args),
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
    recipe = recipe.with_settings(args.set)
    corpus = read_pairs(args.source, args.target)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        with contextlib.suppress(Finished):
            regard.fit(corpus, valid=[("a", "b")], recipe=recipe, out=folder, reporter=watch)
        metrics = (folder / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in metrics.splitlines()]
        tokens = sum(line["tokens"] for line in lines if args.warmup_steps < line["step"] <= watch.last)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "system": "regard",
        "target_tokens": tokens,
        "seconds": watch.seconds,
        "steps": watch.last - args.warmup_steps,
        "tokens_per_second": tokens / watch.seconds,
        "parameters": sum(p.numel() for p in make(recipe.model, args.vocabulary).parameters()),
        "max_rss_mib": peak,
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


def measured(command: list[str], threads: int, preload: Path | None) -> dict[str, Any]:
    """Run one side to its end and read the object that it prints last."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if preload is not None:
        environment["LD_PRELOAD"] = str(preload)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def options(args: argparse.Namespace, *names: str) -> list[str]:
    """Some of the arguments as they were given, for another command."""
    return [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(args, name)))]


def sides(args: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """What is compared: a name and the command that measures it."""
    sizes = ["layers", "heads", "feed_forward"] if args.architecture == "transformer" else []
    shared = options(
        args, "width", *sizes, "dropout", "label_smoothing", "batch_tokens", "threads", "seconds", "seed"
    )
    shared += options(args, "warmup_steps")
    own = [sys.executable, str(Path(__file__).resolve()), "--own-side", *shared]
    own += options(args, "architecture", "source", "target", "vocabulary")
    commands = {"regard": [*own, *(part for setting in args.set for part in ("--set", setting))]}
    pieces = write_pieces(args, folder)
    if args.joeynmt:
        joeynmt = [str(args.joeynmt), str(HERE / "peers" / "joeynmt_train.py"), *pieces, *shared]
        joeynmt += [*options(args, "architecture"), "--tie-embeddings", "--tie-softmax"]
        commands["joeynmt"] = joeynmt
    if args.eole and args.architecture == "transformer":
        eole = [str(args.eole), str(HERE / "peers" / "eole_train.py"), *pieces, *shared]
        commands["eole"] = eole
        for precision in args.eole_precisions:
            commands[f"eole {precision}"] = [*eole, "--precision", precision]
    return commands


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All sides in turn, as often as asked for."""
    with tempfile.TemporaryDirectory() as name:
        commands = sides(args, Path(name))
        rounds: dict[str, list[dict[str, Any]]] = {system: [] for system in commands}
        for number in range(args.repeats):
            for system, command in commands.items():
                result = measured(command, args.threads, args.preload)
                rounds[system].append(result)
                print(
                    f"{number + 1}: {system} {result['tokens_per_second']:,.0f} tokens/s, "
                    f"{result['max_rss_mib']:,.0f} MiB",
                    file=sys.stderr,
                )
    own, claims = rounds["regard"], CLAIMS[args.architecture]
    against = {
        system: versus(own, results, claims.get(system))
        for system, results in rounds.items()
        if system != "regard"
    }
    return {
        "benchmark": "train_speed",
        "claim": "target tokens a second of regard against its peers', and memory at most theirs; "
        + ", ".join(f"{system}: at least {factor:g} times" for system, factor in claims.items()),
        "median_tokens_per_second": {
            system: statistics.median(r["tokens_per_second"] for r in results)
            for system, results in rounds.items()
        },
        "peak_mib": {system: max(r["max_rss_mib"] for r in results) for system, results in rounds.items()},
        "against": against,
        "settings": {
            k: v.name if isinstance(v, Path) else v
            for k, v in vars(args).items()
            if k not in ("joeynmt", "eole", "json", "own_side")
        },
        "machine": machine(),
        "rounds": rounds,
    }


def versus(own: list[dict[str, Any]], peer: list[dict[str, Any]], wanted: float | None) -> dict[str, Any]:
    """The ratio of each repeat, its median, and whether the claim is met."""
    ratios = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(own, peer, strict=True)]
    memory = [max(r["max_rss_mib"] for r in results) for results in (own, peer)]
    found = {"ratio": statistics.median(ratios), "ratios": ratios, "memory_ratio": memory[0] / memory[1]}
    if wanted is None:
        return found
    return found | {
        "wanted_ratio": wanted,
        "met": statistics.median(ratios) >= wanted,
        "memory_met": memory[0] <= memory[1],
    }


def main() -> None:
    """Compare, or run one side of the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--own-side", action="store_true", help="run regard's side alone and print what it measured")
    add("--joeynmt", type=Path, help="the Python of JoeyNMT's environment")
    add("--eole", type=Path, help="the Python of Eole's environment")
    add(
        "--eole-precisions",
        nargs="*",
        default=["bf16"],
        choices=("bf16", "bf16-pure"),
        help="measured beside its default, float32",
    )
    add("--architecture", choices=tuple(CLAIMS), default="transformer")
    add("--source", type=Path, required=True)
    add("--target", type=Path, required=True)
    add("--vocabulary", type=int, default=6000)
    add("--width", type=int, default=256, help="of embeddings, layers and states")
    add("--layers", type=int, default=3, help="of the encoder, and of the decoder; Transformer")
    add("--heads", type=int, default=4)
    add("--feed-forward", type=int, default=512)
    add("--dropout", type=float, default=0.3)
    add("--label-smoothing", type=float, default=0.1)
    add("--batch-tokens", type=int, default=4096)
    add("--threads", type=int, default=2)
    add("--seconds", type=float, default=60.0)
    add("--warmup-steps", type=int, default=40)
    add("--repeats", type=int, default=3)
    add("--seed", type=int, default=1)
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of regard's recipe")
    add("--preload", type=Path, help="an allocator for all sides: its shared library")
    add("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    if args.own_side:
        print(json.dumps(own_side(args)))
        return
    if args.joeynmt is None and args.eole is None:
        parser.error(
            "--joeynmt or --eole is needed: the Python of an environment as peers/*_train.py describe"
        )
    if args.preload is not None and not args.preload.is_file():
        parser.error(f"--preload {args.preload} is no file: the loader would leave it out")
    result = compare(args)
    text = json.dumps(result, indent=1)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

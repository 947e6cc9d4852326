"""Translating speed: regard's own engine against JoeyNMT 2.3.0 and transformers, and CTranslate2 in regard.

    python benchmarks/decode_speed.py RUN --joeynmt JOEYNMT/bin/python --source test.en --reference test.de \
        --json benchmarks/results/decode_speed.json

One model, trained by regard, is put into each engine: exported for transformers and CTranslate2, and
converted into JoeyNMT's Transformer as `peers/joeynmt_translate.py` says. All translate the same sentences
by beam search, in processes of their own, in turn, each repeat one after the other. What is timed are all
sentences from beginning to end, after some to warm up; opening the model is not. How each is run:

regard               Model.predict: from texts to texts, alignments to be had
joeynmt              predict as `joeynmt translate` calls it: from pieces to pieces, its default batches
transformers         generate on batches of sentences of like length, padded: from texts to texts
ctranslate2 …        translate_batch, from pieces to pieces, by default and in batches of several kinds
regard ctranslate2   predict --engine ctranslate2: from texts to texts, alignments to be had

Outputs are compared with regard's own. Length penalties are not all the same: JoeyNMT divides by
((5 + length) / 6)^α, the others by length^α; with --length-penalty 0 all look for the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measuring import machine, versions

HERE = Path(__file__).resolve().parent
CLAIMS = {"joeynmt": 5.0, "transformers": 3.0}
"""How many times as fast regard's own engine is to be."""
LOSS = 0.05
"""How much slower than CTranslate2 the engine made of it may be."""
Outputs = list[str]


def timed(
    translate: Callable[[list[Any]], list[Any]], inputs: list[Any], warmup: int
) -> tuple[list[Any], dict[str, float]]:
    """What comes back for all inputs, and the time that took, after some to warm up."""
    translate(inputs[:warmup])
    began, worked = time.perf_counter(), time.process_time()
    outputs = translate(inputs)
    taken = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    return outputs, taken


def own(args: argparse.Namespace, texts: list[str]) -> dict[str, Any]:
    """`regard.load` and `predict`."""
    import regard

    model = regard.load(args.run)
    predict = partial(model.predict, beam=args.beam, length_penalty=args.length_penalty)
    outputs, taken = timed(predict, texts, args.warmup)
    return {**taken, "outputs": [prediction.text for prediction in outputs]}


def engine(args: argparse.Namespace, texts: list[str]) -> dict[str, Any]:
    """The engine of `regard predict --engine ctranslate2`."""
    from regard.export.ctranslate2 import Engine

    model = Engine(args.folder / "ctranslate2", threads=args.threads)
    predict = partial(model.predict, beam=args.beam, length_penalty=args.length_penalty)
    outputs, taken = timed(predict, texts, args.warmup)
    return {**taken, "outputs": [prediction.text for prediction in outputs]}


def transformers(args: argparse.Namespace, texts: list[str]) -> dict[str, Any]:
    """`generate` on the exported model."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = args.folder / "huggingface"
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    options = {"num_beams": args.beam, "length_penalty": args.length_penalty, "do_sample": False}

    def translate(texts: list[str]) -> Outputs:
        outputs = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), args.transformers_batch):
            rows = order[start : start + args.transformers_batch]
            batch = tokenizer([texts[i] for i in rows], return_tensors="pt", padding=True)
            # an output may have as many pieces as regard allows
            longest = 2 * batch["input_ids"].shape[1] + 20
            with torch.inference_mode():
                found = model.generate(**batch, **options, max_length=longest)
            said = tokenizer.batch_decode(found, skip_special_tokens=True)
            for i, text in zip(rows, said, strict=True):
                outputs[i] = text
        return outputs

    outputs, taken = timed(translate, texts, args.warmup)
    return {**taken, "outputs": outputs}


def ctranslate2(args: argparse.Namespace, texts: list[str]) -> dict[str, Any]:
    """CTranslate2's own `translate_batch`, as one whole batch, which is its default, or in several."""
    from ctranslate2 import Translator

    from regard.data.tokenization import Tokenizer

    folder = args.folder / "ctranslate2"
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    kind, size, inter = args.batches
    translator = Translator(
        str(folder), device="cpu", inter_threads=inter, intra_threads=max(1, args.threads // inter)
    )
    options = {
        "beam_size": args.beam,
        "length_penalty": args.length_penalty,
        "batch_type": kind,
        "max_batch_size": size,
    }
    translate = partial(translator.translate_batch, **options)
    found, taken = timed(translate, [list(e.tokens) for e in tokenizer.encode(texts)], args.warmup)
    return {**taken, "outputs": [tokenizer.join(result.hypotheses[0]) for result in found]}


SIDES: dict[str, Callable[[argparse.Namespace, list[str]], dict[str, Any]]] = {
    "regard": own,
    "transformers": transformers,
    "ctranslate2": ctranslate2,
    "regard ctranslate2": engine,
}


def batches(text: str) -> tuple[str, int, int]:
    """ "tokens:2048:1": batches by the tokens, or by the examples, of so many, by so many threads at once."""
    kind, size, inter = text.split(":")
    return kind, int(size), int(inter)


def read_texts(path: Path, count: int) -> list[str]:
    """The first lines of a file."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")[:count]


def one_side(args: argparse.Namespace) -> dict[str, Any]:
    """Translate with one engine."""
    import torch

    torch.set_num_threads(args.threads)
    measured = SIDES[args.side](args, read_texts(args.source, args.sentences))
    measured["max_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return measured


def write_models(args: argparse.Namespace, folder: Path) -> None:
    """The model as each engine takes it, and the sentences in its pieces for JoeyNMT."""
    import numpy as np

    import regard
    from regard.data.tokenization import SPECIAL_TOKENS
    from regard.export import ctranslate2, huggingface

    model = regard.load(args.run)
    if "transformers" in args.engines:
        huggingface.write(model, folder / "huggingface")
    if {"ctranslate2", "regard ctranslate2"} & set(args.engines):
        ctranslate2.write(model, folder / "ctranslate2")
    if "joeynmt" in args.engines:
        import dataclasses

        joeynmt = folder / "joeynmt"
        joeynmt.mkdir()
        config = dataclasses.asdict(model.network.config)
        assert config["positions"] == "sinusoidal", "JoeyNMT knows no other positions"
        (joeynmt / "about.json").write_text(json.dumps(config), encoding="utf-8")
        weights = {name: tensor.float().numpy() for name, tensor in model.network.state_dict().items()}
        np.savez(joeynmt / "weights.npz", **weights)
        pieces = model.tokenizer.tokens[len(SPECIAL_TOKENS) :]
        (joeynmt / "pieces.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
        cut = model.tokenizer.encode(read_texts(args.source, args.sentences))
        (joeynmt / "source").write_text("".join(" ".join(e.tokens) + "\n" for e in cut), encoding="utf-8")


def commands(args: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """What is compared: a name and the command that measures it."""
    shared = ["--beam", str(args.beam), "--length-penalty", str(args.length_penalty)]
    shared += ["--threads", str(args.threads), "--warmup", str(args.warmup)]
    this = [sys.executable, str(Path(__file__).resolve()), str(args.run), *shared]
    this += ["--source", str(args.source), "--sentences", str(args.sentences), "--folder", str(folder)]
    this += ["--transformers-batch", str(args.transformers_batch)]
    made: dict[str, list[str]] = {}
    for name in args.engines:
        if name == "joeynmt":
            script, model = HERE / "peers" / "joeynmt_translate.py", folder / "joeynmt"
            made[name] = [str(args.joeynmt), str(script), "--model", str(model), *shared]
            made[name] += ["--pieces", str(model / "source"), *args.joeynmt_options]
        elif name == "ctranslate2":
            for kind in args.ctranslate2_batches:
                made[f"{name} {kind}"] = [*this, "--side", name, "--batches", kind]
        else:
            made[name] = [*this, "--side", name]
    return made


def measured(command: list[str], threads: int) -> dict[str, Any]:
    """Run one engine to its end and read the object that it prints last."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All engines in turn, as often as asked for."""
    import regard

    tokenizer = regard.load(args.run).tokenizer
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(args, folder)
        outputs: dict[str, Outputs] = {}
        rounds: dict[str, list[dict[str, Any]]] = {}
        for number in range(args.repeats):
            for system, command in commands(args, folder).items():
                result = measured(command, args.threads)
                said = result.pop("outputs")
                outputs[system] = [tokenizer.join(pieces) for pieces in said] if system == "joeynmt" else said
                rounds.setdefault(system, []).append(result)
                print(f"{number + 1}: {system} {result['seconds']:.2f} s", file=sys.stderr)
    seconds = {name: statistics.median(r["seconds"] for r in results) for name, results in rounds.items()}
    return {
        "benchmark": "decode_speed",
        "claim": "regard's own engine at least 5 times as fast as JoeyNMT and 3 times as transformers' "
        "generate; with CTranslate2 at most 5 % slower than CTranslate2 at its fastest",
        "median_seconds": seconds,
        "sentences_per_second": {name: args.sentences / value for name, value in seconds.items()},
        "claims": claims(rounds),
        "outputs": {name: about(args, said, outputs["regard"]) for name, said in outputs.items()},
        "settings": {
            k: v.name if isinstance(v, Path) else v
            for k, v in vars(args).items()
            if k not in ("joeynmt", "json", "side", "folder", "batches")
        },
        "machine": machine(),
        "versions": versions("regard", "torch", "transformers", "ctranslate2", "numpy"),
        "rounds": rounds,
    }


def claims(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How many times as fast, repeat by repeat, and whether that is what was claimed."""
    found = {}
    for name, factor in CLAIMS.items():
        if name in rounds:
            found[name] = times("regard", name, rounds) | {"wanted_ratio": factor}
    fastest = min(
        (name for name in rounds if name.startswith("ctranslate2")),
        key=lambda name: statistics.median(r["seconds"] for r in rounds[name]),
        default=None,
    )
    if fastest is not None and "regard ctranslate2" in rounds:
        found[fastest] = times("regard ctranslate2", fastest, rounds) | {"wanted_ratio": 1 - LOSS}
    return {name: claim | {"met": claim["ratio"] >= claim["wanted_ratio"]} for name, claim in found.items()}


def times(one: str, other: str, rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How many times as fast one is as the other."""
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(rounds[one], rounds[other], strict=True)]
    return {"of": one, "ratio": statistics.median(ratios), "ratios": ratios}


def about(args: argparse.Namespace, said: Outputs, own: Outputs) -> dict[str, Any]:
    """What an engine said, beside what regard's own did."""
    from regard.evaluation.text import bleu

    found: dict[str, Any] = {
        "as_regard": sum(a == b for a, b in zip(said, own, strict=True)) / len(said),
        "characters": sum(map(len, said)),
    }
    if args.reference:
        found["bleu"] = bleu(
            said, read_texts(args.reference, args.sentences), tokenize="none", confidence=False
        ).value
    return found


def main() -> None:
    """Compare, or run one side of the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    engines = ("regard", "joeynmt", "transformers", "ctranslate2", "regard ctranslate2")
    add("run", type=Path, help="the folder of a trained run: a Transformer with sinusoidal positions")
    add("--joeynmt", type=Path, help="the Python of JoeyNMT's environment")
    add("--engines", nargs="+", default=list(engines), choices=engines, help="without them: all")
    add("--source", type=Path, required=True)
    add("--reference", type=Path, help="for the BLEU of each")
    add("--sentences", type=int, default=1000)
    add("--beam", type=int, default=5)
    add("--length-penalty", type=float, default=1.0)
    add("--transformers-batch", type=int, default=64, help="sentences in a batch of transformers")
    add(
        "--ctranslate2-batches",
        nargs="+",
        default=["examples:0:1", "examples:32:1", "tokens:2048:1", "tokens:1024:2"],
        metavar="KIND:SIZE:WORKERS",
        help="batches of CTranslate2; the first is its default",
    )
    add("--joeynmt-options", nargs=argparse.REMAINDER, default=[], help="for its script; goes last")
    add("--threads", type=int, default=2)
    add("--warmup", type=int, default=64, help="sentences that are translated before the clock starts")
    add("--repeats", type=int, default=3)
    add("--json", type=Path, help="where to write the result")
    add("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    add("--batches", type=batches, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one_side(args)))
        return
    if "joeynmt" in args.engines and args.joeynmt is None:
        parser.error("--joeynmt is needed: the Python of an environment as peers/joeynmt_train.py describes")
    if "regard" not in args.engines:
        parser.error("--engines needs regard, which the others are compared with")
    result = compare(args)
    text = json.dumps(result, indent=1)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

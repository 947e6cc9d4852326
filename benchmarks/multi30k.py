"""Translation quality on Multi30k, English to German: `regard fit`, then `regard evaluate`, as a user does.

    python benchmarks/multi30k.py DATA --config configs/multi30k-transformer.toml --set training.minutes=15 \
        --runs runs/multi30k-15 --seeds 1 2 3 --json benchmarks/results/multi30k-transformer-15.json

DATA holds {train,val,test_2016_flickr}.lc.norm.tok.{en,de}: lower-cased, normalised and tokenised as
published scores use them. BLEU is computed on these tokens, without further tokenisation. The seeds are
trained one after the other; a run that has ended is only scored; one that was stopped is resumed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from measuring import machine

PUBLISHED = {
    "recurrent, LIUM-CVC, WMT 2017": 37.8,
    "Transformer, CUNI, WMT 2018": 38.3,
    "Transformer-Tiny, Wu et al. 2021": 41.02,
}


def regard(*arguments: str | Path) -> dict[str, Any]:
    """Run a verb with ``--json`` and read what it prints."""
    command = [sys.executable, "-m", "regard", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def files(data: Path, part: str, prefix: str = "--") -> list[str]:
    """The options that name a part's two files."""
    return [
        f"{prefix}source",
        str(data / f"{part}.lc.norm.tok.en"),
        f"{prefix}target",
        str(data / f"{part}.lc.norm.tok.de"),
    ]


def trained(data: Path, config: Path, run: Path, settings: list[str], *options: str | Path) -> None:
    """Bring the run to its end, from wherever it is."""
    pairs = () if "--source" in options else files(data, "train")
    if (run / "model.safetensors").exists():
        return
    if run.exists():
        regard("fit", "--resume", run)
        return
    extra = [part for setting in settings for part in ("--set", setting)]
    regard(
        "fit",
        *pairs,
        *files(data, "val", "--valid-"),
        "--config",
        config,
        "--out",
        run,
        *options,
        *extra,
    )


def read_both_ways(data: Path, config: Path, run: Path, settings: list[str]) -> None:
    """Bring a run to its end that reads each pair in both directions."""
    sides = [data / f"train.lc.norm.tok.{language}" for language in ("en", "de")]
    texts = [side.read_text(encoding="utf-8") for side in sides]
    run.parent.mkdir(parents=True, exist_ok=True)
    both = [run.parent / f"both.{name}" for name in ("source", "target")]
    for path, parts in zip(both, (texts, reversed(texts)), strict=True):
        if not path.exists():  # a run is resumed with the files it was started with
            path.write_text("".join(parts), encoding="utf-8")
    trained(data, config, run, settings, "--source", both[0], "--target", both[1])


def scored(data: Path, run: Path) -> dict[str, Any]:
    """What came of a run that has ended."""
    about = tomllib.loads((run / "regard.toml").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = {
        f"beam {beam}": regard("evaluate", run, *files(data, "test_2016_flickr"), "--beam", str(beam))
        for beam in (5, 1)
    }
    for score in scores.values():
        score["run"], score["test"] = run.name, Path(score["test"].split(" + ")[0]).name
    return {
        "seed": about["recipe"]["training"]["seed"],
        **training_of(run),
        "test_2016_flickr": scores,
        "validation": {
            str(line["step"]): round(line["validation_bleu"], 2)
            for line in lines
            if "validation_bleu" in line
        },
        "recipe": about["recipe"],
        "versions": about["versions"],
    }


def training_of(run: Path) -> dict[str, Any]:
    """How long a run was trained."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "minutes": round(max(line.get("seconds", 0.0) for line in lines) / 60, 2),
        "steps": max(line["step"] for line in lines),
        "target_tokens": sum(line.get("tokens", 0) for line in lines),
    }


def main() -> None:
    """Train, score, and write down what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/multi30k-transformer.toml"))
    parser.add_argument("--runs", type=Path, required=True, help="the folder of the runs, one a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--both-ways",
        nargs="+",
        metavar="KEY=VALUE",
        help="first read the pairs in both directions, with these settings; what follows begins with that",
    )
    parser.add_argument("--claim", default="", help="what the figures are to show")
    parser.add_argument("--note", default="", help="what a reader of the figures should know")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    results = []
    for seed in args.seeds:
        run = args.runs / f"seed-{seed}"
        of_seed, options = f"training.seed={seed}", []
        if args.both_ways:
            first = args.runs / f"both-{seed}"
            read_both_ways(args.data, args.config, first, [*args.both_ways, of_seed])
            options = ["--from", first]
        trained(args.data, args.config, run, [*args.set, of_seed], *options)
        results.append(scored(args.data, run))
        if args.both_ways:
            results[-1]["both ways first"] = training_of(first)
        print(f"seed {seed}: {bleu(results[-1]):.2f} BLEU", file=sys.stderr)
    result = {
        "benchmark": "multi30k",
        "claim": args.claim,
        "published": PUBLISHED,
        "test_2016_flickr": {
            "mean BLEU, beam 5": round(statistics.mean(map(bleu, results)), 2),
            "BLEU, beam 5": {f"seed {each['seed']}": round(bleu(each), 2) for each in results},
        },
        "note": args.note,
        "machine": machine(),
        "runs": results,
    }
    text = json.dumps(result, indent=1)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def bleu(result: dict[str, Any]) -> float:
    """BLEU of a run on the test file with beam search."""
    return result["test_2016_flickr"]["beam 5"]["bleu"]["value"]


if __name__ == "__main__":
    main()

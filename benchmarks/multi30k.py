"""Translation quality on Multi30k, English to German: `regard fit`, then `regard evaluate`, as a user does.

    python benchmarks/multi30k.py DATA --config configs/multi30k-gru.toml --run runs/multi30k-gru \
        --json benchmarks/results/multi30k-gru.json

DATA holds {train,val,test_2016_flickr}.lc.norm.tok.{en,de}: lower-cased, normalised and tokenised as
published scores use them. BLEU is computed on these tokens, without further tokenisation. A run that has
ended is only scored; one that was stopped is resumed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from measuring import machine

PUBLISHED = {"recurrent, LIUM-CVC, WMT 2017": 37.8, "Transformer, CUNI, WMT 2018": 38.3}


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


def trained(data: Path, config: Path, run: Path, settings: list[str]) -> None:
    """Bring the run to its end, from wherever it is."""
    if (run / "model.safetensors").exists():
        return
    if run.exists():
        regard("fit", "--resume", run)
        return
    extra = [part for setting in settings for part in ("--set", setting)]
    regard(
        "fit",
        *files(data, "train"),
        *files(data, "val", "--valid-"),
        "--config",
        config,
        "--out",
        run,
        *extra,
    )


def main() -> None:
    """Train, score, and write down what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/multi30k-gru.toml"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--note", default="", help="what a reader of the figures should know")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    trained(args.data, args.config, args.run, args.set)
    about = tomllib.loads((args.run / "regard.toml").read_text(encoding="utf-8"))
    lines = [
        json.loads(line) for line in (args.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    result = {
        "benchmark": "multi30k",
        "claim": "at least 35 BLEU on test_2016_flickr after at most 45 minutes of training",
        "published": PUBLISHED,
        "minutes": round(max(line.get("seconds", 0.0) for line in lines) / 60, 2),
        "steps": max(line["step"] for line in lines),
        "target_tokens": sum(line.get("tokens", 0) for line in lines),
        "test_2016_flickr": {
            f"beam {beam}": regard(
                "evaluate", args.run, *files(args.data, "test_2016_flickr"), "--beam", str(beam)
            )
            for beam in (5, 1)
        },
        "validation": {
            str(line["step"]): round(line["validation_bleu"], 2)
            for line in lines
            if "validation_bleu" in line
        },
        "note": args.note,
        "seed": about["recipe"]["training"]["seed"],
        "recipe": about["recipe"],
        "versions": about["versions"],
        "machine": machine(),
    }
    for scores in result["test_2016_flickr"].values():
        scores["run"], scores["test"] = args.run.name, Path(scores["test"].split(" + ")[0]).name
    text = json.dumps(result, indent=1)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""Summaries of package descriptions: what copying and coverage are worth, each against the model without.

    python benchmarks/summaries.py DATA --config configs/debian-summaries.toml --runs runs/summaries \
        --json benchmarks/results/summaries.json

DATA holds {train,valid,test}.tsv: ``description<TAB>synopsis``. Each of the variants below is trained with
each seed, one run after the other, `regard fit` and `regard evaluate` as a user calls them. A run that has
ended is only scored, one that was stopped is resumed, and the result is written anew after each, so that this
script may be stopped and started again at any time.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from measuring import machine
from multi30k import regard as verb

import regard
from regard.data.corpora import read_pairs
from regard.evaluation.text import ROUGE_KINDS, rouge

VARIANTS: dict[str, dict[str, list[str]]] = {
    "transformer": {
        "neither": ["model.copy=false", "model.coverage_loss=0.0"],
        "copying": ["model.copy=true", "model.coverage_loss=0.0"],
        "copying and coverage": ["model.copy=true", "model.coverage_loss=1.0"],
    },
    "recurrent": {
        "neither": ["model.copy=false", "model.coverage_loss=0.0", "model.attention=additive"],
        "copying": ["model.copy=true", "model.coverage_loss=0.0", "model.attention=additive"],
        "copying and coverage": ["model.copy=true", "model.coverage_loss=1.0", "model.attention=coverage"],
    },
}
FIRST_WORDS = 7


def trained(data: Path, config: Path, run: Path, settings: Sequence[str]) -> None:
    """Bring the run to its end, from wherever it is."""
    if (run / "model.safetensors").exists():
        return
    if run.exists():
        verb("fit", "--resume", run)
        return
    extra = [part for setting in settings for part in ("--set", setting)]
    parts = (data / "train.tsv", "--valid", data / "valid.tsv")
    verb("fit", *parts, "--config", config, "--out", run, *extra)


def scored(data: Path, run: Path) -> dict[str, Any]:
    """A run's scores, kept beside it once they are counted."""
    kept = run / "summaries.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    model, test = regard.load(run), read_pairs(data / "test.tsv")
    blocked, free = (model.predict(test.sources(), block_ngrams=n) for n in (3, 0))
    words = [(p, i) for p in blocked for i in range(len(p.alignment.query_tokens))]
    seconds = [
        json.loads(line).get("seconds", 0.0)
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    result = {
        "minutes": round(max(seconds) / 60, 2),
        "test": {
            part: score
            for part, score in verb("evaluate", run, data / "test.tsv", "--rouge").items()
            if part in ROUGE_KINDS
        },
        "repeat a trigram": sum(repeats(p.text) for p in blocked),
        "repeat a trigram where none is blocked": sum(repeats(p.text) for p in free),
        "rouge1 where none is blocked": round(
            rouge([p.text for p in free], test.targets(), confidence=False).value, 3
        ),
        "share of words copied": round(mean(i in p.alignment.copied for p, i in words), 4),
        "words": round(mean(len(p.text.split()) for p in blocked), 3),
    }
    kept.write_text(json.dumps(result), encoding="utf-8")
    return result


def repeats(text: str, n: int = 3) -> bool:
    """Whether a text says n words, as they stand between spaces, twice in the same order."""
    words = text.lower().split()
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return len(set(grams)) < len(grams)


def baseline(data: Path) -> dict[str, float]:
    """What repeating the first words of each description scores on the test part."""
    test = read_pairs(data / "test.tsv")
    first = [" ".join(source.split()[:FIRST_WORDS]) for source in test.sources()]
    return {
        kind: round(rouge(first, test.targets(), kind, confidence=False).value, 2) for kind in ROUGE_KINDS
    }


def summary(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The mean over the seeds of each variant, and how far they lie apart."""
    found: dict[str, Any] = {}
    for variant, seeds in runs.items():
        found[variant] = {"seeds": len(seeds)}
        for kind in ROUGE_KINDS:
            values = [each["test"][kind]["value"] for each in seeds.values()]
            spread = stdev(values) if len(values) > 1 else None
            found[variant][kind] = {
                "mean": round(mean(values), 2),
                "standard deviation": None if spread is None else round(spread, 2),
            }
        for name in ("repeat a trigram", "repeat a trigram where none is blocked"):
            found[variant][name] = sum(each[name] for each in seeds.values())
    return found


def main() -> None:
    """Train and score each variant with each seed, writing down what there is after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/debian-summaries.toml"))
    parser.add_argument("--runs", type=Path, required=True, help="where the runs' folders are")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", metavar="VARIANT", help="leave the other variants out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--note", default="", help="what a reader of the figures should know")
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    recipe = tomllib.loads(args.config.read_text(encoding="utf-8"))
    variants = VARIANTS[recipe["model"].get("architecture", "transformer")]
    runs: dict[str, dict[str, Any]] = {}
    for seed in range(1, args.seeds + 1):
        for variant, settings in variants.items():
            if args.only and variant not in args.only:
                continue
            run = args.runs / f"{variant.replace(' ', '-')}-{seed}"
            trained(args.data, args.config, run, [*settings, f"training.seed={seed}", *args.set])
            runs.setdefault(variant, {})[str(seed)] = scored(args.data, run)
            about = tomllib.loads((run / "regard.toml").read_text(encoding="utf-8"))
            result = {
                "benchmark": "summaries",
                "claim": "ROUGE-1 F of at least 40 on the test part; no summary repeats a trigram",
                f"first {FIRST_WORDS} words": baseline(args.data),
                "variants": summary(runs),
                "runs": runs,
                "settings": variants,
                "note": args.note,
                "recipe": about["recipe"],
                "versions": about["versions"],
                "machine": machine(),
            }
            text = json.dumps(result, indent=1)
            if args.json:
                args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

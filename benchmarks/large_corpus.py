"""Memory of training on a corpus larger than memory, against the same training on a small one.

    python benchmarks/large_corpus.py DATA --pairs 5000000 --json benchmarks/results/large_corpus.json

DATA holds train.lc.norm.tok.{en,de}. Its pairs are repeated, each with its number before it, so that no two
are the same. The same model is trained for some steps on that corpus and on a small part of it, a process
each, and the largest resident memory of both is noted: in all, and without mapped files, whose pages the
system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count, islice
from pathlib import Path
from typing import Any

from measuring import machine, versions


def numbered(data: Path, folder: Path, pairs: int) -> list[str]:
    """Two files of so many pairs."""
    texts = [
        (data / f"train.lc.norm.tok.{side}").read_text(encoding="utf-8").split("\n")[:-1]
        for side in ("en", "de")
    ]
    names = [folder / f"{pairs}.{side}" for side in ("en", "de")]
    for name, lines in zip(names, texts, strict=True):
        with name.open("w", encoding="utf-8") as file:
            for number in islice(count(), pairs):
                file.write(f"{number} {lines[number % len(lines)]}\n")
    return [str(name) for name in names]


def memory() -> dict[str, int]:
    """Resident memory now, in MB: in all, and without mapped files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return {"resident": int(values["VmRSS"]) // 1024, "anonymous": int(values["RssAnon"]) // 1024}


def trained(source: str, target: str, out: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train here, and say how much memory it took."""
    import regard
    from regard.training.display import Silent
    from regard.training.recipe import Recipe

    largest = {"resident": 0, "anonymous": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            for name, value in memory().items():
                largest[name] = max(largest[name], value)

    class Noting(Silent):
        def __init__(self) -> None:
            self.steps: list[float] = []

        def note(self, text: str) -> None:
            print(f"{time.monotonic() - begun:8.1f} s  {memory()['resident']:6} MB  {text}", file=sys.stderr)

        def step(self, *_: Any) -> None:
            self.steps.append(time.monotonic())

    begun, noting = time.monotonic(), Noting()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    regard.fit((source, target), recipe=Recipe().changed(settings), out=out, reporter=noting)
    ended.set()
    watcher.join()
    return {
        "largest_megabytes": largest,
        "seconds_before_the_first_step": round(noting.steps[0] - begun, 1),
        "seconds_of_the_steps": round(noting.steps[-1] - noting.steps[0], 1),
        "steps": len(noting.steps),
    }


def measured(files: list[str], out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([*files, str(out), settings])]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--pairs", type=int, default=5_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(trained(*json.loads(options.child))))
        return
    settings = {
        "data": {"vocabulary": 6000, "split_punctuation": False, "bpe_dropout": 0.1},
        "model": {
            "width": 256,
            "feed_forward": 512,
            "encoder_layers": 3,
            "decoder_layers": 3,
        },
        "training": {"steps": options.steps, "batch_tokens": 4096, "validate_every": options.steps},
        "evaluation": {"bleu_tokenizer": "none"},
    }
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for pairs in (options.small, options.pairs):
            files = numbered(options.data, folder, pairs)
            results[f"{pairs} pairs"] = measured(files, folder / f"run-{pairs}", settings)
            print(f"{pairs:,} pairs: {json.dumps(results[f'{pairs} pairs'])}")
    small, large = (each["largest_megabytes"] for each in results.values())
    report = {
        "machine": machine(),
        "versions": versions("regard", "torch", "numpy", "tokenizers", "pyarrow"),
        "settings": settings,
        "results": results,
        "megabytes_above_the_small_corpus": {kind: large[kind] - small[kind] for kind in small},
    }
    print(json.dumps(report["megabytes_above_the_small_corpus"]))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

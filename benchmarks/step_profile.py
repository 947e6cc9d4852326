"""Where a training step of the Transformer goes, part by part, and what the limit is.

    python benchmarks/step_profile.py --source train.en --target train.de \
        --config configs/multi30k-transformer.toml --json benchmarks/results/step_profile.json

Trains by `regard.fit`, as its users do. After some steps of warming up, as many are timed by the clock alone,
and as many again are followed by PyTorch's profiler, which tells what each operation takes and on whose
behalf. The limit is what the step's matrix products would take if nothing else had to be done, at the rate
that large products in the same dtype reach on this machine, measured in the same process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measuring import machine, versions
from torch.profiler import ProfilerActivity, profile, record_function

import regard
from regard.data.corpora import read_pairs
from regard.nn import dropout, short
from regard.training import loop
from regard.training.devices import chosen_precision
from regard.training.master import MasterWeights
from regard.training.recipe import Recipe

ON_BEHALF = (  # the first that an operation, or one that it is part of, begins with
    ("part: drawing", "drawing dropout"),
    ("part: optimiser", "optimiser, clipping, master weights"),
    ("Optimizer", "optimiser, clipping, master weights"),
    ("_Attend", "attention core"),
    ("_BlockedCrossEntropy", "vocabulary loss"),
    ("_ConsistentCrossEntropy", "vocabulary loss"),
    ("_BlockedPointer", "vocabulary loss"),
    ("_AddDropped", "applying dropout, with the residual"),
    ("_Dropout", "applying dropout, with the residual"),
    ("aten::native_layer_norm", "layer norm"),
    ("aten::embedding", "embedding"),
    ("EmbeddingBackward", "embedding"),
)
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
INSIDE = {  # what the parts consist of
    "aten::_softmax": "softmax",
    "aten::_softmax_backward_data": "softmax",
    "aten::copy_": "copies",
    "aten::clone": "copies",
}


class Finished(Exception):
    """As many steps as were asked for."""


class Watch:
    """A reporter that takes the time of some steps, then hands as many to the profiler, and ends training."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps = warmup, steps
        self.began, self.seconds = 0.0, 0.0
        self.profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True)

    def note(self, text: str) -> None:
        """Pass a sentence on to stderr."""
        print(text, file=sys.stderr)

    def step(self, step: int, total: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        """Look at the clock, and start and stop the profiler."""
        now = time.perf_counter()
        if step == self.warmup:
            self.began = now
        elif step == self.warmup + self.steps:
            self.seconds = now - self.began
            self.profiler.start()
        elif step == self.warmup + 2 * self.steps:
            self.profiler.stop()
            raise Finished

    def validation(self, step: int, metric: str, score: float, best: float) -> None:
        """There is none."""

    def close(self) -> None:
        """Nothing to put away."""


@contextlib.contextmanager
def named_parts() -> Iterator[None]:
    """Let the profiler know of what is no operation of PyTorch, or of many."""

    def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with record_function(f"part: {name}"):
                return function(*args, **kwargs)

        return wrapped

    places = [
        (dropout, "multiplier", "drawing"),
        (short, "multiplier", "drawing"),
        (MasterWeights, "gather", "optimiser"),
        (MasterWeights, "publish", "optimiser"),
        (loop.nn.utils, "clip_grad_norm_", "optimiser"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for owner, name, part in places:
        setattr(owner, name, named(part, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def part_of(event: Any) -> str:
    """On whose behalf an operation runs."""
    chain = [event]
    while chain[-1].cpu_parent is not None:
        chain.append(chain[-1].cpu_parent)
    names = [one.name.removeprefix("autograd::engine::evaluate_function: ") for one in chain]
    for start, part in ON_BEHALF:
        if any(name.startswith(start) for name in names):
            return part
    if event.name in PRODUCTS:
        if not any("Backward" in name for name in names):
            return "projections, forward"
        rows, inner = event.input_shapes[-2] if event.name != "aten::addmm" else event.input_shapes[1]
        return "projections, gradient of weights" if inner > rows else "projections, gradient of inputs"
    if event.name == "aten::sum" and any("AddmmBackward" in name for name in names):
        return "projections, gradient of biases"
    if any("AccumulateGrad" in name or name == "aten::add" for name in names):
        return "sums of gradients"
    if event.name in INSIDE or any(
        name in ("aten::cat", "aten::clone", "aten::contiguous") for name in names
    ):
        return "copies and joined projections"
    return "activations and the rest of PyTorch"


def flops(event: Any) -> float:
    """How many operations a product has, two for each number that is multiplied and added."""
    if event.name not in PRODUCTS:
        return 0.0
    first, second = (
        event.input_shapes[1:3] if event.name in ("aten::addmm", "aten::baddbmm") else event.input_shapes[:2]
    )
    count = 2.0 * second[-1]
    for size in first:
        count *= size
    return count


def best_rate(dtype: torch.dtype, seconds: float = 2.0) -> float:
    """The operations a second that the best of several large products reaches."""
    best, until = 0.0, time.perf_counter() + seconds
    sizes = ((2048, 256, 2048), (4096, 1024, 1024), (1024, 1024, 1024))
    pairs = [(torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)) for m, k, n in sizes]
    while time.perf_counter() < until:
        for a, b in pairs:
            began = time.perf_counter()
            torch.mm(a, b)
            took = time.perf_counter() - began
            best = max(best, 2 * a.shape[0] * a.shape[1] * b.shape[1] / took)
    return best


def tables(events: list[Any], steps: int) -> tuple[dict[str, float], dict[str, dict[str, float]], float]:
    """Milliseconds a step of each part, what they consist of, and the products' operations a step."""
    parts: dict[str, float] = defaultdict(float)
    inside: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    total = 0.0
    for event in events:
        if event.device_type != torch.autograd.DeviceType.CPU or event.name.startswith("ProfilerStep"):
            continue
        took = event.self_cpu_time_total / 1e3 / steps
        part = part_of(event)
        parts[part] += took
        kind = "products" if event.name in PRODUCTS else INSIDE.get(event.name, event.name)
        inside[part][kind] += took
        total += flops(event) / steps
    return dict(parts), inside, total


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """One profile."""
    recipe = Recipe.load(args.config) if args.config else Recipe()
    recipe = recipe.changed(
        {
            "training": {
                "steps": 1_000_000,
                "minutes": 0.0,
                "validate_every": 1_000_000,
                "checkpoint_minutes": 1000.0,
            }
        }
    ).with_settings(args.set)
    torch.set_num_threads(args.threads)
    watch = Watch(args.warmup_steps, args.steps)
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(Finished), named_parts():
        folder = Path(name) / "run"
        corpus = read_pairs(args.source, args.target)
        try:
            regard.fit(corpus, valid=[("a", "b")], recipe=recipe, out=folder, reporter=watch)
        finally:
            lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    tokens = sum(
        line["tokens"] for line in lines if args.warmup_steps < line["step"] <= args.warmup_steps + args.steps
    )
    step = 1e3 * watch.seconds / args.steps
    parts, inside, operations = tables(list(watch.profiler.events()), args.steps)
    dtype = chosen_precision(recipe.training.precision)
    rate = best_rate(dtype)
    limit = 1e3 * operations / rate
    parts["Python, data and what is between operations"] = max(step - sum(parts.values()), 0.0)
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return {
        "step_ms": step,
        "target_tokens_per_second": tokens / watch.seconds,
        "parts": {
            part: {
                "ms": took,
                "share": took / step,
                "of_which_ms": dict(sorted(inside[part].items(), key=lambda item: -item[1])[:5])
                if part in inside
                else {},
            }
            for part, took in ordered
        },
        "profiled_ms": sum(took for part, took in parts.items() if part in inside),
        "products_gflop": operations / 1e9,
        "best_tflops": rate / 1e12,
        "limit_ms": limit,
        "share_of_limit": limit / step,
        "threads": args.threads,
        "dtype": str(dtype).removeprefix("torch."),
        "model": {
            name: getattr(recipe.model, name)
            for name in ("width", "heads", "feed_forward", "encoder_layers", "decoder_layers", "dropout")
        },
        "batch_tokens": recipe.training.batch_tokens,
        "vocabulary": recipe.data.vocabulary,
        "settings": args.set,
    }


def show(found: dict[str, Any]) -> None:
    """The profile as a table."""
    print(f"step {found['step_ms']:.1f} ms, {found['target_tokens_per_second']:,.0f} target tokens a second")
    for part, figures in found["parts"].items():
        first = ", ".join(f"{name} {took:.1f}" for name, took in figures["of_which_ms"].items())
        print(f"{figures['ms']:8.1f} ms {100 * figures['share']:5.1f} %  {part}   [{first}]")
    print(
        f"products: {found['products_gflop']:.1f} GFLOP a step; at {found['best_tflops']:.2f} TFLOP/s "
        f"that is {found['limit_ms']:.1f} ms, {100 * found['share_of_limit']:.0f} % of the step"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--config", type=Path, help="a recipe; without it the defaults")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.NAME=VALUE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20, help="how many are timed, and as many profiled")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args()
    found = measured(args)
    show(found)
    if args.json:
        found = {
            "benchmark": "step_profile",
            **found,
            "machine": machine(),
            "versions": versions("torch", "numpy"),
        }
        args.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Speed and memory of attention: NumPy and PyTorch against PyTorch's own kernel and its MultiheadAttention.

    python benchmarks/attend.py --json benchmarks/results/attend.json

Each claim names what it promises and gives both sides, timed in turn in one process that does nothing else;
the ratio is the median of the ratios of neighbours. Each claim runs in a process of its own, since threads of
NumPy and of PyTorch that wait for work slow each other down; that is why a rest precedes each timed side.
Memory is how far a process's resident memory grows above what it was with its inputs made.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import machine, versions

Call = Callable[[], Any]
WIDTH = 64


def in_turn(ours: Call, theirs: Call, repeats: int, calls: int, rest: float) -> dict[str, Any]:
    """Both sides by turns: medians in milliseconds, the median of the ratios, and what a call costs more."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(-1, repeats):
        sides = (("ours", ours), ("theirs", theirs))
        for name, call in sides if number % 2 else reversed(sides):
            time.sleep(rest)
            call()
            began = time.perf_counter()
            for _ in range(calls):
                call()
            if number >= 0:
                times[name].append((time.perf_counter() - began) / calls * 1000)
    ratios = [one / other for one, other in zip(times["ours"], times["theirs"], strict=True)]
    more = [one - other for one, other in zip(times["ours"], times["theirs"], strict=True)]
    return {
        "ours_ms": statistics.median(times["ours"]),
        "theirs_ms": statistics.median(times["theirs"]),
        "ratio": statistics.median(ratios),
        "more_us": statistics.median(more) * 1000,
        "ratios": ratios,
    }


def numpy_inputs(size: int) -> list[Any]:
    import numpy as np

    random = np.random.default_rng(0)
    return [random.standard_normal((size, WIDTH), dtype=np.float32) for _ in range(3)]


def tensors(*shape: int) -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for _ in range(3)]


def statistics_asked(size: int) -> list[Any]:
    """Every statistic that there is."""
    import numpy as np

    from regard.core import statistics as ours

    every_tenth = np.arange(size) % 10 == 0
    made = [ours.top_k(5), ours.mass(every_tenth), ours.window_mass(64), ours.pooled(size // 64, size // 64)]
    return [*ours.STATISTICS, *made]


def numpy_context(args: argparse.Namespace, size: int, causal: bool) -> dict[str, Any]:
    """The context from NumPy's arrays, against PyTorch's kernel."""
    import torch

    from regard import attend

    torch.set_num_threads(args.threads)
    arrays = numpy_inputs(size)
    handed = [torch.from_numpy(array)[None, None] for array in arrays]
    kernel = torch.nn.functional.scaled_dot_product_attention
    return in_turn(
        lambda: attend(arrays[0], arrays[1], arrays[2], causal=causal),
        lambda: kernel(handed[0], handed[1], handed[2], is_causal=causal),
        args.repeats,
        max(1, int(4096**2 / size**2)),
        args.rest,
    )


def numpy_textbook(args: argparse.Namespace, size: int) -> dict[str, Any]:
    """The context from NumPy's arrays, against the lines of the textbook."""
    import numpy as np

    from regard import attend

    query, keys, values = numpy_inputs(size)

    def textbook() -> Any:
        found = query @ keys.T / np.sqrt(np.float32(WIDTH))
        shares = np.exp(found - found.max(-1, keepdims=True))
        return shares / shares.sum(-1, keepdims=True) @ values

    return in_turn(lambda: attend(query, keys, values), textbook, args.repeats, 1, args.rest)


def numpy_statistics(args: argparse.Namespace, size: int) -> dict[str, Any]:
    """All statistics and the context, against the context alone."""
    from regard import attend, attention

    arrays, asked = numpy_inputs(size), statistics_asked(size)
    return in_turn(
        lambda: attention(arrays[0], arrays[1], arrays[2], weights=False, statistics=asked),
        lambda: attend(*arrays),
        args.repeats,
        1,
        args.rest,
    )


def memory(args: argparse.Namespace, size: int, what: str) -> dict[str, Any]:
    """How many MiB a call needs at most beside its inputs, its result included."""
    from regard import attend, attention

    arrays, asked = numpy_inputs(size), statistics_asked(size)
    small = [array[:256] for array in arrays]
    attention(*small, weights=False, statistics=statistics_asked(256))
    before = resident("VmRSS")
    # Linux keeps the most that a process ever had; 5 sets it to what it has now.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if what == "context":
        attend(*arrays)
    else:
        attention(arrays[0], arrays[1], arrays[2], weights=False, statistics=asked)
    return {"extra_mib": resident("VmHWM") - before, "map_mib": size * size * 4 / 2**20}


def resident(field: str) -> float:
    """Resident memory in MiB: VmRSS what it is, VmHWM the most that it was."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def torch_context(args: argparse.Namespace, shape: list[int], way: str) -> dict[str, Any]:
    """The context from tensors, against calling PyTorch's kernel."""
    import torch

    from regard import attend

    torch.set_num_threads(args.threads)
    query, keys, values = tensors(*shape, WIDTH)
    batch, _, size = shape
    mask = torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(1)) < 0.8
    mask[..., 0] = True
    ours, theirs = {
        "plain": ({}, {}),
        "causal": ({"causal": True}, {"is_causal": True}),
        "mask": ({"mask": mask}, {"attn_mask": mask}),
        "key_mask": ({"key_mask": mask[:, 0, 0]}, {"attn_mask": mask[:, 0, 0][:, None, None, :]}),
    }[way]
    kernel = torch.nn.functional.scaled_dot_product_attention
    calls = max(1, min(400, int(1e9 / (batch * shape[1] * size * size * WIDTH))))
    return in_turn(
        lambda: attend(query, keys, values, **ours),
        lambda: kernel(query, keys, values, **theirs),
        args.repeats * 3,
        calls,
        0.0,
    )


def torch_training(args: argparse.Namespace, shape: list[int]) -> dict[str, Any]:
    """The context and its gradients from tensors, against those of PyTorch's kernel."""
    import torch

    from regard import attend

    torch.set_num_threads(args.threads)
    arrays = [array.requires_grad_() for array in tensors(*shape, WIDTH)]

    def step(function: Callable[..., Any]) -> Call:
        def both_ways() -> Any:
            context = function(*arrays)
            return torch.autograd.grad(context, arrays, context.detach())

        return both_ways

    calls = max(1, min(100, int(2e8 / (shape[0] * shape[1] * shape[2] ** 2 * WIDTH))))
    kernel = torch.nn.functional.scaled_dot_product_attention
    return in_turn(step(attend), step(kernel), args.repeats * 3, calls, 0.0)


def torch_weights(args: argparse.Namespace, shape: list[int]) -> dict[str, Any]:
    """A layer that gives weights, against `MultiheadAttention` with need_weights=True.

    Ours has the same projections, done by the same matrix products, around `regard.attention`. It gives every
    head's weights; theirs the average of the heads, which is what they give unless told otherwise.
    """
    import torch

    from regard import attention

    torch.set_num_threads(args.threads)
    batch, heads, size = shape
    layer = torch.nn.MultiheadAttention(heads * WIDTH, heads, batch_first=True).eval()
    inputs = torch.randn(batch, size, heads * WIDTH, generator=torch.Generator().manual_seed(0))

    def ours() -> Any:
        projected = torch.nn.functional.linear(inputs, layer.in_proj_weight, layer.in_proj_bias)
        split = projected.view(batch, size, 3, heads, WIDTH).permute(2, 0, 3, 1, 4)
        looked = attention(*split)
        return layer.out_proj(looked.context.transpose(1, 2).flatten(2)), looked.weights

    def theirs() -> Any:
        return layer(inputs, inputs, inputs, need_weights=True)

    with torch.inference_mode():
        calls = max(1, min(100, int(2e8 / (batch * heads * size**2 * WIDTH))))
        return in_turn(ours, theirs, args.repeats * 3, calls, 0.0)


def claims() -> list[dict[str, Any]]:
    """What is promised: a measurement, its arguments, which figure, and the most that it may be."""
    found: list[dict[str, Any]] = []

    def claim(measure: Callable[..., Any], figure: str, most: float | None, **arguments: Any) -> None:
        found.append({"measure": measure.__name__, "arguments": arguments, "figure": figure, "at_most": most})

    for size in (4096, 16384):
        claim(numpy_context, "ratio", 1.5, size=size, causal=False)
        claim(numpy_context, "ratio", 1.5, size=size, causal=True)
    claim(numpy_textbook, "ratio", None, size=4096)
    claim(numpy_statistics, "ratio", 3.0, size=16384)
    for what in ("context", "statistics"):
        claim(memory, "extra_mib", 64.0, size=16384, what=what)
    for way in ("plain", "causal", "mask", "key_mask"):
        for shape in ([1, 1, 16], [8, 8, 32], [1, 1, 128]):
            claim(torch_context, "more_us", 30.0, shape=shape, way=way)
        for shape in ([1, 1, 256], [1, 8, 256], [8, 8, 256], [1, 8, 1024], [1, 1, 4096]):
            claim(torch_context, "ratio", 1.05, shape=shape, way=way)
    for shape in ([64, 8, 32], [8, 8, 256], [1, 8, 1024]):
        claim(torch_training, "ratio", 1.05, shape=shape)
    for shape in ([32, 8, 32], [8, 8, 256], [1, 8, 1024]):
        claim(torch_weights, "ratio", 1.0, shape=shape)
    return found


def run(claim: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Measure one claim in a process of its own."""
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    shared = ["--threads", str(args.threads), "--repeats", str(args.repeats), "--rest", str(args.rest)]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--one", json.dumps(claim), *shared],
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    most = claim["at_most"]
    kept = None if most is None else result[claim["figure"]] <= most
    print(
        f"{claim['measure']} {claim['arguments']}: {claim['figure']} {result[claim['figure']]:.3f}, "
        f"at most {most}, {'kept' if kept else 'NOT KEPT' if kept is False else 'for comparison'}",
        file=sys.stderr,
    )
    return claim | result | {"kept": kept}


def main() -> None:
    """Measure all claims, or one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rest", type=float, default=0.1, help="seconds of quiet before each timed side")
    parser.add_argument(
        "--only", default="", help="measure the claims whose measurement has this in its name"
    )
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where to write the result")
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(globals()[args.one["measure"]](args, **args.one["arguments"])))
        return
    results = [run(claim, args) for claim in claims() if args.only in claim["measure"]]
    report = {
        "benchmark": "attend",
        "kept": all(result["kept"] is not False for result in results),
        "claims": results,
        "settings": {"threads": args.threads, "repeats": args.repeats, "rest": args.rest, "width": WIDTH},
        "versions": versions("regard", "numpy", "torch"),
        "machine": machine(),
    }
    text = json.dumps(report, indent=1)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

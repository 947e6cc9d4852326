"""What the scripts of the peers have in common: the clock, the texts, the arguments and the report.

Only the standard library, since each script runs in its peer's environment.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any


class Finished(Exception):
    """The time or the steps asked for are used up."""


class Clock:
    """Counts what lies between two starts of a training step, after the warm-up."""

    def __init__(self, *, warmup_steps: int, seconds: float | None, steps: int | None) -> None:
        self.warmup_steps, self.limit, self.most = warmup_steps, seconds, steps
        self.started = 0.0
        self.seen = 0
        self.counts: dict[str, int] = dict.fromkeys(
            ("sentences", "source_tokens", "target_tokens", "source_cells", "target_cells"), 0
        )
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        """Training steps that were timed from start to start."""
        return self.seen - self.warmup_steps

    def step_starts(self, source: Any, target: Any, pad: int) -> None:
        """Take the time of the steps before this one; raise Finished when there were enough of them.

        Args:
            source, target: (B, S) and (B, T), the token ids of the batch that comes now, the target as the
                loss sees it: with its end, without its start.
            pad: the id of what is no token.
        """
        now = time.perf_counter()
        if self.seen == self.warmup_steps:
            self.started = now
        elif self.seen > self.warmup_steps:
            self.seconds = now - self.started
            if (self.limit and self.seconds >= self.limit) or (self.most and self.steps >= self.most):
                raise Finished
        if self.seen >= self.warmup_steps:
            self._count(source, target, pad)
        self.seen += 1

    def _count(self, source: Any, target: Any, pad: int) -> None:
        self.counts["sentences"] += len(source)
        for side, ids in (("source", source), ("target", target)):
            self.counts[f"{side}_tokens"] += int((ids != pad).sum())
            self.counts[f"{side}_cells"] += ids.numel()


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text; refuse the separators that a peer would take for line ends."""
    text = path.read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n")
    if lines != text.splitlines():
        sys.exit(f"{path} holds a line separator other than a newline; a peer would split there.")
    return lines


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a sentence or a piece a line."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_pairs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The pairs that have something on both sides."""
    source, target = (read_lines(path) for path in (args.source, args.target))
    if len(source) != len(target):
        sys.exit(f"{args.source} has {len(source)} lines but {args.target} has {len(target)}.")
    return [(s, t) for s, t in zip(source, target, strict=True) if s.strip() and t.strip()]


def unknown_pieces(lines: list[str], pieces: list[str]) -> int:
    """How many pieces of a text a vocabulary does not hold."""
    known = set(pieces)
    return sum(piece not in known for line in lines for piece in line.split(" "))


def pin_threads(threads: int) -> None:
    """Compute with so many threads. By default PyTorch takes as many as it sees.

    Called before PyTorch and NumPy are imported: their thread pools read the environment then.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)


def peak_mib(who: int = resource.RUSAGE_SELF) -> float:
    """The most memory that this process held, in MiB. Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(who).ru_maxrss / (2**10 if sys.platform == "linux" else 2**20)


def report(
    system: str, args: argparse.Namespace, clock: Clock, model: Any, data: dict[str, int]
) -> dict[str, Any]:
    """Gather what was measured of a training, with what is needed to compare it."""
    import numpy
    import torch

    counts = clock.counts
    given = {name: value.name if isinstance(value, Path) else value for name, value in vars(args).items()}
    return {
        "system": system,
        "target_tokens": counts["target_tokens"],
        "seconds": clock.seconds,
        "steps": clock.steps,
        "tokens_per_second": counts["target_tokens"] / clock.seconds,
        "source_tokens": counts["source_tokens"],
        "sentences": counts["sentences"],
        "target_padding": 1 - counts["target_tokens"] / counts["target_cells"],
        "source_padding": 1 - counts["source_tokens"] / counts["source_cells"],
        **data,
        "parameters": sum(p.numel() for p in model.parameters()),
        "shapes": {name: list(p.shape) for name, p in model.named_parameters()},
        "max_rss_mib": peak_mib(),
        "children_max_rss_mib": peak_mib(resource.RUSAGE_CHILDREN),
        "threads": torch.get_num_threads(),
        "versions": {
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "arguments": given,
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that every peer's training takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--source", type=Path, required=True, help="pieces separated by a space, a sentence a line")
    add("--target", type=Path, required=True, help="as many lines")
    add("--vocab", type=Path, required=True, help="a piece a line, without special ones")
    add("--width", type=int, default=256)
    add("--layers", type=int, default=1, help="of the encoder and of the decoder")
    add("--heads", type=int, default=4)
    add("--feed-forward", type=int, default=512)
    add("--dropout", type=float, default=0.0)
    add("--label-smoothing", type=float, default=0.0)
    add("--learning-rate", type=float, default=0.0005)
    add("--clip", type=float, default=1.0, help="largest norm of the gradient")
    add("--batch-tokens", type=int, default=4096, help="positions on the longer side, padding included")
    add("--threads", type=int, default=2)
    add("--seconds", type=float, help="stop the clock after so long")
    add("--steps", type=int, help="stop the clock after so many steps")
    add("--warmup-steps", type=int, default=10, help="steps before the clock starts")
    add("--seed", type=int, default=1)
    return made


def parsed(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, refused where nothing says when to stop."""
    args = made.parse_args()
    if args.seconds is None and args.steps is None:
        made.error("--seconds or --steps is needed to know when to stop")
    return args

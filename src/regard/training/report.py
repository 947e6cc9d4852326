"""What a run has come to, from what it wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regard.training.run import RunFolder


def summary(folder: Path) -> dict[str, Any]:
    """A finished run in a few numbers, ready for JSON: folder, pairs, steps, seconds, best validation."""
    run = RunFolder.open(folder)
    metric = run.recipe.evaluation.metric
    lines = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    validations = [line for line in lines if f"validation_{metric}" in line]
    corpus = run.about["corpus"]
    return {
        "run": str(folder),
        "training_pairs": corpus["training_pairs"],
        "validation_pairs": corpus["validation_pairs"],
        "skipped_empty": corpus["skipped_empty"],
        "skipped_too_long": corpus["skipped_too_long"],
        "steps": max((line["step"] for line in lines), default=0),
        "seconds": max((line["seconds"] for line in validations), default=None),
        "metric": metric,
        "best_validation": max((line[f"validation_{metric}"] for line in validations), default=None),
    }

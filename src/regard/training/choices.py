"""What a recipe leaves open, chosen by the size of the corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from regard.training.recipe import Recipe

CLOCK_ALONE = 1_000_000
"""Steps of a run that has a time limit and no other."""

_SUITED: tuple[tuple[int, dict[str, dict[str, Any]]], ...] = (
    (5_000, {}),
    (100_000, {"training": {"learning_rate": 0.005, "moving_average": 0.998, "average": 1}}),
    (
        1_000_000,
        {"model": {"width": 256, "feed_forward": 1024, "dropout": 0.2}, "training": {"learning_rate": 0.002}},
    ),
)
_LARGE: dict[str, dict[str, Any]] = {
    "model": {
        "width": 512,
        "heads": 8,
        "feed_forward": 2048,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "dropout": 0.1,
    },
    "training": {"learning_rate": 0.001, "warmup": 4000, "batch_tokens": 8192},
}


_RECURRENT: dict[str, dict[str, Any]] = {"training": {"learning_rate": 0.001, "batch_tokens": 2048}}


def suited(pairs: int, architecture: str = "transformer") -> Recipe:
    """The recipe for so many pairs, where nobody says otherwise: the more there are, the larger the model.

    A recurrent model has one size, and learns slowly enough for any corpus that is not tiny.
    """
    tables = next((tables for most, tables in _SUITED if pairs <= most), _LARGE)
    if architecture == "recurrent":
        tables = {"model": {"architecture": architecture}} | (_RECURRENT if tables else {})
    return Recipe().changed(tables)


def chosen_vocabulary(pairs: int) -> int:
    """How many subwords suit so many pairs: few enough to be seen often, many enough to keep words whole."""
    for most, size in ((2_000, 1_000), (10_000, 4_000), (200_000, 8_000)):
        if pairs <= most:
            return size
    return 16_000


def completed(recipe: Recipe, vocabulary: int, batches_an_epoch: int) -> Recipe:
    """The recipe as it will be carried out: every 0 that means «choose» replaced by what was chosen.

    About 80 epochs, or 30 where 80 would be more than 12,000 steps, but no fewer than 2,000 and no more than
    100,000 steps; 30 validations on the way. A time limit without a number of steps is the only limit; then
    there is a validation each epoch. Input feeding is off where there is nothing to feed. Links guide the
    first head of the alignment's layer.
    """
    training = recipe.training
    if training.steps or not training.minutes:
        enough = max(2_000, min(80 * batches_an_epoch, 12_000), 30 * batches_an_epoch)
        steps = training.steps or min(100_000, enough)
        every = training.validate_every or max(20, steps // 30)
    else:
        steps, every = CLOCK_ALONE, training.validate_every or max(100, batches_an_epoch)
    model: Any = recipe.model
    if model.architecture == "recurrent":
        model = replace(model, input_feeding=model.feeds)
    elif training.guided_alignment and not model.alignment_head:
        model = replace(model, alignment_head=1)
    return replace(
        recipe,
        data=replace(recipe.data, vocabulary=vocabulary),
        model=model,
        training=replace(training, steps=steps, validate_every=every),
    )

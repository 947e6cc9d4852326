"""Beginning with the weights of a run that has ended, to go on with other pairs or other settings.

What was learned from many pairs of another kind, or from pairs read both ways, is a better beginning than
chance where pairs are few.

Source: Zoph et al. 2016, "Transfer learning for low-resource neural machine translation", arXiv:1604.02201;
Ding et al. 2021, "Improving neural machine translation by bidirectional training", arXiv:2109.07780.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from regard.errors import RecipeError, RunError
from regard.training.recipe import Recipe
from regard.training.run import RunFolder, load_weights

WORDS = ("tokenizer", "split_punctuation")
"""Settings of the texts that the vocabulary of the first run goes with."""


def beginning(path: str | os.PathLike[str]) -> RunFolder:
    """The run to begin with.

    Raises:
        RunError: not a run, or one that has not ended.
    """
    run = RunFolder.open(Path(path))
    if not run.finished:
        raise RunError(
            f"{path}: training has not ended, so there are no weights to begin with. Go on with: "
            f"{run.how_to_go_on}"
        )
    return run


def base(suited: Recipe, first: RunFolder) -> Recipe:
    """What suits the corpus, with the model and the vocabulary of the first run."""
    theirs = first.recipe
    data = {name: getattr(theirs.data, name) for name in (*WORDS, "vocabulary")}
    return replace(suited, model=theirs.model, data=replace(suited.data, **data))


def require_same_words(wished: Recipe, first: RunFolder) -> None:
    """RecipeError where texts would be cut otherwise than the first run cuts them."""
    for name in WORDS:
        ours, theirs = getattr(wished.data, name), getattr(first.recipe.data, name)
        if ours != theirs:
            raise RecipeError(
                f"data.{name} is {ours}, but {first.path}, whose vocabulary this run begins with, has "
                f"{theirs}. Leave it out."
            )
    if wished.model.architecture != first.recipe.model.architecture:
        raise RecipeError(
            f"model.architecture is {wished.model.architecture}, but {first.path}, whose weights this run "
            f"begins with, is {first.recipe.model.architecture}. Leave it out."
        )


def recorded(first: RunFolder) -> dict[str, str]:
    """What a run writes down of the one that it begins with."""
    return {"first_run": str(first.path.resolve()), "first_digest": _digest(first.weights)}


def load_first(network: nn.Module, corpus: Mapping[str, Any]) -> None:
    """Fill a fresh network with the weights that its run begins with, if it begins with any.

    Raises:
        RunError: these are gone, changed, or of another model.
    """
    if "first_run" not in corpus:
        return
    weights = Path(corpus["first_run"]) / "model.safetensors"
    if not weights.is_file() or _digest(weights) != corpus["first_digest"]:
        raise RunError(
            f"{weights}: the weights that this run began with are gone or changed. Start it anew with --from."
        )
    try:
        load_weights(network, weights)
    except RunError:
        raise RecipeError(
            f"model: these sizes are not those of {corpus['first_run']}, whose weights this run begins with. "
            f"Leave the settings of its sizes out."
        ) from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A run's folder: what is in it, how a kill at any moment leaves it whole, how it is opened.

regard.toml          all that is needed to repeat the run
tokenizer.json       the vocabulary
training-pairs.safetensors  fingerprints of the pairs that were learned from
model.safetensors    the weights that predict, once training has ended
metrics.jsonl        a line a step and a line a validation
events.out.tfevents… the same for TensorBoard
checkpoints/         see `regard.training.checkpoints`
"""

from __future__ import annotations

import os
import platform
import shlex
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import Tensor, nn

from regard.data.tokenization import Tokenizer
from regard.decoding.translator import Model
from regard.errors import RecipeError, RunError
from regard.export import huggingface
from regard.models.architectures import Translator, make
from regard.training.files import part, read_tensors, saving
from regard.training.recipe import Recipe

FORMAT = 1
ADDED_SETTINGS = (
    frozenset(
        f"model.{key}"
        for key in ("score", "temperature", "window", "top_k", "positions", "baseline", "coverage_loss")
    )
    | {"model.architecture", "data.bpe_dropout", "data.in_memory"}
    | {"training.r_drop", "training.moving_average"}
    | {"training.device", "training.parallel", "training.compile"}
    | {"training.guided_alignment", "model.alignment_head"}
    | {
        "decoding.min_length",
        "decoding.block_ngrams",
        "decoding.longest_source",
        "decoding.lookahead",
    }
)
"""Settings that runs of this format may lack, as they came later; those runs have the defaults."""

RECORDED_VERSIONS = ("regard", "torch", "numpy", "tokenizers", "sacrebleu", "babel")


class RunFolder:
    """A run on disk.

    Args:
        path: the folder; made by `create`, found by `open`.
        about: what `regard.toml` holds.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, about
        self.recipe = _recipe(path, about)

    @classmethod
    def create(cls, path: Path, recipe: Recipe, corpus: Mapping[str, Any], tokenizer: Tokenizer) -> RunFolder:
        """Start a new folder.

        Args:
            path: must not exist, or be empty.
            recipe: with every 0 replaced by what was chosen.
            corpus: what it is trained on, as TOML values.
            tokenizer: of source and target.

        Raises:
            RunError: something is there already.
            TrainingError: the disk is full.
        """
        check_free(path)
        about = {
            "format": FORMAT,
            "versions": {name: _version(name) for name in RECORDED_VERSIONS}
            | {"python": platform.python_version()},
            "corpus": dict(corpus),
            "recipe": recipe.tables(),
        }
        with saving(path / "regard.toml") as described:
            described.write_text(tomli_w.dumps(about), encoding="utf-8")
            with saving(path / "tokenizer.json") as vocabulary:
                tokenizer.save(vocabulary)
        return cls(path, about)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Find a run that is there.

        Raises:
            RunError: no such folder, not a run, cut short, or written in another format.
        """
        described = path / "regard.toml"
        if not path.is_dir():
            what = "a file, not a run" if path.exists() else "no such run"
            raise RunError(f"{path}: {what}. A run is the folder that `regard fit … --out RUN` writes.")
        if not described.is_file():
            raise RunError(f"{path}: not a run: it has no regard.toml.")
        try:
            about = tomllib.loads(described.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{described}: cannot be read: {error}") from None
        if "format" not in about:
            raise RunError(f"{described}: not of a run, or cut short: it names no format.")
        if about["format"] != FORMAT:
            raise RunError(
                f"{described}: the run has format {about['format']!r}; this version of regard reads format "
                f"{FORMAT}. Open it with the version that wrote it, or train again."
            )
        return cls(path, about)

    @property
    def weights(self) -> Path:
        """The weights that predict."""
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> Path:
        """A line a step and a line a validation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """What training is continued from."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether training has ended."""
        return self.weights.exists()

    @property
    def how_to_go_on(self) -> str:
        """What goes on with the run: a command, or a call where it was started from pairs in memory."""
        if "training_files" in self.about.get("corpus", {}):
            return how_to_resume(self.path)
        return f"regard.fit(pairs, out={str(self.path)!r}, resume=True)"

    def tokenizer(self) -> Tokenizer:
        """The vocabulary of source and target."""
        return Tokenizer.load(self.path / "tokenizer.json")

    def network(self, tokenizer: Tokenizer) -> Translator:
        """The model with fresh weights."""
        return make(self.recipe.model, len(tokenizer))

    def model(self) -> Model:
        """The trained model.

        Raises:
            RunError: training has not ended, or a file is missing or cut short.
        """
        tokenizer = self.tokenizer()
        if not self.finished:
            raise RunError(f"{self.path}: training has not ended. Go on with: {self.how_to_go_on}")
        network = self.network(tokenizer)
        load_weights(network, self.weights)
        return model_of(network.eval(), tokenizer, self.recipe, self.path.name)


def load(folder: str | os.PathLike[str]) -> Model:
    """Open a trained run, or a Marian or Pegasus model of `transformers`.

    Args:
        folder: what `regard fit … --out` wrote, or ``save_pretrained``.

    Returns:
        A model that predicts.

    Raises:
        RunError: neither of them, cut short, unfinished, or written by another version.
    """
    path = Path(folder)
    if (path / "config.json").is_file() and not (path / "regard.toml").exists():
        return huggingface.read(path)
    return RunFolder.open(Path(folder)).model()


def model_of(network: nn.Module, tokenizer: Tokenizer, recipe: Recipe, name: str) -> Model:
    """A network as its users meet it."""
    return Model(network, tokenizer, search=recipe.decoding, name=name, recipe=recipe)


def how_to_resume(path: Path) -> str:
    """The command that goes on with a run, ready for a shell."""
    return f"regard fit --resume {shlex.quote(str(path))}"


def check_free(path: Path) -> None:
    """Nothing of the user's is ever written over.

    Raises:
        RunError: the folder is there and not empty, a file stands in its place, or it cannot be made there.
    """
    if path.is_dir():
        if (path / "regard.toml").exists():
            raise RunError(
                f"{path}: there is a run already. Choose another --out, or go on with: {how_to_resume(path)}"
            )
        if (
            any(path.iterdir()) and not part(path / "regard.toml").exists()
        ):  # which a start that was cut off leaves
            raise RunError(f"{path}: the folder is not empty. Choose another --out; nothing is written over.")
    elif path.exists():
        raise RunError(f"{path}: a file; --out is a folder that does not exist yet.")
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise RunError(
            f"{path}: cannot be made: {there} is not a folder that may be written to. Choose another --out."
        )


def named_weights(network: nn.Module) -> dict[str, Tensor]:
    """Every parameter once, tied ones under their first name."""
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network from a file.

    Raises:
        RunError: the file is missing, cut short, or of another model.
    """
    fill(network, read_tensors(path), path)


def fill(network: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Copy weights into a network; RunError where names or shapes differ."""
    require_alike(network, weights, origin)
    with torch.no_grad():
        for name, parameter in named_weights(network).items():
            parameter.copy_(weights[name])


def require_alike(network: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """RunError where names or shapes of weights are not those of the network."""
    own = named_weights(network)
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise RunError(f"{origin}: these are the weights of another model than regard.toml describes.")


def _recipe(path: Path, about: Mapping[str, Any]) -> Recipe:
    """The recipe in `regard.toml`, which stands at its end: where all of it is there, the file is whole."""
    described = path / "regard.toml"
    try:
        tables = about["recipe"]
        first = {"architecture": "recurrent"}  # of runs from before there was another
        recipe = Recipe().changed(tables | {"model": first | tables["model"]})
        missing = [
            f"{table}.{key}"
            for table, settings in recipe.tables().items()
            for key in settings
            if key not in about["recipe"].get(table, {}) and f"{table}.{key}" not in ADDED_SETTINGS
        ]
    except (KeyError, AttributeError, TypeError):
        raise RunError(f"{described}: cut short: the recipe is missing.") from None
    except RecipeError as error:
        raise RunError(f"{described}: {error}") from None
    if missing:
        raise RunError(f"{described}: cut short, or from another version: {missing[0]} is missing.")
    return recipe


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"

"""Recipes: everything that decides how a model is made, as frozen dataclasses read from TOML.

A recipe has five tables, each the settings of one part. An unknown key is an error that lists the known
ones; what a recipe leaves out has the value written here.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from regard.data.tokenization import SPECIAL_TOKENS, TokenizerKind
from regard.decoding.translator import Search
from regard.errors import InputError, RecipeError
from regard.models.architectures import CONFIGS, Config
from regard.models.config import NO_SHARES, RecurrentConfig
from regard.models.transformer import TransformerConfig

NOT_GUIDED = (*NO_SHARES, "gumbel", "straight_through", "hardmax")
"""Attention whose weights are no shares, or all of one key."""


@dataclass(frozen=True)
class DataSettings:
    """How texts become tokens.

    Args:
        tokenizer: "bpe" (subwords), "word" or "character".
        vocabulary: at most so many tokens, 5 or more; 0 chooses by the size of the corpus.
        split_punctuation: whether punctuation stands on its own; off for text that is tokenised already.
        longest: pairs with a side of more tokens are left out of training and validation, and counted.
        validation: how many pairs are held out where no validation file is given; 0 chooses by the size of
            the corpus.
        bpe_dropout: how often two subwords are not joined while training, so that a word is seen cut in many
            ways (Provilkov et al. 2020); 0 for one way.
        in_memory: a corpus in files with more pairs than this is cut into tokens once, kept on disk and never
            read as a whole.
    """

    tokenizer: TokenizerKind = "bpe"
    vocabulary: int = 0
    split_punctuation: bool = True
    longest: int = 200
    validation: int = 0
    bpe_dropout: float = 0.0
    in_memory: int = 500_000


@dataclass(frozen=True)
class TrainingSettings:
    """How the model learns.

    Args:
        seed: of everything random, below 2⁶³.
        steps: updates at most; 0 chooses by the size of the corpus.
        minutes: time at most; 0 for no limit. Where `steps` is 0 too, the clock alone decides. A run that the
            clock stops is not repeatable to the bit.
        batch_tokens: positions in a batch, on its longer side.
        learning_rate, warmup, decay: see `regard.training.schedules.learning_rate`.
        weight_decay, betas: of AdamW (Loshchilov and Hutter 2019).
        label_smoothing: ε of `regard.nn.losses`.
        r_drop: α, how much two passes over a batch with other features dropped shall agree (Liang et al.
            2021); 0 for one pass. A Transformer alone has it.
        guided_alignment: how much it counts, beside the words, that attention looks where links say; of a
            Transformer one head alone. Links are induced from the pairs where none are given. 0 for not at
            all.
        clip: the gradient's largest norm.
        validate_every: steps between two validations; 0 chooses by the length of the training.
        patience: validations without a better score after which training stops; 0 for never.
        average: the weights of so many best validations are averaged at the end; 1 keeps the best alone.
        moving_average: the share that the exponential moving average of the weights keeps at each step, 0.999
            for example; it is what is validated and kept. 0 for the weights themselves.
        precision: "bf16" computes products in bfloat16, "float32" does not, "auto" asks the processor.
        device: "cpu", "cuda", or "auto", which is a GPU where there is one.
        parallel: where several processes train together, "ddp" keeps all weights in each of them, "fsdp" a
            share, of a Transformer alone.
        compile: whether `torch.compile` makes one program of a step first.
        checkpoint_minutes: time between two checkpoints; each validation makes one too.
    """

    seed: int = 1
    steps: int = 0
    minutes: float = 0.0
    batch_tokens: int = 4096
    learning_rate: float = 0.003
    warmup: int = 400
    decay: Literal["linear", "inverse_sqrt", "constant"] = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    label_smoothing: float = 0.1
    r_drop: float = 0.0
    guided_alignment: float = 0.0
    clip: float = 1.0
    validate_every: int = 0
    patience: int = 10
    average: int = 5
    moving_average: float = 0.0
    precision: Literal["auto", "bf16", "float32"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class EvaluationSettings:
    """How outputs are scored.

    Args:
        metric: what decides which weights are best: "bleu", "chrf", "exact_match", or, for summaries,
            "rouge1", "rouge2" or "rougeL".
        bleu_tokenizer: sacreBLEU's; "none" for text that is tokenised already.
    """

    metric: Literal["bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL"] = "bleu"
    bleu_tokenizer: Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200"] = "13a"


@dataclass(frozen=True)
class Recipe:
    """All settings of a run, a table each."""

    data: DataSettings = field(default_factory=DataSettings)
    model: Config = field(default_factory=TransformerConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    decoding: Search = field(default_factory=Search)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)

    def __post_init__(self) -> None:
        if self.training.r_drop and self.model.architecture != "transformer":
            raise RecipeError(
                f"training.r_drop is {self.training.r_drop}, but model.architecture "
                f"{self.model.architecture} has no such loss. Choose the transformer, or training.r_drop 0."
            )
        if self.training.r_drop and self.model.copy:
            raise RecipeError(
                f"training.r_drop is {self.training.r_drop}, but model.copy is true, and what is copied has "
                f"no second opinion. Choose training.r_drop 0, or model.copy false."
            )
        if self.training.parallel == "fsdp" and self.model.architecture != "transformer":
            raise RecipeError(
                f"training.parallel is fsdp, but model.architecture {self.model.architecture} has no layers "
                f"to share out. Choose the transformer, or training.parallel ddp."
            )
        self._require_guidable()
        self._require_positions()
        if self.data.bpe_dropout and self.data.tokenizer != "bpe":
            raise RecipeError(
                f"data.bpe_dropout is {self.data.bpe_dropout}, but data.tokenizer {self.data.tokenizer} "
                f"joins no subwords. Choose bpe, or data.bpe_dropout 0."
            )

    def _require_positions(self) -> None:
        """Learned positions are as many as the longest text takes, and its start or end."""
        model, longest = self.model, self.data.longest
        if isinstance(model, RecurrentConfig) or model.positions != "learned":
            return
        if longest >= (known := model.longest):
            raise RecipeError(
                f"data.longest is {longest:,}, which with the end is {longest + 1:,} positions, but "
                f"model.longest is {known:,}, and no more learned positions are known. Choose model.longest "
                f"{longest + 1}, data.longest {known - 1}, or other positions."
            )

    def _require_guidable(self) -> None:
        """Links guide weights that are shares of one whole, and that are for looking alone."""
        if not self.training.guided_alignment:
            return
        given, model = f"training.guided_alignment is {self.training.guided_alignment}", self.model
        if model.copy:
            raise RecipeError(
                f"{given}, but model.copy is true, and links would guide what is copied. Choose "
                f"training.guided_alignment 0, or model.copy false."
            )
        name = "attention" if isinstance(model, RecurrentConfig) else "normalizer"
        if (mechanism := getattr(model, name)) in NOT_GUIDED:
            raise RecipeError(
                f"{given}, but the weights of model.{name} {mechanism} are no shares that could be guided. "
                f"Choose training.guided_alignment 0, or model.{name} softmax."
            )

    @classmethod
    def load(cls, path: str | Path, base: Recipe | None = None) -> Recipe:
        """Read a TOML file.

        Args:
            path: of the file.
            base: what the file leaves out; None for the defaults.

        Raises:
            RecipeError: no such file, not TOML, an unknown table or key, or a value that cannot be meant.
        """
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(f"{path}: the recipe cannot be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a TOML file: {error}") from None
        return (base or cls()).changed(tables, origin=f"{path}: ")

    def changed(self, tables: Mapping[str, Any], origin: str = "") -> Recipe:
        """This recipe with some settings replaced at once, given as ``{table: {key: value}}``."""
        changes = {}
        for name, values in tables.items():
            known = [table.name for table in dataclasses.fields(self)]
            if name not in known:
                raise RecipeError(f"{origin}[{name}] is not a table of a recipe.{_did_you_mean(name, known)}")
            if not isinstance(values, Mapping):
                raise RecipeError(f"{origin}{name} is a table: write [{name}] and its settings below it.")
            settings = getattr(self, name)
            if name == "model":
                settings = _of_architecture(settings, values, f"{origin}{name}.")
            changes[name] = _changed(settings, values, f"{origin}{name}.")
        return dataclasses.replace(self, **changes)

    def with_settings(self, assignments: Iterable[str]) -> Recipe:
        """This recipe with settings such as ``"model.width=256"`` replaced; values are written as in TOML."""
        tables: dict[str, dict[str, Any]] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            table, dot, name = key.strip().partition(".")
            if not (equals and dot and name):
                raise RecipeError(
                    f"{assignment!r} is not a setting. Write it as table.key=value: model.width=256."
                )
            tables.setdefault(table, {})[name] = _value(text.strip())
        return self.changed(tables)

    def tables(self) -> dict[str, dict[str, Any]]:
        """The settings as plain tables, ready to be written as TOML."""
        return dataclasses.asdict(self)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    return f"{_nearest(name, known)} Known: {', '.join(sorted(known))}."


def _nearest(name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) else []
    return f" Did you mean {near[0]}?" if near else ""


def _of_architecture(settings: Config, values: Mapping[str, Any], prefix: str) -> Config:
    """The settings to be changed: those there are, or the first of the architecture that is asked for."""
    name = values.get("architecture", settings.architecture)
    if name not in CONFIGS:
        near = _nearest(name, list(CONFIGS))
        raise RecipeError(f"{prefix}architecture is one of {', '.join(CONFIGS)}; got {name!r}.{near}")
    return settings if name == settings.architecture else CONFIGS[name]()


def _whose(key: str, settings: Any) -> str:
    """Which other architecture has a setting of the model, as a sentence; empty if none."""
    for name, config in CONFIGS.items():
        if key in {f.name for f in dataclasses.fields(config)} and hasattr(settings, "architecture"):
            return f" It is one of model.architecture={name}; this recipe has {settings.architecture}."
    return ""


def _changed(settings: Any, values: Mapping[str, Any], prefix: str) -> Any:
    kinds = typing.get_type_hints(type(settings))
    known = [f.name for f in dataclasses.fields(settings)]
    changes = {}
    for key, value in values.items():
        if key not in known:
            hint = _whose(key, settings) or _did_you_mean(key, known)
            raise RecipeError(f"{prefix}{key} is not a setting.{hint}")
        changes[key] = _checked(value, kinds[key], prefix + key)
        _check_range(key, changes[key], prefix)
    try:
        return dataclasses.replace(settings, **changes)
    except InputError as error:  # settings that contradict each other; the message begins with their table
        raise RecipeError(f"{prefix}{str(error).partition('.')[2]}") from None


def _checked(value: Any, kind: Any, name: str) -> Any:
    """The value as its setting's type, or an error that says what the setting takes."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise RecipeError(
                f"{name} is one of {', '.join(map(str, choices))}; got {value!r}.{_nearest(value, choices)}"
            )
        return value
    if origin is tuple:
        kinds = typing.get_args(kind)
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise RecipeError(f"{name} is a list of {len(kinds)} numbers; got {value!r}.")
        return tuple(_checked(v, k, name) for v, k in zip(value, kinds, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RecipeError(f"{name} is {_KINDS[kind]}; got {value!r}.")
    return value


_KINDS: Mapping[type, str] = types.MappingProxyType(
    {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
)

_AT_LEAST_ONE = {
    "embedding",
    "width",
    "encoder_layers",
    "decoder_layers",
    "window",
    "heads",
    "feed_forward",
    "top_k",
    "positions",
    "batch_tokens",
    "beam",
    "average",
    "longest",
    "in_memory",
    "longest_source",
}
_SHARES = {
    "embedding_dropout",
    "dropout",
    "recurrent_dropout",
    "attention_dropout",
    "activation_dropout",
    "layer_drop",
    "bpe_dropout",
    "label_smoothing",
    "moving_average",
}
_POSITIVE = {"temperature", "learning_rate", "clip", "longest_ratio"}
_MOST = 2**63 - 1
_FEWEST_TOKENS = len(SPECIAL_TOKENS) + 1


def _check_range(key: str, value: Any, prefix: str) -> None:
    name = prefix + key
    if isinstance(value, str):
        return
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise RecipeError(f"{name} is a finite number; got {value}.")
    if key in _AT_LEAST_ONE and value < 1:
        raise RecipeError(f"{name} is at least 1; got {value}.")
    if key in _SHARES and not 0 <= value < 1:
        raise RecipeError(f"{name} is a share from 0 up to, but not including, 1; got {value}.")
    if key in _POSITIVE and value <= 0:
        raise RecipeError(f"{name} is greater than 0; got {value}.")
    if key == "vocabulary" and 0 < value < _FEWEST_TOKENS:
        raise RecipeError(f"{name} is at least {_FEWEST_TOKENS}, or 0 to have it chosen; got {value}.")
    if isinstance(value, tuple) and not all(0 <= part < 1 for part in value):
        raise RecipeError(f"{name} are two numbers from 0 up to, but not including, 1; got {list(value)}.")
    if isinstance(value, int | float) and value < 0:
        raise RecipeError(f"{name} is not negative; got {value}.")
    if isinstance(value, int) and value > _MOST:
        raise RecipeError(f"{name} is at most {_MOST}; got {value}.")

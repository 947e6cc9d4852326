"""Opening somebody's model to look into it, without ever running what lies beside it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from regard.errors import InputError, RunError
from regard.inspection.capture import capture
from regard.models.foreign import read_json
from regard.models.gguf import GgufFile
from regard.models.gpt import Gpt
from regard.record import AttentionRecord


@dataclass(frozen=True, eq=False)
class Opened:
    """A model with the tokenizer that belongs to it.

    Attributes:
        network: the model.
        tokenizer: None where there is none, as of an image model.
        name: for titles.
    """

    network: nn.Module
    tokenizer: Any
    name: str


def open_model(path: str | Path) -> Opened:
    """A model of `transformers` in a folder, or a Llama in a GGUF file.

    Weights are read from safetensors alone and no code of the folder is run.

    Args:
        path: of the folder or file.

    Raises:
        InputError: a package that is needed is not installed.
        RunError: no such folder or file, damaged, a pickle, a model that brings code of its own, or one
            without attention.
    """
    path = Path(path)
    if path.is_file() or path.suffix.lower() == ".gguf":
        return Opened(Gpt.from_gguf(path), GgufFile(path).tokenizer, path.stem)
    about = _safe_settings(path)
    try:
        import transformers
    except ImportError:
        raise InputError("models of transformers need the package: pip install 'regard[export]'.") from None
    kind = _class(transformers, about)
    options = {"local_files_only": True, "trust_remote_code": False}
    with _quiet():
        try:
            network, found = kind.from_pretrained(
                path, use_safetensors=True, output_loading_info=True, **options
            )
        except (
            AttributeError,
            ImportError,
            KeyError,
            OSError,
            RuntimeError,
            SafetensorError,
            TypeError,
            ValueError,
        ) as error:
            raise RunError(f"{path}: transformers cannot open this model: {_first(error)}") from None
        tokenizer = None
        if any(path.glob("tokenizer*")) or any(path.glob("vocab*")) or any(path.glob("*.spm")):
            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(path, **options)
            except (OSError, ValueError, KeyError, ImportError) as error:
                raise RunError(f"{path}: its tokenizer cannot be opened: {_first(error)}") from None
    # What stands on top, such as a pooling layer, may be new; layers may not, their heads would be chance.
    if missing := sorted(name for name in found["missing_keys"] if re.search(r"\.\d+\.", f".{name}")):
        raise RunError(
            f"{path}: {len(missing)} weights that config.json describes are not there, such as {missing[0]}; "
            f"what they look at would be chance. The folder is damaged, or config.json is another model's."
        )
    return Opened(network.eval(), tokenizer, path.resolve().name)


def over_training(
    paths: Iterable[str | Path], text: str | Sequence[str], **options: Any
) -> list[AttentionRecord]:
    """What the checkpoints of one model look at, to see how a map formed: ``View(over_training(…))``.

    Args:
        paths: of the checkpoints, such as ``checkpoint-500``; the last number of a name is its step.
        text, options: as for `regard.inspection.capture.capture`; the tokenizer is that of each folder where
            none is given.

    Returns:
        A record of each kind and text of each checkpoint, in the order of steps, with metadata "step".

    Raises:
        InputError: no path, or a name without a number.
        RunError: as `open_model`.
    """
    steps: dict[int, Path] = {}
    for path in map(Path, paths):
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise InputError(
                f"{path}: which step is this? Name checkpoints by their numbers: checkpoint-500."
            )
        steps[int(numbers[-1])] = path
    if not steps:
        raise InputError("over_training(): no checkpoint is given.")
    found: list[AttentionRecord] = []
    for step, path in sorted(steps.items()):
        opened = open_model(path)
        given = {"tokenizer": opened.tokenizer, "name": opened.name} | options
        found += [
            replace(record, metadata=dict(record.metadata) | {"step": str(step)})
            for record in capture(opened.network, text, **given).records
        ]
    return found


def _safe_settings(path: Path) -> dict[str, Any]:
    """config.json of a folder whose model can be opened without running anything of it."""
    if not path.is_dir():
        raise RunError(
            f"{path}: no such folder. Name a run, a folder of transformers, or a GGUF file; models are not "
            f"fetched from the network."
        )
    if not (path / "config.json").is_file():
        raise RunError(
            f"{path}: neither a run (no regard.toml) nor a model of transformers (no config.json)."
        )
    about = read_json(path / "config.json")
    if about.get("auto_map"):
        raise RunError(
            f"{path}: this model brings code of its own (auto_map in config.json), which is not run. Load it "
            f"in Python where you trust it, and hand it to regard.look."
        )
    if not any(path.glob("*.safetensors")):
        pickled = next((file.name for kind in ("*.bin", "*.pt", "*.pth") for file in path.glob(kind)), None)
        if pickled:
            raise RunError(
                f"{path / pickled}: a pickle, which may run code when it is opened. Open it with "
                f"transformers where you trust it, and save_pretrained it again."
            )
        raise RunError(f"{path}: no weights (model.safetensors) beside config.json.")
    return about


def _class(transformers: Any, about: dict[str, Any]) -> Any:
    """What opens the whole model, so that what it says is known too: the class it was saved as."""
    for name in about.get("architectures") or ():
        found = getattr(transformers, str(name), None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return transformers.AutoModel


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress and advice that transformers prints."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from transformers.utils import logging as theirs

        shown = theirs.is_progress_bar_enabled()
        theirs.disable_progress_bar()
        yield
        if shown:
            theirs.enable_progress_bar()
    finally:
        logger.setLevel(before)


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

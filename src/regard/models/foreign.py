"""Folders of `transformers`: settings and weights by name, without ever running what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from regard.errors import RunError


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        RunError: no such file, or something else in it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: not an object of JSON.")
    return value


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All weights under their names there.

    Raises:
        RunError: no safetensors, or damaged ones.
    """
    index = folder / "model.safetensors.index.json"
    parts = sorted(set(read_json(index)["weight_map"].values())) if index.exists() else ["model.safetensors"]
    found: dict[str, Tensor] = {}
    for part in parts:
        path = folder / part
        try:
            found |= load(path.read_bytes())
        except FileNotFoundError:
            pickled = (folder / "pytorch_model.bin").exists()
            remedy = (
                " Its pytorch_model.bin is a pickle, which may run code when it is opened: open it with "
                "transformers where you trust it, and save_pretrained it again."
            )
            raise RunError(f"{path}: the file is missing.{remedy if pickled else ''}") from None
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: not a whole safetensors file ({error}).") from None
    return found

"""A module with the identity for each projection inside it, so that what it computes can be foretold."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

import numpy as np

from regard.checking import frameworks

ASKS = re.compile(
    r"(?:^|_)(?:to_?|w_?)?(q|k|quer(?:y|ies)|keys?)(?:_?(?:proj\w*|linear|layer|lin|w|weight))?$"
)
"""Names of the projections of query and keys."""


def with_identities(function: Any) -> Any | None:
    """A copy in which each matrix from E to E features is the identity, and each to 3 E or 2 E several.

    Those of query and keys, where they are told apart by their names, are turned round: no score changes by
    that, but keys that are taken for values show.

    Returns:
        The copy, in evaluation; None where a matrix is of another form, as in additive scores, or where there
        is none at all.
    """
    try:
        if frameworks.is_torch_module(function):
            return _module(copy.deepcopy(function).eval())
        owner = getattr(function, "__self__", None)
        if owner is not None and not inspect.ismodule(owner):
            made = _object(copy.deepcopy(owner))
            return None if made is None else getattr(made, function.__name__)
        return _object(copy.deepcopy(function)) if hasattr(function, "__dict__") else None
    except Exception:
        return None


def _module(module: Any) -> Any | None:
    import torch
    from torch import nn

    known: set[int] = set()
    matrices = 0
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.LayerNorm | nn.BatchNorm1d):
                return None
            for name, parameter in part.named_parameters(recurse=False):
                if id(parameter) in known:
                    continue
                known.add(id(parameter))
                if parameter.ndim == 1:
                    parameter.zero_()
                    continue
                unit = _identity(tuple(parameter.shape), "weight" in name)
                if parameter.ndim != 2 or unit is None:
                    return None
                parameter.copy_(torch.as_tensor(unit))
                matrices += 1
        if matrices:
            _turn_round(dict(module.named_parameters()))
    return module if matrices else None


def _turn_round(parameters: dict[str, Any]) -> None:
    """Change the sign of the projections of query and keys, if both are there under their names."""
    found: dict[str, list[Any]] = {"q": [], "k": []}
    for path, parameter in parameters.items():
        *_, name = path.removesuffix(".weight").split(".")
        told = ASKS.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        if told and parameter.ndim == 2:
            found[told[1][0]].append(parameter)
    if len(found["q"]) == len(found["k"]) == 1:
        for parameter in (*found["q"], *found["k"]):
            parameter.neg_()


def _object(thing: Any) -> Any | None:
    """The same for an object that keeps NumPy's arrays, alone or in lists."""
    matrices = 0
    for name, kept in list(vars(thing).items()):
        several = kept if isinstance(kept, list) else [kept]
        if not all(isinstance(array, np.ndarray) and array.dtype.kind == "f" for array in several):
            continue
        units = [
            np.zeros_like(array) if array.ndim == 1 else _identity(array.shape, False) for array in several
        ]
        if any(unit is None for unit in units):
            return None
        setattr(thing, name, units if isinstance(kept, list) else units[0])
        matrices += sum(array.ndim == 2 for array in several)
    return thing if matrices else None


def _identity(shape: tuple[int, ...], tall_only: bool) -> np.ndarray | None:
    """The identity, once or up to three times side by side; None where the matrix has no room for that."""
    if len(shape) != 2 or min(shape) == 1:
        return None
    rows, columns = shape
    small, large = min(shape), max(shape)
    if large % small or large // small > 3 or (tall_only and rows < columns):
        return None
    return np.concatenate([np.eye(small)] * (large // small), axis=0 if rows >= columns else 1)

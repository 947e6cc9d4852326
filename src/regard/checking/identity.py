"""A module with the identity for each projection inside it, so that what it computes can be foretold."""

from __future__ import annotations

import copy
from typing import Any

OUTPUTS = ("score", "energy", "gate")


def with_identities(module: Any) -> Any | None:
    """A copy in which each matrix from E to E features is the identity, and each to 3 E or 2 E several.

    Returns:
        The copy, in evaluation; None where a matrix is of another form, as in additive scores, or where there
        is none at all.
    """
    import torch
    from torch import nn

    try:
        module = copy.deepcopy(module).eval()
    except Exception:
        return None
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
                elif parameter.ndim == 2 and _identity(parameter, isinstance(part, nn.Linear), name):
                    matrices += 1
                else:
                    return None
    return module if matrices else None


def _identity(parameter: Any, linear: bool, name: str) -> bool:
    """Write the identity, once or side by side; whether that is what the matrix has room for."""
    import torch

    rows, columns = parameter.shape
    if rows == 1 or columns == 1:
        return False
    unit = torch.eye(min(rows, columns), dtype=parameter.dtype)
    small, large = min(rows, columns), max(rows, columns)
    if large % small or large // small > 3:
        return False
    tall = rows >= columns
    repeated = torch.cat([unit] * (large // small), dim=0 if tall else 1)
    if rows < columns and (linear or "weight" in name) and large != small:
        return False
    parameter.copy_(repeated)
    return True

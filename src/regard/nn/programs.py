"""What `torch.compile` makes one program of, and what it leaves as it is.

Some functions compute with NumPy, or draw from a stream that goes on from call to call; in a program they
would be translated wrongly or not at all. `outside` marks them: a program ends before such a call and another
begins behind it. Where nobody compiles, PyTorch's compiler is not even imported.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

P = ParamSpec("P")
R = TypeVar("R")

_OUTSIDE: list[list[Callable[..., Any]]] = []


def outside(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which `compiled` modules call as it is."""
    what = [function]
    _OUTSIDE.append(what)

    @wraps(function)
    def called(*arguments: P.args, **options: P.kwargs) -> R:
        return what[0](*arguments, **options)

    return called


def compiled(module: nn.Module) -> nn.Module:
    """The module as a program, made anew for each shape that it meets."""
    for what in _OUTSIDE:
        what[0] = torch.compiler.disable(what[0])
    return torch.compile(module)  # pyright: ignore[reportReturnType]

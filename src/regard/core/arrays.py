"""Which library an array belongs to, and the little that each library does in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_jax_namespace,
    is_numpy_namespace,
    is_torch_namespace,
)

from regard.errors import DtypeError, ShapeError

Array = Any
Namespace = Any


def namespace(array: Array) -> Namespace:
    """The functions of the library that the array belongs to: NumPy's, PyTorch's, JAX's or CuPy's."""
    return array_namespace(array)


def require_one_library(where: str, arrays: Mapping[str, Array]) -> None:
    """Refuse to compute with the arrays of several libraries."""
    try:
        array_namespace(*arrays.values())
    except TypeError as error:
        kinds = [f"{name} {type(array).__module__}.{type(array).__name__}" for name, array in arrays.items()]
        raise DtypeError(
            f"{where}: all arrays must come from one library. Got {', '.join(kinds)}."
        ) from error


def is_array(thing: Any) -> bool:
    """Whether a thing is an array of a library that we can compute with."""
    return hasattr(thing, "dtype") and hasattr(thing, "shape")


def as_array(where: str, name: str, thing: Any) -> Array:
    """An array as it is; nested lists of numbers become NumPy's."""
    if is_array(thing):
        return thing
    try:
        return np.asarray(thing)
    except ValueError as error:
        raise ShapeError(
            f"{where}: the lists in {name} differ in length; every row needs the same."
        ) from error


def beside(where: str, name: str, array: Array, query: Array) -> Array:
    """The array, or if it is NumPy's the same numbers in the library and on the device of the query."""
    if type(array) is type(query):
        return array
    xp = namespace(query)
    if isinstance(array, np.ndarray) and not is_numpy_namespace(xp):
        # A copy, because PyTorch warns when it is handed memory that nobody may write to.
        return xp.asarray(array, device=device(query), copy=True)
    require_one_library(where, {name: array, "query": query})
    return array


def calm(xp: Namespace) -> AbstractContextManager[Any]:
    """Compute without NumPy's warnings about infinities, and without PyTorch's autocast, which rounds."""
    if is_numpy_namespace(xp):
        return np.errstate(invalid="ignore", over="ignore")
    if is_torch_namespace(xp):
        return _without_autocast()
    return nullcontext()


def _without_autocast() -> AbstractContextManager[Any]:
    import torch

    for kind in ("cpu", "cuda"):
        if torch.is_autocast_enabled(kind):
            return torch.autocast(kind, enabled=False)
    return nullcontext()


def constant(array: Array) -> Array:
    """The same numbers, through which no gradient passes."""
    xp = namespace(array)
    if is_torch_namespace(xp):
        return array.detach()
    if is_jax_namespace(xp):
        import jax

        return jax.lax.stop_gradient(array)
    return array


def surely(condition: Array) -> bool:
    """Whether the condition is known to hold: False where `jax.jit` or `torch.vmap` knows no numbers yet."""
    try:
        return bool(condition)
    except (TypeError, RuntimeError):
        return False

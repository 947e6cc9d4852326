"""Which numbers are taken, and how wide they are computed with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from regard.core.arrays import Array, as_array, beside, is_array, namespace, require_one_library
from regard.errors import DtypeError

SCORES_DTYPE = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}


def dtype_name(array: Array) -> str:
    """The dtype's plain name, such as 'float32', the same for every library."""
    return _plain_name(array.dtype)


# NumPy puts a dtype's name together anew each time it is asked, which costs more than a small product.
@lru_cache(typed=True)
def _plain_name(dtype: Any) -> str:
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]


def is_floating(array: Array) -> bool:
    """Whether an array holds floating-point numbers."""
    return dtype_name(array) in SCORES_DTYPE


def is_whole(array: Array) -> bool:
    """Whether an array holds whole numbers."""
    return dtype_name(array).startswith(("int", "uint"))


def require_real(where: str, name: str, array: Array) -> None:
    """Refuse what is neither an integer nor in one of the four floating dtypes."""
    if not is_floating(array) and not is_whole(array):
        known = ", ".join(SCORES_DTYPE)
        raise DtypeError(f"{where}: {name} must be integers or {known}. Got {dtype_name(array)}.")


def cast(array: Array, dtype: Any) -> Array:
    """The array in this dtype: itself where it has it already."""
    return array if array.dtype == dtype else namespace(array).astype(array, dtype)


def wide(where: str, name: str, numbers: Any) -> Array:
    """The numbers in float32 or wider: half precision becomes float32, integers become float64."""
    array = as_array(where, name, numbers)
    require_real(where, name, array)
    if is_whole(array):
        return cast(array, float)
    came = dtype_name(array)
    return array if SCORES_DTYPE[came] == came else cast(array, getattr(namespace(array), SCORES_DTYPE[came]))


def one_dtype(where: str, things: Mapping[str, Any]) -> list[Array]:
    """All things as arrays of one library in one floating dtype.

    Lists, and arrays of integers, take the dtype of the others; where nothing has a floating dtype, it is
    float64.

    Raises:
        DtypeError: several floating dtypes, several libraries, or what is no real number.
    """
    arrays = {name: as_array(where, name, thing) for name, thing in things.items()}
    for name, array in arrays.items():
        require_real(where, name, array)
    handed = {name: thing for name, thing in things.items() if is_array(thing)}
    require_one_library(where, handed or arrays)
    floating = {name: array.dtype for name, array in handed.items() if is_floating(array)}
    if len(set(floating.values())) > 1:
        listed = ", ".join(f"{name} {dtype_name(things[name])}" for name in floating)
        raise DtypeError(f"{where}: all need one floating dtype. Got {listed}; convert them to one.")
    model = next(iter((handed or arrays).values()))
    dtype = next(iter(floating.values()), float)
    return [cast(beside(where, name, array, model), dtype) for name, array in arrays.items()]

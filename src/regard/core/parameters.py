"""What is handed to a score or a normalizer when it is made: checked at once, and fitted to what comes later.

Parameters are numbers, lists or arrays. They take the library, the device and the dtype of the arrays that
they meet, and a gradient reaches them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regard.core.arrays import Array, as_array, beside, is_array, namespace, surely
from regard.core.dtypes import cast, is_floating, require_real
from regard.core.shapes import fits
from regard.errors import DtypeError, InputError, ShapeError

Score = Callable[[Any, Any], Any]


def require_function(where: str, name: str, function: Any, makers: Sequence[Callable[..., Any]]) -> None:
    """Refuse what is no function, and a maker that was not given its parameters.

    Args:
        where: who was called, for the message.
        name: what the function is: score or normalizer.
        function: what was handed in.
        makers: the functions that make one from their parameters.

    Raises:
        DtypeError: it cannot be called, or is a maker.
    """
    if not callable(function):
        raise DtypeError(f"{where}: {name} is a function, such as those in regard.{name}s. Got {function!r}.")
    if any(function is maker for maker in makers):
        parameters = ", ".join(inspect.signature(function).parameters)
        called = f"{name}s.{function.__name__}"
        raise DtypeError(
            f"{where}: {called} makes a {name}, and needs what it is made from: "
            f"{name}={called}({parameters})."
        )


def pairwise(score: Score) -> Score:
    """Say of a score that it depends on one query and one key, wherever they stand and whoever is beside.

    Such a score may be asked for some queries and keys at a time, which bounds the memory. It is said by an
    attribute, so that any function can say it: ``score.pairwise = True``.
    """
    score.__dict__["pairwise"] = True
    return score


def is_pairwise(score: Score) -> bool:
    """Whether it was said of a score that it depends on one query and one key alone; see `pairwise`."""
    return getattr(score, "pairwise", False) is True


def axes(where: str, name: str, parameter: Any, form: str) -> Array:
    """The parameter as an array, once it has as many axes as the form, such as "(A, D)"."""
    parameter = as_array(where, name, parameter)
    if len(parameter.shape) != len([axis for axis in form.strip("()").split(",") if axis]):
        raise ShapeError(f"{where}: {name} must be {form}. Got {tuple(parameter.shape)}.")
    return parameter


def require_hidden(where: str, name: str, parameter: Array, v: Array, axis: int = 0) -> None:
    """Refuse a parameter whose hidden features are not as many as those of v (A,)."""
    if parameter.shape[axis] != v.shape[0]:
        raise ShapeError(
            f"{where}: {name} has {parameter.shape[axis]} hidden features but v has {v.shape[0]}; "
            f"both need the same. Got {name} {tuple(parameter.shape)}, v {tuple(v.shape)}."
        )


def require_features(where: str, name: str, size: int, side: str, inputs: Array) -> None:
    """Refuse query or keys that have not as many features as the parameter takes."""
    if inputs.shape[-1] != size:
        raise ShapeError(
            f"{where}: {name} takes {size} features but the {side} of shape {tuple(inputs.shape)} has "
            f"{inputs.shape[-1]} on its last axis."
        )


def match(where: str, name: str, parameter: Array, inputs: Array) -> Array:
    """The parameter beside its inputs: same library, device and dtype, unless those are integers."""
    parameter = beside(where, name, parameter, inputs)
    if not is_floating(inputs):
        return parameter
    return cast(parameter, inputs.dtype)


def row_parameter(where: str, name: str, parameter: Any, *, above: float | None = None) -> Any:
    """A number as it is, or an array of numbers of which each row of scores has one.

    Args:
        where: who was called, for the message.
        name: what the parameter is called there.
        parameter: a number, or an array without axes or whose last axis, that of the keys, is 1.
        above: what all its numbers must exceed, where there is such a bound.

    Raises:
        DtypeError: it is no real number.
        ShapeError: an array that differs between keys.
        InputError: a number that does not exceed the bound.
    """
    if isinstance(parameter, np.generic):
        parameter = parameter.item()
    if not isinstance(parameter, int | float) or isinstance(parameter, bool):
        parameter = as_array(where, name, parameter)
        require_real(where, name, parameter)
        if parameter.shape and parameter.shape[-1] != 1:
            raise ShapeError(
                f"{where}: {name} is one number for each row of the scores, so its last axis must be 1; "
                f"one a head is (H, 1, 1). Got {tuple(parameter.shape)}."
            )
    if above is not None and not _exceeds(parameter, above):
        raise InputError(f"{where}: {name} must be above {above}. Got {parameter}.")
    return parameter


def match_rows(where: str, name: str, parameter: Any, scores: Array) -> Any:
    """The parameter beside scores (…, Q, K) whose rows it was made for."""
    if not is_array(parameter):
        return parameter
    if not fits(parameter.shape, scores.shape):
        raise ShapeError(
            f"{where}: {name} must have axes of size 1 or those of the scores {tuple(scores.shape)}. "
            f"Got {tuple(parameter.shape)}."
        )
    return match(where, name, parameter, scores)


def _exceeds(parameter: Any, bound: float) -> bool:
    """Whether no number is known to be at or below the bound; NaN is."""
    if not is_array(parameter):
        return parameter > bound
    return not surely(namespace(parameter).any(~(parameter > bound)))

"""A NumPy function as a subject, for tests that need no finding out how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from regard.checking.problems import Answer, Framework, Problem, Subject

Array = np.ndarray


@dataclass(eq=False)
class Function:
    """A NumPy function as a subject, called with query, keys, values, and the masks it has parameters for."""

    function: Callable[..., Any]
    axes: str = "BQD"
    inputs: Literal["separate", "memory", "self"] = "separate"
    heads: int = 1
    grouped: bool = False
    causal: Literal["always", "flag", "never"] = "never"
    projected: bool = False
    width: int | None = None
    gives_weights: bool = False
    identities: Subject | None = None
    framework: Framework = "numpy"
    differentiable: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        self.name = self.function.__name__
        self.description = self.function.__doc__ or ""
        names = inspect.signature(self.function).parameters
        self.takes_mask, self.takes_key_mask = "mask" in names, "key_mask" in names
        self.needs_mask = "mask" in names and names["mask"].default is inspect.Parameter.empty
        self.causal = "flag" if "causal" in names else self.causal

    def can(self, problem: Problem) -> bool:
        known = problem.dtype != "bfloat16"
        masks = (problem.mask is None or self.takes_mask) and (
            problem.key_mask is None or self.takes_key_mask
        )
        return known and masks and self.width in (None, problem.query.shape[-1])

    def ask(self, problem: Problem) -> Answer:
        self.asked += 1
        names = {"separate": ("query", "keys", "values"), "memory": ("query", "keys"), "self": ("query",)}
        arrays = [self._in(getattr(problem, name), problem.dtype) for name in names[self.inputs]]
        if self.axes == "D":
            arrays[0] = arrays[0][0]
        before = [array.copy() for array in arrays]
        try:
            with np.errstate(all="ignore"):
                found = self.function(*arrays, **self._masks(problem))
        except Exception as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        if isinstance(found, str):
            return Answer(hung=True) if found == "hung" else Answer(error="TypeError: a str came back")
        context, weights = found if isinstance(found, tuple) else (found, None)
        changed = tuple(
            name
            for name, old, new in zip(names[self.inputs], before, arrays, strict=True)
            if not np.array_equal(old, new, equal_nan=True)
        )
        return Answer(
            context=self._out(context),
            weights=None if weights is None else self._out(weights),
            dtype=str(context.dtype),
            changed=changed,
            gradients={"query": np.full(problem.query.shape, np.nan)} if self.differentiable else {},
        )

    def call(self, problem: Problem) -> str:
        return f"{self.name}(query, keys, values)"

    def plain(self) -> Subject | None:
        return self.identities

    def _masks(self, problem: Problem) -> dict[str, Any]:
        masks: dict[str, Any] = {}
        mask = problem.mask
        if mask is None and self.needs_mask:
            shape = (problem.query.shape[0], 1, problem.query.shape[2], problem.keys.shape[2])
            mask = np.ones(shape, dtype=bool)
        if mask is not None:
            masks["mask"] = mask if "H" in self.axes else mask[:, 0] if "B" in self.axes else mask[0, 0]
        if problem.key_mask is not None:
            masks["key_mask"] = problem.key_mask if "B" in self.axes else problem.key_mask[0]
        return {**masks, "causal": True} if problem.causal else masks

    def _in(self, array: Array, dtype: str) -> Array:
        array = array.astype(dtype)
        if self.axes == "BQHD":
            return array.swapaxes(1, 2)
        return array if "H" in self.axes else array[:, 0] if "B" in self.axes else array[0, 0]

    def _out(self, array: Array) -> Array:
        if self.axes == "D":
            array = array[None]
        array = np.asarray(array, dtype=np.float64)
        if self.axes == "BQHD":
            return array.swapaxes(1, 2)
        return array[:, None] if array.ndim == 3 else array.reshape((1,) * (4 - array.ndim) + array.shape)


def t(array: Array) -> Array:
    return array.swapaxes(-1, -2)


def softmax(x: Array, axis: Any = -1) -> Array:
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=-1 if axis is None else axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)


def scores(q: Array, k: Array) -> Array:
    return q @ t(k) / np.sqrt(q.shape[-1])

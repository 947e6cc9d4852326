"""What an attention is asked, and what it answers, whatever library and layout it is written for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

Framework = Literal["numpy", "torch", "jax"]
Role = Literal["query", "keys", "values"]


@dataclass(frozen=True, eq=False)
class Problem:
    """One small thing to ask: always with all four axes, in NumPy's float64.

    Attributes:
        query: (B, H, Q, D); keys: (B, H_k, K, D); values: (B, H_k, K, V). H_k < H for grouped heads.
        mask: (B, 1 or H, Q, K) booleans, True where a query may look.
        key_mask: (B, K) booleans, True where a key is there.
        causal: whether the future is to be hidden by the function's own switch.
        dtype: what the arrays are handed in as: float64, float32, float16 or bfloat16.
        gradients: whether to ask for the gradient of Σ context · cotangent, where the library has gradients.
        cotangent: (B, H, Q, V) weights of that sum; None for ones.
    """

    query: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    mask: np.ndarray | None = None
    key_mask: np.ndarray | None = None
    causal: bool = False
    dtype: str = "float64"
    gradients: bool = False
    cotangent: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What came back, in the problem's own axes and in float64; None for what the function does not give.

    Attributes:
        context: (B, H, Q, V).
        weights: (B, H or 1, Q, K), one head where the function averages over them.
        dtype: of the context as it came, by its plain name.
        shape: of the context as it came, before any axis was moved.
        error: what was raised, as ``Type: message``; then nothing else is there.
        hung: whether the function did not come back in time.
        changed: which inputs were written to.
        gradients: by role, each in the shape of the problem's array.
    """

    context: np.ndarray | None = None
    weights: np.ndarray | None = None
    dtype: str = ""
    shape: tuple[int, ...] = ()
    error: str = ""
    hung: bool = False
    changed: tuple[str, ...] = ()
    gradients: Mapping[str, np.ndarray] = field(default_factory=dict)


class Subject(Protocol):
    """An attention under examination, and what was found out about how to call it.

    Attributes:
        name: for messages. description: what its docstrings say, the name's meaning included.
        framework: the library whose arrays it takes.
        axes: the axes that its query comes with: "D", "QD", "BQD", "BHQD" or "BQHD".
        inputs: "separate" takes query, keys and values; "memory" takes what the queries are made of and what
            keys and values are made of; "self" makes all three of one array.
        projected: whether weights inside it turn its inputs into query, keys and values (or its scores are
            made by learned parameters), so that no reference knows its numbers.
        width: the D (and V) that it is made for; None where any will do. heads: into how many heads it splits
            that width by itself; 1 where the heads are an axis, or there are none.
        takes_mask, takes_key_mask: whether it can be told who may look where, and which keys are there.
        causal: "always" hides the future, "flag" does when told to, "never" cannot.
        gives_weights: whether the weights come back beside the context.
        grouped: whether it takes fewer key heads than query heads.
        differentiable: whether gradients can be asked for.
    """

    name: str
    description: str
    framework: Framework
    axes: str
    inputs: Literal["separate", "memory", "self"]
    projected: bool
    width: int | None
    heads: int
    takes_mask: bool
    takes_key_mask: bool
    causal: Literal["always", "flag", "never"]
    gives_weights: bool
    grouped: bool
    differentiable: bool

    def can(self, problem: Problem) -> bool:
        """Whether the problem can be put to it at all: its masks, axes, sizes and dtype."""
        ...

    def ask(self, problem: Problem) -> Answer:
        """Put the problem to it. Never raises: what goes wrong is in the answer."""
        ...

    def call(self, problem: Problem) -> str:
        """How that is called, as a line of code that a user recognises."""
        ...

    def plain(self) -> Subject | None:
        """The same with the identity for every projection inside it, so that references apply; None where
        that cannot be done (no module, projections that are not square).
        """
        ...

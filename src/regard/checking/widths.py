"""How many features somebody's attention takes, and how a problem of another width is put to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.checking import frameworks

USUAL = (6, 8, 4, 16, 32, 64, 128, 3, 5, 2, 10, 12)
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads", "h")
FEATURES = ("embed_dim", "d_model", "n_embd", "hidden_size", "embedding_dim", "width")
MOST = 12
"""How many ways of giving widths to queries and keys are tried at most."""


@dataclass(frozen=True)
class Widths:
    """Features of the query; those of keys and values where they are others. None is any number."""

    query: int | None = None
    keys: int | None = None
    values: int | None = None


def usual(heads: int, some: bool) -> tuple[int, ...]:
    """Numbers of features to try; more of them where only some can be right."""
    if some or heads > 1:
        return tuple(each for each in USUAL if each % max(heads, 1) == 0)
    return USUAL[:2]


def own(function: Any, width: int | None) -> list[Widths]:
    """The features that a module or an object is made for, the likeliest first; none where any will do.

    Args:
        function: who is called.
        width: what was said.
    """
    if not frameworks.is_torch_module(function):
        width = width or frameworks.width_of_arrays(function)
        return [Widths(width)] if width else []
    named = width or own_number(function, FEATURES)
    if own_number(function, ("kdim",)) or own_number(function, ("vdim",)):
        sides = (own_number(function, (name,)) for name in ("kdim", "vdim"))
        return [Widths(named, *(None if side == named else side for side in sides))]
    taken: list[int] = list(dict.fromkeys(part.in_features for part in function.modules() if _takes(part)))
    if not taken and frameworks.is_lazy(function):
        taken = [8]
    if not taken:
        taken = [each.shape[0] for each in function.parameters() if each.ndim == 2][:1]
    numbers: list[int] = list(dict.fromkeys([*([named] if named else []), *taken]))
    if width:
        return [Widths(width)]
    # Query and keys side by side go through one projection.
    halves = [each // 2 for each in taken if each % 2 == 0 and each // 2 not in numbers]
    thirds = [Widths(each // 3, 2 * each // 3) for each in taken if each % 3 == 0]
    alike = [Widths(each) for each in (*numbers, *halves)]
    return [*alike, *thirds, *(Widths(*pair) for pair in itertools.permutations(numbers, 2))][:MOST]


def _takes(part: Any) -> bool:
    return getattr(part, "in_features", 0) > 0


def own_number(thing: Any, names: tuple[str, ...]) -> int | None:
    """What an object or its configuration keeps under the first of the names."""
    owner = getattr(thing, "__self__", thing)
    for name in names:
        number = getattr(owner, name, None) or getattr(getattr(owner, "config", None), name, None)
        if isinstance(number, int) and not isinstance(number, bool) and number > 0:
            return number
    return None


def bridge(features: int, wanted: int) -> np.ndarray:
    """(features, wanted): makes as many features as are wanted.

    Any linear map of full rank will do: the laws of projected attention hold behind it as well.
    """
    return np.random.default_rng(3).normal(size=(features, wanted)) / np.sqrt(features)

"""Scores and normalizers for multi-head attention, with learned parts for each head where they have some.

Each is a module that is called as a function of `regard.core` is: a score with heads of query (…, H, Q, D)
and of keys (…, H, K, D), a normalizer with scores (…, H, Q, K). They are computed in float32 or wider.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from regard.core import normalizers, scores
from regard.core.normalizers import Normalizer
from regard.nn.normalizers import Entmax, Sigmoid, Sink, straight_hardmax


class HeadScore(nn.Module):
    """A score made from matrices, which all heads share.

    Args:
        make: from `regard.core.scores`, given the parameters.
        shapes: of the parameters.
    """

    pairwise = True

    def __init__(self, make: Callable[..., scores.Score], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.make = make
        self.parts = nn.ParameterList(
            nn.Parameter(torch.empty(shape).uniform_(-1, 1) / shape[-1] ** 0.5) for shape in shapes
        )

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (…, H, Q, K)."""
        return self.make(*self.parts)(query, keys)


def score(name: str, features: int) -> scores.Score:
    """The score of this name for heads of so many features, with parameters of its own where it has some."""
    D = features
    if name == "general":
        return HeadScore(scores.general, (D, D))
    if name == "additive":
        return HeadScore(scores.additive, (D, D), (D, D), (D,))
    if name == "concat":
        return HeadScore(scores.concat, (D, 2 * D), (D,))
    if name == "learned_query":
        return HeadScore(scores.learned_query, (D,))
    return getattr(scores, name)


def normalizer(name: str, *, top_k: int) -> Normalizer:
    """The normalizer of this name, with parameters of its own where it has some."""
    made: dict[str, Callable[[], Normalizer]] = {
        "sink": Sink,
        "entmax": Entmax,
        "sigmoid": Sigmoid,
        "top_k": lambda: normalizers.top_k(top_k),
        "hardmax": lambda: straight_hardmax,
    }
    return made[name]() if name in made else getattr(normalizers, name)

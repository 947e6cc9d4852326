"""From the names of a recipe to the mechanism of attention that they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from regard.core import normalizers
from regard.models.config import SCORES, RecurrentConfig, ScoreName
from regard.nn import scores
from regard.nn.coverage import Coverage, LocationAware
from regard.nn.hard import GumbelSoftmax, Sampled, StraightThrough
from regard.nn.local import LocalMonotonic, LocalPredictive
from regard.nn.monotonic import MoChA, Monotonic
from regard.nn.normalizers import Entmax, Sigmoid, Sink, straight_hardmax
from regard.nn.picking import Picker
from regard.nn.scores import Score
from regard.nn.soft import Mechanism, Normalizer, softmax

_SCORES: dict[ScoreName, Callable[[int, int], Score]] = {
    "dot": scores.Dot,
    "scaled_dot": scores.ScaledDot,
    "general": scores.General,
    "concat": scores.Concat,
    "additive": scores.Additive,
    "cosine": scores.Cosine,
    "negative_squared_distance": scores.NegativeSquaredDistance,
    "location_aware": LocationAware,
    "coverage": Coverage,
    "learned_query": scores.LearnedQuery,
}

_WEIGHERS: dict[str, Callable[[RecurrentConfig], Normalizer | Picker]] = {
    "softmax": lambda config: _softmax(config),
    "sink": lambda config: Sink(config.temperature),
    "sparsemax": lambda config: normalizers.sparsemax,
    "entmax15": lambda config: normalizers.entmax15,
    "entmax": lambda config: Entmax(),
    "sigmoid": lambda config: Sigmoid(),
    "top_k": lambda config: normalizers.top_k(config.top_k),
    "hardmax": lambda config: straight_hardmax,
    "reinforce": lambda config: Sampled(),
    "gumbel": lambda config: GumbelSoftmax(config.temperature),
    "straight_through": lambda config: StraightThrough(),
    "monotonic": lambda config: Monotonic(),
    "mocha": lambda config: MoChA(config.window),
    "local_m": lambda config: LocalMonotonic(config.window),
    "local_p": lambda config: LocalPredictive(config.width, config.window),
}


def make_score(config: RecurrentConfig) -> Score:
    """A new score, which `config.attention` names itself or leaves to `config.score`."""
    name = cast("ScoreName", config.attention) if config.attention in SCORES else config.score
    if name == "location":
        return scores.Location(config.width, config.positions)
    return _SCORES[name](config.width, config.width)


def make_mechanism(config: RecurrentConfig) -> Mechanism:
    """A new mechanism, soft or picking."""
    name = "softmax" if config.attention in SCORES else config.attention
    weigher = _WEIGHERS[name](config)
    chunked = isinstance(weigher, Picker) and weigher.chunked
    return Mechanism(make_score(config), weigher, make_score(config) if chunked else None)


def _softmax(config: RecurrentConfig) -> Normalizer:
    return softmax if config.temperature == 1 else normalizers.softmax_with(temperature=config.temperature)

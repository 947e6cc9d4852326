"""How to look: all that `attend` takes beside query, keys and values, as one thing to be handed on."""

from __future__ import annotations

from typing import Any, NamedTuple

from regard.core.normalizers import Normalizer
from regard.core.scores import Score


class Options(NamedTuple):
    """The options of `regard.attend`, as they came; see there."""

    score: Score
    normalizer: Normalizer
    mask: Any
    key_mask: Any
    bias: Any
    causal: bool
    window: int | None
    query_offset: int | None
    grouped: bool

"""An object of a class of attention, made with the arguments that such classes usually take."""

from __future__ import annotations

import inspect
import re
from typing import Any

WIDTH = (
    r"(d|n)_?(model|embd|embed)|d|d_(k|v|q|in|out)|c|e|emb\w*|width|channels|units|(query|key|value)s?|hid_dim|dim_(in|out)|"
    r"(embed|model|hidden|input|key|query|value|k|v|q|in|out|output|att\w*|enc\w*|dec\w*|num)?_?"
    r"(dim|size|width|features|units|hidden)s?"
)
HEADS = r"(num|n)_?(attention_)?heads?|heads?|nhead|h"
CHANCE = r"(\w+_)?dropout\w*|(\w+_)?pdrop|p_drop\w*|p"
LENGTH = r"(max|context|block|seq\w*)_?(len\w*|size|positions)?|max_\w+|context_length|block_size|seq_len\w*"


class Settings:
    """A configuration that answers what such classes usually ask of theirs."""

    def __init__(self, width: int, heads: int) -> None:
        self.width, self.heads = width, heads

    def __getattr__(self, name: str) -> Any:
        plain = name.lower()
        for pattern, value in ((HEADS, self.heads), (LENGTH, 64), (WIDTH, self.width), (CHANCE, 0.0)):
            if re.fullmatch(pattern, plain):
                return value
        if re.search(r"bias|causal|mask|flash|use_", plain):
            return False
        raise AttributeError(f"the setting {name} is not known; hand in an object")


def made(kind: type, *, width: int | None, heads: int | None) -> Any:
    """An object of the class.

    Args:
        kind: the class.
        width: of its arrays; without it the class's own default, or 8.
        heads: into how many it splits them; without it the class's own default, or 2.

    Raises:
        TypeError: an argument is needed whose meaning can't be told.
        Exception: what the class raises.
    """
    signature = inspect.signature(kind)
    given: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        plain = name.lower()
        required = parameter.default is parameter.empty
        if re.fullmatch(HEADS, plain):
            if heads is not None or required:
                given[name] = heads or 2
        elif re.fullmatch(LENGTH, plain):
            if required:
                given[name] = 64
        elif re.fullmatch(WIDTH, plain):
            if (width is not None and isinstance(parameter.default, int)) or required:
                given[name] = width or 8
        elif re.fullmatch(CHANCE, plain):
            if required:
                given[name] = 0.0
        elif required and re.fullmatch(r"config|cfg|conf|args|hparams|params|c", plain):
            given[name] = Settings(width or 8, heads or 2)
        elif required and re.search(r"bias|causal|mask", plain):
            given[name] = False
        elif required:
            raise TypeError(
                f"{kind.__name__}: what its argument {name} means is not known; hand in an object"
            )
    return kind(**given)

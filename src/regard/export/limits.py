"""What a format can hold of a model: asked before any work, and said with the setting that does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regard.errors import InputError

RECURRENT = "recurrent"


def require(config: Any, target: str, holds: Mapping[str, Sequence[Any]], *, instead: str) -> None:
    """Refuse a model with a setting that a format has no place for.

    Args:
        config: the model's settings.
        target: the format, as a person calls it.
        holds: for a setting the values that the format can hold; other settings don't matter to it.
        instead: what to do with a model that does not fit.

    Raises:
        InputError: names the setting, its value, what the format can hold, and where else the model can go.
    """
    for name, values in holds.items():
        value = setting(config, name, values[0])
        if value not in values:
            known = " or ".join(_shown(v) for v in values)
            raise InputError(
                f"export: model.{name} is {_shown(value)}, which {target} cannot hold; it holds {known}. "
                f"{instead}"
            )


def setting(config: Any, name: str, missing: Any) -> Any:
    """A setting of a model, its 0 spelt out: key_heads=0 is as many as heads; `missing` where it has none."""
    value = getattr(config, name, RECURRENT if name == "architecture" else missing)
    if name == "key_heads":
        return "as many as heads" if value in (0, config.heads) else value
    return value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) and " " not in value else str(value)

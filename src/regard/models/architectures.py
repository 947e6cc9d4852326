"""The architectures that a recipe can name, each with its settings."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from regard.models.recurrent import RecurrentConfig, RecurrentTranslator
from regard.models.transformer import TransformerConfig, TransformerTranslator

Config = TransformerConfig | RecurrentConfig
Translator = TransformerTranslator | RecurrentTranslator

CONFIGS: MappingProxyType[str, type[Config]] = MappingProxyType(
    {"transformer": TransformerConfig, "recurrent": RecurrentConfig}
)
_TRANSLATORS: dict[type, type[Any]] = {
    TransformerConfig: TransformerTranslator,
    RecurrentConfig: RecurrentTranslator,
}


def make(config: Config, vocabulary: int) -> Translator:
    """The model of these settings with fresh weights, for so many tokens."""
    return _TRANSLATORS[type(config)](config, vocabulary)

"""Greedy search: the likeliest word at each step."""

from torch import Tensor

from regard.decoding.constraints import Rules
from regard.decoding.hypothesis import Hypothesis
from regard.decoding.paths import NO_RULES, follow
from regard.models.interface import EncoderDecoder

__all__ = ["Hypothesis", "greedy"]


def greedy(
    model: EncoderDecoder, source: Tensor, lengths: Tensor, limits: Tensor, *, rules: Rules = NO_RULES
) -> list[Hypothesis]:
    """The likeliest word at each step, for a batch of sentences.

    Args:
        model: in evaluation mode.
        source: (B, S) tokens, padded behind; lengths: (B,).
        limits: (B,), the most tokens each output may have.
        rules: what outputs keep to.
    """
    return [found for (found,) in follow(model, source, lengths, limits, likeliest, rules=rules)]


def likeliest(log_probabilities: Tensor, rows: Tensor, step: int) -> Tensor:
    """The likeliest word of each row."""
    return log_probabilities.argmax(dim=-1)

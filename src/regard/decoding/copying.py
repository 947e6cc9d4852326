"""Which words of an output a model has copied, found out by running along it once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from regard.data.batches import rectangle
from regard.data.tokenization import START
from regard.decoding.hypothesis import Hypothesis

HALF = 0.5
"""A token counts as copied where copying has more than this share of its probability."""


@torch.inference_mode()
def mark_copied(
    network: Any, sources: Sequence[Sequence[int]], found: Sequence[Sequence[Hypothesis]]
) -> list[list[Hypothesis]]:
    """The hypotheses of each source, with which tokens were copied; as they are of a network that never does.

    Args:
        network: in evaluation mode; one that copies has `copies` and `copy_shares`, as
            `regard.models.transformer.TransformerTranslator`.
        sources: token ids of each source.
        found: the hypotheses of each.
    """
    marked = [list(hypotheses) for hypotheses in found]
    if not getattr(network, "copies", False):
        return marked
    rank = 0
    while places := [row for row, mine in enumerate(marked) if len(mine) > rank and mine[rank].tokens]:
        said = [marked[row][rank].tokens for row in places]
        source = torch.from_numpy(rectangle([sources[row] for row in places]))
        lengths = torch.tensor([len(sources[row]) for row in places])
        given = torch.from_numpy(rectangle([[START, *tokens[:-1]] for tokens in said]))
        shares = network.copy_shares(source, lengths, given, torch.from_numpy(rectangle(said)))
        for row, mine in zip(places, shares.float().numpy(), strict=True):
            hypothesis = marked[row][rank]
            marked[row][rank] = replace(hypothesis, copied=mine[: len(hypothesis.tokens)] > HALF)
        rank += 1
    return marked


def whole_words(copied: np.ndarray, words: Sequence[int]) -> set[int]:
    """The tokens of the words that were copied from their first token to their last.

    Args:
        copied: (T,), whether each token was copied; words: of which word each is part.
    """
    others = {word for word, yes in zip(words, copied, strict=True) if not yes}
    return {i for i, word in enumerate(words) if word not in others}

"""Models so small that everything they could say can be written down."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch

from regard.data.tokenization import END, PAD, START
from regard.decoding.beam import length_penalty
from regard.models.recurrent import RecurrentConfig, RecurrentTranslator

Said = tuple[list[int], float]
"""Tokens without start and end, and their log-probability, the end included."""


@pytest.fixture(scope="session")
def tiny() -> Callable[..., RecurrentTranslator]:
    """A model in evaluation mode that knows ``vocabulary`` tokens and has decided opinions."""

    def make(seed: int, vocabulary: int = 6, **settings) -> RecurrentTranslator:
        torch.manual_seed(seed)
        model = RecurrentTranslator(RecurrentConfig(embedding=6, width=8, **settings), vocabulary).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def sentences() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Sources (B, S) of a few lengths, padded behind, and the lengths (B,)."""

    def make(seed: int, vocabulary: int = 6, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, 6, (count,), generator=generator)
        source = torch.randint(4, vocabulary, (count, int(lengths.max())), generator=generator)
        return source.masked_fill(torch.arange(source.shape[1]) >= lengths[:, None], PAD), lengths

    return make


@pytest.fixture(scope="session")
def forced() -> Callable[..., tuple[float, torch.Tensor]]:
    """The log-probability of some tokens with the end, and the weights (T, S), by running along them."""

    @torch.no_grad()
    def run(
        model: RecurrentTranslator, source: torch.Tensor, tokens: list[int]
    ) -> tuple[float, torch.Tensor]:
        features, weights = model(source[None], torch.tensor([len(source)]), torch.tensor([[START, *tokens]]))
        said = torch.log_softmax(model.logits(features), dim=-1)[0]
        return float(said.gather(1, torch.tensor([*tokens, END])[:, None]).sum()), weights[0, : len(tokens)]

    return run


@pytest.fixture(scope="session")
def everything(forced) -> Callable[..., list[Said]]:
    """All that a model could say of a source in at most ``limit`` tokens, the best by score first."""

    def enumerate_all(
        model: RecurrentTranslator, source: torch.Tensor, limit: int, alpha: float
    ) -> list[Said]:
        words = [token for token in range(model.output.out_features) if token not in (PAD, START, END)]
        outputs = [list(said) for length in range(limit + 1) for said in product(words, repeat=length)]
        found = [(said, forced(model, source, said)[0]) for said in outputs]
        return sorted(found, key=lambda entry: -entry[1] / length_penalty(len(entry[0]) + 1, alpha))

    return enumerate_all

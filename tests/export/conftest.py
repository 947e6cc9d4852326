"""Models so small that they are written and read in a moment, and that have decided opinions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from regard.data.batches import rectangle
from regard.data.tokenization import END, START, Tokenizer
from regard.decoding.translator import Model, Search
from regard.models.architectures import CONFIGS, make

TEXTS = [
    "a man rides a horse",
    "the dog, a brown one, sleeps",
    "two men (and a dog) run!",
    "ein Mann reitet ein Pferd",
    "der Hund, ein brauner, schläft",
    "zwei Männer (und ein Hund) rennen!",
]
STEPS = 70
SMALL = {
    "transformer": {
        "norm": "post",
        "width": 16,
        "heads": 4,
        "feed_forward": 24,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "dropout": 0.0,
    },
    "recurrent": {"embedding": 8, "width": 8},
}


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Model]:
    """A model of some settings, in evaluation mode, by chance or taught so that it knows ends."""

    def build(
        architecture: str = "transformer",
        *,
        tokenizer: Any = "bpe",
        search: Search | None = None,
        taught: bool = False,
        **settings: Any,
    ) -> Model:
        torch.manual_seed(0)
        words = Tokenizer.train(TEXTS, tokenizer, vocabulary=90)
        network = make(CONFIGS[architecture](**SMALL[architecture] | settings), len(words))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * (0.05 if taught else 0.3))
        if taught:
            teach(network, words)
        search = search or Search(beam=3, longest_ratio=1.0, longest_extra=10)
        return Model(network.eval(), words, search=search, name="tiny")

    return build


def teach(network: Any, words: Tokenizer) -> None:
    """Go some steps towards saying each text's translation; so few that others stay likely."""
    ids = words.ids(TEXTS)
    said = [*ids[3:], *ids[:3]]
    given = torch.from_numpy(rectangle([[START, *row] for row in said]))
    wanted = torch.from_numpy(rectangle([[*row, END] for row in said]))
    source, lengths = torch.from_numpy(rectangle(ids)), torch.tensor([len(row) for row in ids])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (network.loss(source, lengths, given, wanted) / wanted.count_nonzero()).backward()
        optimizer.step()


@pytest.fixture(scope="session")
def forced() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Sources (B, S), their lengths (B,) and what a decoder is given (B, T), of the texts of a tokenizer."""

    def tensors(tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor]:
        ids = [encoded.ids for encoded in tokenizer.encode(TEXTS)]
        source, lengths = torch.from_numpy(rectangle(ids)), torch.tensor([len(row) for row in ids])
        return source, lengths, torch.from_numpy(rectangle([[START, *row] for row in ids[::-1]]))

    return tensors


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """A few texts of different lengths."""
    return TEXTS

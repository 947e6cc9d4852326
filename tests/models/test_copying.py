"""What copying is for: a model that copies says words that it has never met before; without, it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from regard.data.tokenization import END, START
from regard.models.architectures import Config, make
from regard.models.recurrent import RecurrentConfig
from regard.models.transformer import TransformerConfig

MARK, WORDS, KNOWN = 4, 400, 300
"""A token that says which word is meant; how many words there are, and how many are met in training."""

CONFIGS = {
    "recurrent": RecurrentConfig(embedding=24, width=32, embedding_dropout=0.0, dropout=0.0),
    "transformer": TransformerConfig(
        width=32, heads=2, feed_forward=48, encoder_layers=1, decoder_layers=1, dropout=0.0, norm="pre"
    ),
}


def task(said: range, generator: torch.Generator, rows: int = 64) -> tuple[Tensor, Tensor]:
    """Sources (B, 6) of known words, with a mark before one; what is to be said, (B,), which is that one."""
    words = torch.randint(MARK + 1, MARK + 1 + KNOWN, (rows, 5), generator=generator)
    place = torch.randint(0, 5, (rows,), generator=generator)
    wanted = torch.randint(said.start, said.stop, (rows,), generator=generator) + MARK + 1
    words[torch.arange(rows), place] = wanted
    source = torch.full((rows, 6), MARK)
    behind = torch.arange(5) >= place[:, None]
    source[torch.arange(rows)[:, None], torch.arange(5) + behind] = words
    return source, wanted


def learned(config: Config, steps: int = 220) -> Any:
    torch.manual_seed(0)
    model, generator = make(config, MARK + 1 + WORDS), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in range(steps):
        source, word = task(range(KNOWN), generator)
        given = torch.stack([torch.full_like(word, START), word], dim=1)
        wanted = torch.stack([word, torch.full_like(word, END)], dim=1)
        model.loss(source, torch.full((len(source),), 6), given, wanted).div(2 * len(source)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def share_right(model: Any, said: range) -> float:
    source, word = task(said, torch.Generator().manual_seed(2), rows=200)
    steps, state = model.start(model.encode(source, torch.full((200,), 6)))
    found = model.step(steps, state, torch.full((200,), START))[0].argmax(-1)
    return float((found == word).double().mean())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_model_that_copies_says_words_that_it_never_met_before(config):
    copying, without = learned(replace(config, copy=True)), learned(config)
    never_met = range(KNOWN, WORDS)
    assert share_right(copying, range(KNOWN)) > 0.9
    assert share_right(copying, never_met) > 0.6
    assert share_right(without, never_met) < 0.1

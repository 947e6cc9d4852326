"""Sampling: each word is drawn by its probability, perhaps sharpened, perhaps among the likeliest alone.

    p'(w) ∝ p(w)^(1/T)   for the k likeliest words w, and of these the fewest that have a share of p together

What is drawn for a text depends on the seed, the number of the text and that of the sample, and not on which
texts are in a batch.

Source: top-k: Fan, Lewis and Dauphin 2018, section 5.3, arXiv:1805.04833; nucleus: Holtzman et al. 2020,
section 3.1, arXiv:1904.09751.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regard.data.tokenization import END
from regard.decoding.beam import largest
from regard.decoding.constraints import NEVER, Rules
from regard.decoding.hypothesis import Hypothesis
from regard.decoding.paths import NO_RULES, follow
from regard.errors import InputError
from regard.models.interface import EncoderDecoder

FEW = 64
"""How many words are tried first, when words are to have a share of the probability together."""


@dataclass(frozen=True)
class Sampling:
    """How to draw.

    Args:
        samples: outputs of each text.
        temperature: T; below 1 likely words become likelier.
        top_k: how many words may be drawn; 0 for all.
        top_p: the share of the probability that they must have together.
        seed: of everything that is drawn; None takes another one each time.

    Raises:
        InputError: a number that cannot be meant.
    """

    samples: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"predict(): samples is at least 1; got {self.samples}.")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"predict(): temperature is greater than 0; got {self.temperature}.")
        if self.top_k < 0:
            raise InputError(f"predict(): top_k is at least 1, or 0 for all words; got {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"predict(): top_p is a share, above 0 and at most 1; got {self.top_p}.")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise InputError(f"predict(): seed is from 0 to 2⁶³ − 1; got {self.seed}.")


def narrowed(log_probabilities: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The distribution that is drawn from.

    Args:
        log_probabilities: (R, V).
        sampling: how to draw.

    Returns:
        probabilities (R, N) in float64, in falling order where words are left out, and the words (R, N).
    """
    warm = log_probabilities / sampling.temperature
    vocabulary = warm.shape[1]
    if 0 < sampling.top_k < vocabulary:
        warm, words = largest(warm, sampling.top_k)
        probabilities = torch.softmax(warm.double(), dim=1)
    elif sampling.top_p < 1:
        probabilities, words = _falling(warm, sampling.top_p)
    else:
        return torch.softmax(warm, dim=1).double(), torch.arange(vocabulary).expand_as(warm)
    if sampling.top_p < 1:
        before = probabilities.cumsum(dim=1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
        probabilities = probabilities / probabilities.sum(dim=1, keepdim=True)
    return probabilities, words


def _falling(warm: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Probabilities in falling order with their words: of a few where these have the share, else of all."""
    total = warm.double().logsumexp(dim=1, keepdim=True)
    found, words = largest(warm, min(FEW, warm.shape[1]))
    probabilities = (found.double() - total).exp()
    flat = (probabilities.sum(dim=1) < share).nonzero()[:, 0]
    if not len(flat) or words.shape[1] == warm.shape[1]:
        return probabilities, words
    more = warm.shape[1] - words.shape[1]
    probabilities, words = (torch.nn.functional.pad(part, (0, more)) for part in (probabilities, words))
    found, words[flat] = warm[flat].sort(dim=1, descending=True)
    probabilities[flat] = (found.double() - total[flat]).exp()
    return probabilities, words


class _Draw:
    """Draws a word for each row, by one number from 0 to 1 a row and step."""

    def __init__(self, sampling: Sampling, numbers: Sequence[int]) -> None:
        self.sampling = sampling
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self.generators = [
            np.random.default_rng([seed, number, sample])
            for number in numbers
            for sample in range(sampling.samples)
        ]

    def __call__(self, log_probabilities: Tensor, rows: Tensor, step: int) -> Tensor:
        impossible = log_probabilities.amax(dim=1) == NEVER
        if impossible.any():
            log_probabilities = log_probabilities.clone()
            log_probabilities[impossible, END] = 0.0
        probabilities, words = narrowed(log_probabilities, self.sampling)
        drawn = torch.tensor([self.generators[row].random() for row in rows.tolist()], dtype=torch.float64)
        sums = probabilities.cumsum(dim=1)
        sums = sums / sums[:, -1:]
        places = torch.searchsorted(sums, drawn[:, None], right=True)  # a word of probability 0 has no width
        return words.gather(1, places.clamp(max=words.shape[1] - 1))[:, 0]


def sample(
    model: EncoderDecoder,
    source: Tensor,
    lengths: Tensor,
    limits: Tensor,
    sampling: Sampling,
    *,
    numbers: Sequence[int] | None = None,
    rules: Rules = NO_RULES,
) -> list[list[Hypothesis]]:
    """Outputs drawn by their probability.

    Args:
        model: in evaluation mode.
        source: (B, S) tokens, padded behind; lengths: (B,).
        limits: (B,), the most tokens each output may have.
        sampling: how to draw, and how often.
        numbers: what each text is called, which with the seed decides what is drawn; None counts them.
        rules: what outputs keep to.

    Returns:
        `sampling.samples` hypotheses of each sentence. Their log-probabilities are the model's own.
    """
    draw = _Draw(sampling, range(len(source)) if numbers is None else numbers)
    return follow(model, source, lengths, limits, draw, times=sampling.samples, rules=rules)

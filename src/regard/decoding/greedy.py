"""Greedy search: the likeliest word at each step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regard.data.tokenization import END, PAD, START
from regard.models.interface import EncoderDecoder


@dataclass(frozen=True)
class Hypothesis:
    """One output.

    Args:
        tokens: without start and end.
        log_probability: of the tokens and the end, in nats, also where the end comes by the limit.
        score: what hypotheses are ranked by; for beam search divided by the length penalty.
        weights: (len(tokens), S), the attention of the steps that emitted them.
    """

    tokens: list[int]
    log_probability: float
    score: float
    weights: np.ndarray


def never_said(log_probabilities: Tensor) -> Tensor:
    """Log-probabilities with padding and start, which are given, not said, at −inf; written to in place."""
    log_probabilities[:, [PAD, START]] = float("-inf")
    return log_probabilities


@torch.inference_mode()
def greedy(model: EncoderDecoder, source: Tensor, lengths: Tensor, limits: Tensor) -> list[Hypothesis]:
    """The likeliest word at each step, for a batch of sentences.

    Args:
        model: in evaluation mode.
        source: (B, S) tokens, padded behind; lengths: (B,).
        limits: (B,), the most tokens each output may have.
    """
    encoded = model.encode(source, lengths)
    steps, state = model.start(encoded)
    words = torch.full((len(source),), START)
    running = torch.ones(len(source), dtype=torch.bool)
    total = torch.zeros(len(source))
    said, looked, alive = [], [], []
    for step in range(int(limits.max()) + 1):
        log_probabilities, weights, state = model.step(steps, state, words)
        words = torch.where(step < limits, never_said(log_probabilities).argmax(dim=-1), END)
        total += torch.where(running, log_probabilities.gather(1, words[:, None])[:, 0], 0.0)
        running = running & (words != END)
        said.append(words)
        looked.append(weights)
        alive.append(running)
        if not running.any():
            break
    tokens, counts = torch.stack(said, dim=1), torch.stack(alive).sum(0).tolist()
    weights = torch.stack(looked, dim=1).float().numpy()
    return [
        Hypothesis(tokens[i, :n].tolist(), score, score, weights[i, :n, : int(lengths[i])].copy())
        for i, (n, score) in enumerate(zip(counts, total.tolist(), strict=True))
    ]

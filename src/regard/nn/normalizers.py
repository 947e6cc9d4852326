"""Normalizers of `regard.core.normalizers` with learned parts, and with a gradient where they have none.

Each takes scores (…, K) and gives weights (…, K).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.core import normalizers
from regard.nn.hard import straight_through


class Entmax(nn.Module):
    """α-entmax with a learned α between 1.01, nearly softmax, and 1.99, nearly sparsemax; 1.5 to begin with.

    Source: Correia, Niculae and Martins 2019, section 3; arXiv:1909.00015.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Parameter(torch.tensor(0.0))

    def alpha(self) -> Tensor:
        """α; nearer to 1 rounding would spoil its gradient."""
        return 1.01 + 0.98 * torch.sigmoid(self.shape)

    def forward(self, scores: Tensor) -> Tensor:
        """Weights (…, K), each row with sum 1, most of them 0."""
        return normalizers.entmax(self.alpha())(scores)


class Sink(nn.Module):
    """Softmax with a learned sink: a key that is not there takes its share, and gives no value.

    Source: Xiao et al. 2024, eq. 2, arXiv:2309.17453; learned: OpenAI 2025 (gpt-oss), arXiv:2508.10925.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature, self.sink = temperature, nn.Parameter(torch.tensor(0.0))

    def forward(self, scores: Tensor) -> Tensor:
        """Weights (…, K), each row with a sum below 1."""
        return normalizers.softmax_with(temperature=self.temperature, sink=self.sink)(scores)


class Sigmoid(nn.Module):
    """Each key for itself, with a learned bias, negative at first so that not all are looked at.

    Source: Ramapuram et al. 2024, eq. 3; arXiv:2409.04431.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def forward(self, scores: Tensor) -> Tensor:
        """Weights (…, K), each from 0 to 1."""
        return normalizers.sigmoid_with(self.bias)(scores)


def straight_hardmax(scores: Tensor) -> Tensor:
    """The highest score gets all, with the gradient that softmax would have.

    Args:
        scores: (…, K), unbounded.

    Source:
        Bengio, Léonard and Courville 2013, section 4, without chance; arXiv:1308.3432.
    """
    return straight_through(normalizers.hardmax(scores), normalizers.softmax(scores))

"""Talking heads: every head hears the scores, and the weights, of all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.core.normalizers import Normalizer
from regard.core.scores import Score


class TalkingHeads(nn.Module):
    """Two matrices over the heads: one mixes their scores, the other their weights.

    At the start both leave everything as it is. Mixed weights need not be positive, nor sum to one. What is
    hidden should be hidden for all heads alike, since one head's weights reach the others.

    Args:
        heads: H.

    Source:
        Shazeer et al. 2020, section 3 and the code in appendix A, with as many heads before as after;
        arXiv:2003.02436.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.eye(heads))
        self.weights = nn.Parameter(torch.eye(heads))

    def score(self, score: Score) -> Score:
        """A score (…, H, Q, K) of every head's, from one of each head alone."""

        def mixed(query: Tensor, keys: Tensor) -> Tensor:
            return _mix(self.scores, score(query, keys))

        return mixed

    def normalizer(self, normalizer: Normalizer) -> Normalizer:
        """Weights (…, H, Q, K) of every head's, from a normalizer that treats each row alone."""

        def mixed(scores: Tensor) -> Tensor:
            return _mix(self.weights, normalizer(scores))

        return mixed


def _mix(matrix: Tensor, heads: Tensor) -> Tensor:
    return torch.einsum("hg,...hqk->...gqk", matrix.to(heads.dtype), heads)

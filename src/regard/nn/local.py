"""Local attention: a soft look at the keys around one position, which moves on steadily or is predicted.

With p_t the position and D the window, step t sees the keys s with |s − p_t| ≤ D:

    local-m:  p_t = t                              α_t(s) = softmax over the window
    local-p:  p_t = S · σ(v · tanh(W h_t))         α_t(s) = softmax over the window · exp(−(s − p_t)² / (2σ²))

with σ = D / 2, and S the sentence's length. Positions count from 0. What is picked is the window: no other
key is looked at, in training or in evaluation, and the look at the window's keys is soft.

Source: Luong, Pham and Manning 2015, section 3.2, eqs. 9 and 10; arXiv:1508.04025.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.core.normalizers import softmax
from regard.errors import InputError
from regard.nn.picking import Asked, Pick, Picker, hide
from regard.nn.precision import wide


def lengths_of(mask: Tensor) -> Tensor:
    """How many positions (…,) there are up to the last key that mask (…, K) shows; 0 where it shows none."""
    counted = torch.arange(1, mask.shape[-1] + 1, device=mask.device) * mask
    return F.pad(counted, (1, 0)).amax(-1)


def around(scores: Tensor, position: Tensor, window: int, mask: Tensor | None = None) -> Tensor:
    """The softmax of the scores over the keys that are at most ``window`` positions away.

    Args:
        scores: (…, K), unbounded.
        position: (…,), in keys from 0; need not be whole.
        window: D, in keys.
        mask: booleans that broadcast to the scores, True where a key is.

    Returns:
        (…, K), each row with sum 1; zeros where no key is near.

    Source:
        Luong et al. 2015, section 3.2, local-m.
    """
    near = _distance(scores, position.detach()).abs() <= window
    return softmax(hide(scores, near if mask is None else near & mask))


def around_predicted(scores: Tensor, position: Tensor, window: int, mask: Tensor | None = None) -> Tensor:
    """What `around` gives, times a Gaussian around the position, through which the position is learned.

    Args:
        scores, position, window, mask: as for `around`.

    Returns:
        (…, K), each row with a sum below 1.

    Source:
        Luong et al. 2015, eq. 10, with σ = D / 2.
    """
    distance = _distance(scores, position)
    gaussian = torch.exp(-2.0 * (distance / window) ** 2)  # (s − p)² / (2 (D / 2)²) is 2 ((s − p) / D)²
    return around(scores, position, window, mask) * gaussian


def _distance(scores: Tensor, position: Tensor) -> Tensor:
    keys = torch.arange(scores.shape[-1], device=scores.device, dtype=wide(scores).dtype)
    return keys - wide(position)[..., None]


class LocalMonotonic(Picker):
    """local-m: step t looks at the keys around position t, or around the last key once that is passed.

    Args:
        window: D, how many keys on each side are seen.

    Source: Luong et al. 2015, section 3.2.
    """

    def __init__(self, window: int = 2) -> None:
        super().__init__()
        _require_window("LocalMonotonic()", window, least=0)
        self.window = window

    def weigh(self, asked: Asked) -> Pick:
        """The softmax over the window."""
        last = lengths_of(asked.mask) - 1
        position = torch.minimum(asked.state.step, last)
        return asked.answer(around(asked.scores, position, self.window, asked.mask))


class LocalPredictive(Picker):
    """local-p: each step predicts from its query the position it looks around.

    Args:
        query_width: D_q, features of a query.
        window: D, how many keys on each side are seen; the Gaussian's σ is half of it.

    Source: Luong et al. 2015, eqs. 9 and 10.
    """

    def __init__(self, query_width: int, window: int = 2) -> None:
        super().__init__()
        _require_window("LocalPredictive()", window, least=1)
        self.window = window
        self.hidden = nn.Linear(query_width, query_width, bias=False)
        self.direction = nn.Parameter(torch.empty(query_width).uniform_(-1, 1) / query_width**0.5)

    def position(self, query: Tensor, lengths: Tensor) -> Tensor:
        """Where to look, (R,), from 0 to the lengths (R,), from query (R, D_q). Luong et al. 2015, eq. 9."""
        hidden = torch.tanh(wide(self.hidden(query)))
        # not as a product of matrices, which autocast would round: S · σ must tell neighbouring keys apart
        return lengths * torch.sigmoid((hidden * wide(self.direction)).sum(-1))

    def weigh(self, asked: Asked) -> Pick:
        """The softmax over the window, times the Gaussian."""
        position = self.position(asked.query, lengths_of(asked.mask))
        return asked.answer(around_predicted(asked.scores, position, self.window, asked.mask))


def _require_window(where: str, window: int, *, least: int) -> None:
    if window < least:
        raise InputError(f"{where}: window must be {least} or more keys on each side. Got {window}.")

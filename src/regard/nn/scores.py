"""Scores for a decoder: the keys are prepared once a sentence, the queries come step by step.

Each class is a score of `regard.core.scores` with its learned parts. ``prepare(keys)`` is done once a
sentence, and ``over(prepared)`` gives a function that is asked at each step. What it gives is what the
function of `regard.core.scores` gives, and a test says so. Scores that remember where was looked before are
in `regard.nn.coverage`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.errors import InputError
from regard.nn.precision import wide
from regard.nn.shared import Shared

StepScore = Callable[[Tensor, Tensor | None], Tensor]
"""queries (B, Q, D), and what the score remembers (B, Q, K), to scores (B, Q, K)."""

NEVER = float("-inf")


class Score(nn.Module):
    """How well a query matches the keys of a sentence.

    Attributes:
        remembers: whether a step's scores depend on where the steps before looked.
    """

    remembers = False

    def prepare(self, keys: Tensor) -> Tensor:
        """What is kept of the keys (B, K, D_k) for all steps, (B, K, …)."""
        return keys

    def over(self, prepared: Tensor) -> StepScore:
        """The score function of one batch of sentences."""
        raise NotImplementedError

    def start(self, key_mask: Tensor) -> Tensor | None:
        """What is remembered before the first step over sentences of key_mask (B, K): (B, K), or nothing."""
        return None

    def remember(self, before: Tensor | None, weights: Tensor) -> Tensor | None:
        """What is remembered once a step has looked with weights (R, K): (R, K), or nothing."""
        return None


class Dot(Score):
    """query · key, of one width or projected to it. Luong, Pham and Manning 2015, eq. 8; arXiv:1508.04025."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.project = _fitting(query_width, key_width)

    def prepare(self, keys: Tensor) -> Tensor:
        """Keys of the query's width, (B, K, D_q)."""
        return self.project(keys)

    def over(self, prepared: Tensor) -> StepScore:
        """The score function of one batch of sentences; prepared (B, K, D_q)."""
        return _products(prepared)


class ScaledDot(Dot):
    """query · key / √D. Vaswani et al. 2017, eq. 1; arXiv:1706.03762."""

    def prepare(self, keys: Tensor) -> Tensor:
        """Keys of the query's width, (B, K, D_q), divided by its root."""
        fitting = super().prepare(keys)
        return fitting / fitting.shape[-1] ** 0.5


class General(Dot):
    """query · W key. Luong et al. 2015, eq. 8, second line."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__(query_width, query_width)
        self.project = nn.Linear(key_width, query_width, bias=False)


class Cosine(Dot):
    """cos(query, key) / τ with a learned τ, as plain cosines are too much alike.

    Source: Graves, Wayne and Danihelka 2014, eq. 5 (their β is 1 / τ), arXiv:1410.5401.
    """

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__(query_width, key_width)
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))

    def temperature(self) -> Tensor:
        """τ, above 0; 0.1 to begin with."""
        return torch.exp(-self.log_sharpness)

    def prepare(self, keys: Tensor) -> Tensor:
        """Keys (B, K, D_q) of length 1 / τ."""
        return F.normalize(wide(super().prepare(keys)), dim=-1) / self.temperature()

    def over(self, prepared: Tensor) -> StepScore:
        """The score function of one batch of sentences; prepared (B, K, D_q)."""
        products = _products(prepared)
        return lambda query, before: products(F.normalize(wide(query), dim=-1), before)


class NegativeSquaredDistance(Dot):
    """−‖query − key‖²: attention as kernel regression. Nadaraya 1964; Watson 1964."""

    def over(self, prepared: Tensor) -> StepScore:
        """The score function of one batch of sentences; prepared (B, K, D_q)."""
        keys = wide(prepared)[:, None]
        return lambda query, before: -(wide(query)[:, :, None] - keys).square().sum(-1)


class OneHiddenLayer(Score):
    """v · tanh(W_q query + W_k key + …), wherever the two matrices are kept."""

    direction: nn.Parameter

    def matrices(self) -> tuple[Tensor, Tensor]:
        """W_q (A, D_q) and W_k (A, D_k)."""
        raise NotImplementedError

    def prepare(self, keys: Tensor) -> Tensor:
        """What keys (B, K, D_k) give to the hidden layer, (B, K, A)."""
        return F.linear(keys, self.matrices()[1])

    def over(self, prepared: Tensor) -> StepScore:
        """The score function of one batch of sentences; prepared (B, K, A)."""
        query_matrix, direction = Shared(self.matrices()[0]), self.direction.to(prepared.dtype)

        def score(query: Tensor, before: Tensor | None) -> Tensor:
            hidden = query_matrix(query.flatten(0, 1)).unflatten(0, query.shape[:2])[:, :, None]
            if before is not None:
                hidden = hidden + self.recalled(before).to(hidden.dtype)
            return _along(direction, torch.tanh(hidden + prepared[:, None]))

        return score

    def recalled(self, before: Tensor) -> Tensor:
        """What is remembered (B, Q, K), as hidden features (B, Q, K, A)."""
        raise NotImplementedError


class Additive(OneHiddenLayer):
    """v · tanh(W_q query + W_k key). Bahdanau, Cho and Bengio 2015, appendix A.1.2; arXiv:1409.0473."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, query_width, bias=False)
        self.keys = nn.Linear(key_width, query_width, bias=False)
        self.direction = _direction(query_width)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """W_q (A, D_q) and W_k (A, D_k)."""
        return self.query.weight, self.keys.weight


class Concat(OneHiddenLayer):
    """v · tanh(W [query; key]). Luong et al. 2015, eq. 8, third line: additive with both matrices in one."""

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.query_width = query_width
        self.joint = nn.Linear(query_width + key_width, query_width, bias=False)
        self.direction = _direction(query_width)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The columns of W that meet the query (A, D_q), and those that meet the key (A, D_k)."""
        return self.joint.weight[:, : self.query_width], self.joint.weight[:, self.query_width :]


class LearnedQuery(Score):
    """v · tanh(W key), whatever is asked: every step looks alike.

    Source: Yang et al. 2016, eqs. 5 and 6, doi:10.18653/v1/N16-1174.
    """

    def __init__(self, query_width: int, key_width: int) -> None:
        super().__init__()
        self.keys = nn.Linear(key_width, query_width, bias=False)
        self.direction = _direction(query_width)

    def prepare(self, keys: Tensor) -> Tensor:
        """The scores themselves, (B, K, 1)."""
        hidden = torch.tanh(self.keys(keys))
        return _along(self.direction.to(hidden.dtype), hidden)[..., None]

    def over(self, prepared: Tensor) -> StepScore:
        """The score function of one batch of sentences; prepared (B, K, 1)."""
        scores = prepared.transpose(1, 2)
        return lambda query, before: scores.expand(-1, query.shape[1], -1)


class Location(Score):
    """(W query)_j: from the query and the key's position alone.

    Args:
        query_width: D_q.
        positions: how many positions W has rows for; keys behind them are not looked at, as in the paper.

    Raises:
        InputError: there are no positions.

    Source: Luong, Pham and Manning 2015, section 3.1, "location"; arXiv:1508.04025.
    """

    def __init__(self, query_width: int, positions: int) -> None:
        super().__init__()
        if positions < 1:
            raise InputError(f"Location(): positions must be 1 or more. Got {positions}.")
        self.positions = nn.Linear(query_width, positions, bias=False)

    def prepare(self, keys: Tensor) -> Tensor:
        """Nothing but how many keys there are, (B, K, 0)."""
        return keys[..., :0]

    def over(self, prepared: Tensor) -> StepScore:
        """The score function of one batch of sentences; prepared (B, K, 0)."""
        count = prepared.shape[1]
        matrix = Shared(self.positions.weight[:count], narrow=False)

        def score(query: Tensor, before: Tensor | None) -> Tensor:
            known = matrix(query.flatten(0, 1)).unflatten(0, query.shape[:2])
            return F.pad(known, (0, count - known.shape[-1]), value=NEVER)

        return score


# Scores are float32 also under autocast: with eight bits, a score of 8 could not be told from one of 8.03.
# On a processor neither of the two ways to them is slower so.
def _products(prepared: Tensor) -> StepScore:
    shared = Shared(wide(prepared), narrow=False)
    return lambda query, before: shared(query)


def _along(direction: Tensor, hidden: Tensor) -> Tensor:
    """hidden (…, A) in one direction (A,)."""
    if hidden.dtype == direction.dtype and hidden.dtype in (torch.float32, torch.float64):
        return hidden @ direction
    return (hidden * direction).sum(-1, dtype=torch.float32)


def _fitting(query_width: int, key_width: int) -> nn.Module:
    """What makes keys as wide as the query."""
    same = query_width == key_width
    return nn.Identity() if same else nn.Linear(key_width, query_width, bias=False)


def _direction(width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(width).uniform_(-1, 1) / width**0.5)

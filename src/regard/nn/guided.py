"""Attention that is told where to look: the loss of not looking where words are linked.

    ℓ = −Σ_t Σ_k g_tk log α_tk

α_t is where the step that emits word t looks, and g_t where it should, each of its linked keys alike.

Sources: Chen, Matusov, Khadivi and Peter 2016, section 3, eq. 4 (cross-entropy), arXiv:1607.01628; for one
head of a Transformer: Garg, Peitz, Nallasamy and Paulik 2019, section 4.2, eq. 4, arXiv:1909.02074.
"""

from __future__ import annotations

from torch import Tensor

from regard.errors import ShapeError
from regard.nn.precision import wide

LEAST = 1e-9
"""What is added to a weight before its logarithm is taken, so that a weight of 0 has one."""


def guided_loss(weights: Tensor, wished: Tensor) -> Tensor:
    """How far weights are from where they are wished, summed over all steps, in nats.

    Args:
        weights: (B, Q, K), at least 0; a row sums to 1.
        wished: (B, Q, K), at least 0. A row of zeros wishes nothing; one that sums to less or more than 1
            counts so much less or more.

    Returns:
        A number. Its least value, the entropy of what is wished, is reached where both agree.

    Raises:
        ShapeError: weights and wishes of other shapes.
    """
    if weights.shape != wished.shape:
        raise ShapeError(
            f"guided_loss(): weights are {tuple(weights.shape)} but what is wished is {tuple(wished.shape)}; "
            "both need (B, Q, K)."
        )
    return -(wished * (wide(weights) + LEAST).log()).sum()

"""What every search gives."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from regard.errors import TrainingError


@dataclass(frozen=True)
class Hypothesis:
    """One output.

    Args:
        tokens: without start and end.
        log_probability: of the tokens and the end, in nats, also where the end comes by the limit.
        score: what hypotheses are ranked by; for beam search divided by the length penalty.
        weights: (len(tokens), S), the attention of the steps that emitted them.
        copied: (len(tokens),), which of them were copied from the source; None of a model that never copies.
    """

    tokens: list[int]
    log_probability: float
    score: float
    weights: np.ndarray
    copied: np.ndarray | None = None


def require_numbers(scores: Tensor) -> None:
    """Refuse to go on where a model has no probabilities to give.

    Raises:
        TrainingError: a score is NaN.
    """
    if scores.isnan().any():
        raise TrainingError(
            "predict(): the model's probabilities are not numbers; its weights have overflowed or are "
            "damaged. Train again, perhaps with a smaller training.learning_rate."
        )

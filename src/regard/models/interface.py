"""What search needs of an encoder–decoder, whatever it is made of."""

from typing import Any, Protocol

from torch import Tensor


class Selectable(Protocol):
    """Something kept for each row of a batch."""

    def select(self, rows: Tensor) -> Any:
        """The part that belongs to the given rows, in their order; a row may be repeated."""
        ...


class EncoderDecoder(Protocol):
    """A model that reads a sentence at once and says another word by word."""

    def encode(self, source: Tensor, lengths: Tensor) -> Selectable:
        """Read source tokens (B, S) of the given lengths (B,)."""
        ...

    def start(self, encoded: Any) -> tuple[Selectable, Selectable]:
        """What stays the same at each step, a row for each sentence, and the state before the first word."""
        ...

    def step(self, steps: Any, state: Any, words: Tensor) -> tuple[Tensor, Tensor, Selectable]:
        """From the last words to log-probabilities (R, V), weights (R, S) and the next state.

        Args:
            steps: from `start`, or the part of it that belongs to some sentences.
            state: of R rows: the same number of hypotheses for each sentence, one sentence after the other.
            words: (R,).
        """
        ...

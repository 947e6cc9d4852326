"""Vocabularies that somebody else made: the four special tokens moved to where regard has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regard.data.tokenization import END, SPECIAL_TOKENS, START, UNKNOWN, Encoded, Tokenizer
from regard.errors import RunError

SENTENCEPIECE = ("source.spm", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True)
class Renumbering:
    """Which of their tokens each of ours is.

    Args:
        original: for each of our tokens its number there; padding, unknown, start and end come first.
        start_is_a_copy: whether the start is another of their tokens as well, such as padding.
    """

    original: tuple[int, ...]
    start_is_a_copy: bool

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Renumbering:
        """Of a tokenizer that was read with its model; the same numbers where regard made it."""
        return getattr(tokenizer, "renumbering", cls(tuple(range(len(tokenizer))), False))

    @classmethod
    def moved(cls, count: int, pad: int, unknown: int, start: int, end: int) -> Renumbering:
        """Of so many tokens there, with the numbers of the special ones there."""
        first = (pad, unknown, start, end)
        rest = (number for number in range(count) if number not in first)
        return cls((*first, *rest), start in (pad, unknown, end))

    def rows(self, theirs: Tensor) -> Tensor:
        """What belongs to their tokens (V, …), in our order."""
        return theirs[torch.tensor(self.original)]

    def ours(self) -> dict[int, int]:
        """From their numbers to ours."""
        numbers = {theirs: ours for ours, theirs in enumerate(self.original)}
        if self.start_is_a_copy:
            twin = self.original[START]
            numbers[twin] = next(i for i, theirs in enumerate(self.original) if theirs == twin and i != START)
        return numbers


class ForeignTokenizer(Tokenizer):
    """A tokenizer of `transformers` with a sentencepiece vocabulary, under regard's numbers.

    Its sources end with an end token, as those that the model was trained on did; in a picture it is a word
    of its own.

    Args:
        theirs: as `transformers` gives it.
        renumbering: from our numbers to theirs.
    """

    def __init__(self, theirs: Any, renumbering: Renumbering) -> None:
        self.theirs, self.renumbering = theirs, renumbering
        self.tokens = [str(token) for token in theirs.convert_ids_to_tokens(list(renumbering.original))]
        self.tokens[: len(SPECIAL_TOKENS)] = SPECIAL_TOKENS
        self.characters, self.subwords, self.splits_punctuation = False, True, True
        self._ours = renumbering.ours()

    @property
    def original(self) -> tuple[int, ...]:
        """For each token its number in the folder that it came from."""
        return self.renumbering.original

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Cut texts into tokens, the end behind them, without start."""
        return [self._cut(text) for text in texts]

    def ids(
        self, texts: Sequence[str], *, dropout: float = 0.0, seed: int | Sequence[int] = 0
    ) -> list[list[int]]:
        """The tokens' ids alone; it cuts in one way, whatever the dropout."""
        return [encoded.ids for encoded in self.encode(texts)]

    def _cut(self, text: str) -> Encoded:
        pieces = self.theirs.tokenize(text)
        numbers = self.theirs.convert_tokens_to_ids(pieces)
        ids = [self._ours.get(number, UNKNOWN) for number in numbers]
        return Encoded([*ids, END], [*pieces, SPECIAL_TOKENS[END]]) if ids else Encoded([], [])

    def words(self, tokens: Sequence[str], *, at_spaces_only: bool = False) -> list[int]:
        """Which word each token is part of; the end is one of its own."""
        ends = bool(tokens) and tokens[-1] == SPECIAL_TOKENS[END]
        numbers = super().words(tokens[:-1] if ends else tokens, at_spaces_only=at_spaces_only)
        return [*numbers, numbers[-1] + 1 if numbers else 0] if ends else numbers

    def save(self, path: Path) -> None:
        """Refused: it is no `tokenizer.json`.

        Raises:
            RunError: always.
        """
        raise RunError(f"{path}: a sentencepiece vocabulary cannot be written as a tokenizer.json.")


class NoTokenizer(Tokenizer):
    """Stands where a folder has no tokenizer: the network can be asked with numbers, but not with texts."""

    def __init__(self, folder: Path, renumbering: Renumbering) -> None:
        self.folder, self.renumbering = folder, renumbering
        self.tokens = [f"▁{number}" for number in renumbering.original]
        self.tokens[: len(SPECIAL_TOKENS)] = SPECIAL_TOKENS
        self.characters, self.subwords, self.splits_punctuation = False, True, False

    @property
    def original(self) -> tuple[int, ...]:
        """For each token its number in the folder that it came from."""
        return self.renumbering.original

    def _missing(self) -> RunError:
        return RunError(
            f"{self.folder}: there is no tokenizer (neither tokenizer.json nor source.spm with vocab.json), "
            f"so texts cannot be read; model.network takes numbers."
        )

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Refused; RunError."""
        raise self._missing()

    def ids(
        self, texts: Sequence[str], *, dropout: float = 0.0, seed: int | Sequence[int] = 0
    ) -> list[list[int]]:
        """Refused; RunError."""
        raise self._missing()

    def save(self, path: Path) -> None:
        """Refused; RunError."""
        raise self._missing()


def read_tokenizer(folder: Path, count: int, pad: int, start: int | None, end: int) -> Tokenizer:
    """The tokenizer of a folder of `transformers`.

    Args:
        folder: with a tokenizer.json of regard's, or with a sentencepiece vocabulary, or with none.
        count: how many tokens the model has.
        pad, start, end: the numbers of special tokens there; no start for padding.

    Raises:
        RunError: a tokenizer of another kind, or the packages that read it are missing.
    """
    start = pad if start is None else start
    ordinary = (pad, start, end) == (0, START, END)
    if (folder / "tokenizer.json").exists() and ordinary:
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        if len(tokenizer) != count:
            raise RunError(f"{folder}: tokenizer.json has {len(tokenizer)} tokens, but the model {count}.")
        return tokenizer
    if not any((folder / name).exists() for name in (*SENTENCEPIECE, "tokenizer.json")):
        if ordinary:
            return NoTokenizer(folder, Renumbering(tuple(range(count)), False))
        unknown = next(i for i in (1, 0, 2, 3) if i not in (pad, start, end))
        return NoTokenizer(folder, Renumbering.moved(count, pad, unknown, start, end))
    theirs = _borrowed(folder)
    return ForeignTokenizer(theirs, Renumbering.moved(count, pad, theirs.unk_token_id, start, end))


def _borrowed(folder: Path) -> Any:
    import warnings

    try:
        import sentencepiece  # noqa: F401
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise RunError(
            f"{folder}: its vocabulary is read by transformers and sentencepiece, and {error.name} is "
            f"missing. Install them with: pip install 'regard[export]'"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sacremoses would be nice to have
        try:
            return AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # whatever the library raises at files that it cannot read
            raise RunError(f"{folder}: its tokenizer cannot be read: {error}") from None

"""Text to tokens and back: subwords (BPE), words or characters, learned from the user's own text.

Training and the file format (`tokenizer.json`) are Hugging Face's `tokenizers`; source and target share one
vocabulary. Subwords and words keep the space before them as ``▁``, so that joining the tokens gives the text
back but for spaces at its ends (a ``▁`` in a text is taken for a space), and punctuation stands on its own
unless ``split_punctuation`` is off, as it should be for text that is tokenised already.

Source of byte-pair encoding for words: Sennrich, Haddow and Birch 2016, arXiv:1508.07909.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from regard.data.bpe_dropout import CutTexts, Merges
from regard.data.ragged import Ragged
from regard.errors import RecipeError, RunError

if TYPE_CHECKING:
    import tokenizers

TokenizerKind = Literal["bpe", "word", "character"]

PAD, UNKNOWN, START, END = range(4)
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
SPACE = "▁"
UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""How the Unicode names of letters begin that are written without spaces between words."""


@dataclass(frozen=True)
class Encoded:
    """A text as tokens: their ids, and how each is spelt; an unknown one as it stood in the text."""

    ids: list[int]
    tokens: list[str]

    @property
    def unknown(self) -> int:
        """How many tokens the vocabulary does not hold."""
        return self.ids.count(UNKNOWN)


class Tokenizer:
    """One vocabulary for source and target. Made by `train` or `load`.

    Args:
        backend: a `tokenizers.Tokenizer` whose first four tokens are `SPECIAL_TOKENS`.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.encode_special_tokens = True  # «</s>» in somebody's text is text
        self.backend = backend
        vocabulary = backend.get_vocab()
        self.tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        parts = {
            name: part.get("type")
            for name, part in json.loads(backend.to_str()).items()
            if isinstance(part, dict)
        }
        self.characters, self.subwords = parts.get("decoder") == "Fuse", parts.get("model") == "BPE"
        self.splits_punctuation = parts.get("pre_tokenizer") == "Sequence"
        if not (self.characters or self.subwords):
            self.tokens[UNKNOWN] = SPACE + SPECIAL_TOKENS[UNKNOWN]  # as most words, it stands after a space

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: TokenizerKind = "bpe",
        *,
        vocabulary: int = 8000,
        split_punctuation: bool = True,
    ) -> Tokenizer:
        """Learn a vocabulary from texts.

        Args:
            texts: source and target texts alike.
            kind: "bpe" for subwords, "word", or "character".
            vocabulary: at most this many tokens, the four special ones among them.
            split_punctuation: whether a punctuation mark is a token of its own.
        """
        texts = list(texts)
        backend, trainer = _untrained(kind, vocabulary, split_punctuation, texts)
        backend.train_from_iterator(texts, trainer)
        return cls(backend)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a `tokenizer.json`.

        Raises:
            RunError: the file is missing, cut short, or not made by regard.
        """
        import tokenizers

        try:
            text = path.read_text(encoding="utf-8")
            backend = tokenizers.Tokenizer.from_str(text)
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(
                f"{path}: the tokenizer cannot be read ({error}). Train again, or restore the file."
            ) from None
        except Exception:  # the library raises plain Exception
            raise RunError(f"{path}: not a whole tokenizer. Train again, or restore the file.") from None
        if [backend.id_to_token(i) for i in range(4)] != list(SPECIAL_TOKENS):
            raise RunError(
                f"{path}: its first tokens are not {' '.join(SPECIAL_TOKENS)}; regard did not make it."
            )
        return cls(backend)

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`."""
        path.write_text(self.backend.to_str(pretty=True), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Cut texts into tokens, without start and end."""
        return [
            self._encoded(text, e)
            for text, e in zip(texts, self.backend.encode_batch(list(texts)), strict=True)
        ]

    def ids(
        self, texts: Sequence[str], *, dropout: float = 0.0, seed: int | Sequence[int] = 0
    ) -> list[list[int]]:
        """The tokens' ids alone, which is what training needs.

        Args:
            texts: any.
            dropout: the probability with which a merge is left out, so that words are cut in many ways; see
                `bpe_dropout`.
            seed: of the draws; the same texts and seed give the same tokens.

        Raises:
            RecipeError: dropout is not a probability, or the tokens are not subwords.
        """
        if not dropout:
            return [[_known(i) for i in e.ids] for e in self.backend.encode_batch_fast(list(texts))]
        return self.recut(self.cut(texts), dropout, np.random.default_rng(seed)).tolist()

    def cut(self, texts: Sequence[str]) -> CutTexts:
        """The tokens' ids with the places where words begin, from which `recut` cuts the texts anew."""
        encoded = self.backend.encode_batch(list(texts))
        ids = Ragged.of([e.ids for e in encoded])
        words = np.fromiter(chain.from_iterable(e.word_ids for e in encoded), np.int64, len(ids.values))
        first = np.ones(len(words), dtype=bool)
        first[1:] = words[1:] != words[:-1]
        first[ids.offsets[:-1][ids.lengths > 0]] = True
        return CutTexts(Ragged(_all_known(ids.values), ids.offsets), first)

    def recut(
        self, texts: CutTexts, dropout: float, random: np.random.Generator, longest: int | None = None
    ) -> Ragged:
        """Token ids of the same texts, each merge left out with the probability `dropout`.

        Args:
            texts: as `cut` gives them.
            dropout: from 0 to 1.
            random: what draws.
            longest: a text that would have more tokens than this stays as it is.

        Raises:
            RecipeError: dropout is not a probability, or the tokens are not subwords.
        """
        if not self.subwords:
            raise RecipeError(
                f"BPE-dropout of {dropout} needs a tokenizer of subwords (bpe); this one has none."
            )
        if not 0 <= dropout <= 1:
            raise RecipeError(f"BPE-dropout is a probability from 0 to 1; got {dropout}.")
        ids = self._merges.cut(texts, dropout, random)
        ids = Ragged(_all_known(ids.values), ids.offsets)
        if longest is None or not len(ids) or ids.lengths.max() <= longest:
            return ids
        both = Ragged.with_lengths(
            np.concatenate([ids.values, texts.ids.values]), np.concatenate([ids.lengths, texts.ids.lengths])
        )
        rows = np.arange(len(ids))
        return both.take(np.where(ids.lengths > longest, len(ids) + rows, rows))

    @cached_property
    def _merges(self) -> Merges:
        model = json.loads(self.backend.to_str())["model"]
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        merges = [(left, right) for left, right in pairs]
        return Merges(merges, model["vocab"], len(SPECIAL_TOKENS))

    def _encoded(self, text: str, encoding: tokenizers.Encoding) -> Encoded:
        ids = [_known(i) for i in encoding.ids]
        return Encoded(ids, self._spelt(text, ids, encoding) if UNKNOWN in ids else encoding.tokens)

    def _spelt(self, text: str, ids: Sequence[int], encoding: tokenizers.Encoding) -> list[str]:
        """The tokens of a text, unknown ones as they stand in it, with the mark of the space before them."""
        if not self.subwords:  # a token is one of the pieces that the text was first cut into
            return [piece for piece, _ in self.backend.pre_tokenizer.pre_tokenize_str(text)]
        return [
            text[slice(*span)] if i == UNKNOWN else token
            for i, token, span in zip(ids, encoding.tokens, encoding.offsets, strict=True)
        ]

    def join(self, tokens: Sequence[str]) -> str:
        """The text that tokens spell."""
        text = "".join(tokens)
        return text if self.characters else text.replace(SPACE, " ").strip()

    def words(self, tokens: Sequence[str], *, at_spaces_only: bool = False) -> list[int]:
        """Which word each token is part of, counted from 0.

        A word begins at a space. Where punctuation is split, and unless ``at_spaces_only``, a punctuation
        mark is a word of its own, and so is each token in a script that is written without spaces. With a
        tokenizer of characters each character is a word.
        """
        if self.characters:
            return list(range(len(tokens)))
        at_spaces_only = at_spaces_only or not self.splits_punctuation
        numbers: list[int] = []
        last = 0
        for before, token in zip(["", *tokens], tokens, strict=False):
            numbers.append((numbers[-1] if numbers else 0) + _begins_word(token, before, at_spaces_only))
            last = last if is_blank(token) else numbers[-1]
        return [min(number, last) for number in numbers]


def _begins_word(token: str, before: str, at_spaces_only: bool) -> bool:
    """Whether a token begins a word, after the one before it; a space alone is part of what follows."""
    if is_blank(before) or is_mark(token):
        return False
    alone = not at_spaces_only and (stands_alone(token[0]) or stands_alone(before[-1]))
    return token.startswith(SPACE) or alone


def is_blank(token: str) -> bool:
    """Whether a token is nothing but a space."""
    return not token.strip(SPACE)


def is_mark(token: str) -> bool:
    """Whether a token begins with a mark that combines with the character before it."""
    return unicodedata.category(token[0])[0] == "M"


def stands_alone(character: str) -> bool:
    """Whether no word goes on across it: punctuation, or a letter of a script without spaces."""
    if unicodedata.category(character)[0] == "L":
        return unicodedata.name(character, "").startswith(UNSPACED_SCRIPTS)
    return unicodedata.category(character)[0] == "P"


def _known(token: int) -> int:
    """An ordinary token's id; the name of a special token, spelt out in a text, is an unknown word."""
    return token if token >= len(SPECIAL_TOKENS) else UNKNOWN


def _all_known(ids: np.ndarray) -> np.ndarray:
    """The same for an array of ids."""
    return np.where(ids < len(SPECIAL_TOKENS), np.int32(UNKNOWN), ids)


def _alphabet(texts: Iterable[str], vocabulary: int) -> list[str]:
    """The commonest characters, at most as many as leave half the vocabulary to longer pieces.

    The trainer would choose among equally rare ones by chance, and the same text give another vocabulary.
    """
    counts = Counter[str]()
    for text in texts:
        counts.update(text.replace(" ", SPACE))
    most = max(1, min(vocabulary // 2, vocabulary - len(SPECIAL_TOKENS)))
    return [SPACE, *sorted(counts.keys() - {SPACE}, key=lambda c: (-counts[c], c))][:most]


def _untrained(
    kind: TokenizerKind, vocabulary: int, split_punctuation: bool, texts: Sequence[str]
) -> tuple[tokenizers.Tokenizer, tokenizers.trainers.Trainer]:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    special = list(SPECIAL_TOKENS)
    unknown = SPECIAL_TOKENS[UNKNOWN]
    if kind == "bpe":
        backend = Tokenizer(models.BPE(unk_token=unknown))
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            special_tokens=special,
            initial_alphabet=(alphabet := _alphabet(texts, vocabulary)),
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
    else:
        backend = Tokenizer(models.WordLevel(unk_token=unknown))
        trainer = trainers.WordLevelTrainer(
            vocab_size=vocabulary, special_tokens=special, show_progress=False
        )
    if kind == "character":
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m:.)"), "isolated")
        backend.decoder = decoders.Fuse()
    else:
        spaces = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
        marks = pre_tokenizers.Punctuation("isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([spaces, marks]) if split_punctuation else spaces
        backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return backend, trainer

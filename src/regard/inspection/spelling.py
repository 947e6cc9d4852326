"""Tokens as they are read: the piece of text that each stands for, never the marks of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regard.errors import InputError

BYTES = {
    chr(stand_in): byte
    for byte, stand_in in zip(
        [*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173],
        [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 256 + 68)],
        strict=True,
    )
}
"""What byte-level tokenizers write for each byte (GPT-2's table)."""


def spelt(tokenizer: Any, numbers: Sequence[int]) -> tuple[str, ...]:
    """What each token stands for; its number in angle brackets where the tokenizer does not know it.

    Args:
        tokenizer: of `transformers` or `tokenizers`.
        numbers: of the tokens.
    """
    if tokenizer is None:
        return tuple(map(str, numbers))
    name = getattr(tokenizer, "convert_ids_to_tokens", None) or tokenizer.id_to_token
    names = [name(int(number)) for number in numbers]
    byte_level = any(token and token[0] in "ĠĊ" for token in names)
    return tuple(
        f"<{number}>" if token is None else _read(token, byte_level)
        for token, number in zip(names, numbers, strict=True)
    )


def _read(token: str, byte_level: bool) -> str:
    if byte_level and all(letter in BYTES for letter in token):
        spelt = bytes(BYTES[letter] for letter in token)
        # Part of a letter is shown as its bytes.
        try:
            return spelt.decode()
        except UnicodeDecodeError:
            return "".join(f"<{byte:02X}>" if byte > 127 else chr(byte) for byte in spelt)
    return token.replace("▁", " ") if "▁" in token else token


def encoded(tokenizer: Any, texts: Sequence[str]) -> tuple[list[list[int]], int]:
    """The tokens of each text with all that the model expects around them, and the number to fill up with.

    Args:
        tokenizer: of `transformers` or `tokenizers`.
        texts: at least one.

    Raises:
        InputError: no tokenizer, or a text without a token.
    """
    if tokenizer is None:
        raise InputError("capture(): a text needs tokenizer=, the one that the model was trained with.")
    if hasattr(tokenizer, "encode_batch"):
        found, fill = tokenizer.encode_batch(list(texts)), 0
        if cut := next((one for one in found if one.overflowing), None):
            raise InputError(
                f"capture(): the tokenizer cuts texts after {sum(cut.attention_mask):,} tokens. Call its "
                f"no_truncation(), or cut the text yourself."
            )
        rows = [[n for n, there in zip(one.ids, one.attention_mask, strict=True) if there] for one in found]
    else:
        rows = [list(tokenizer(text, verbose=False)["input_ids"]) for text in texts]
        fill = tokenizer.pad_token_id or 0
    for text, row in zip(texts, rows, strict=True):
        if not row:
            raise InputError(f"capture(): the text {text!r} has no token to look at. Give some words.")
    return rows, fill


def separators_of(tokenizer: Any, numbers: Sequence[int]) -> list[int]:
    """Where separators stand: the tokens that the tokenizer puts between texts or at their end."""
    kinds = {getattr(tokenizer, f"{kind}_token_id", None) for kind in ("sep", "eos")}
    if tokenizer is not None and hasattr(tokenizer, "token_to_id"):
        kinds |= {tokenizer.token_to_id(name) for name in ("[SEP]", "</s>", "<|endoftext|>")}
    return [position for position, number in enumerate(numbers) if int(number) in kinds - {None}]

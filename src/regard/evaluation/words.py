"""Words out of subwords: which tokens of a text spell a word together, and a record between whole words.

A reader asks where a model looks from one word to another; a model knows tokens. What looks at a word looks
at any of its tokens, so their weights are added; a word looks as its tokens do on average (Clark et al. 2019,
"What Does BERT Look At?", section 4.1). A row that sums to 1 still does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from regard.data.tokenization import is_mark, stands_alone
from regard.evaluation.alignment import merge_pieces
from regard.record import AttentionRecord

__all__ = ["Words", "carries_spaces", "in_words", "words_of"]

Marks = Literal["space", "##", "</w>", "@@"]

_SPACES = (" ", "▁")
_SPECIAL = re.compile(r"<(?!/w>)[^<>\s]+>|\[[A-Z]+\]")
_PART_OF_LETTER = re.compile(r"(?:<[89A-F][0-9A-F]>)+")
_ONLY_BYTES = re.compile(rf"([ ▁]?)({_PART_OF_LETTER.pattern})")


@dataclass(frozen=True)
class Words:
    """The words of a record's tokens.

    Attributes:
        queries: for each query token the number of its word, from 0.
        keys: for each key token the number of its word.
        of_queries: how the words are spelt that look, without a tokenizer's marks.
        of_keys: how those are spelt that are looked at.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    of_queries: tuple[str, ...]
    of_keys: tuple[str, ...]


def words_of(record: AttentionRecord) -> Words | None:
    """Which word each token of a record is part of; None where the tokens are words.

    Known are the marks of four kinds of tokenizer: ``##`` before a token that goes on with a word
    (WordPiece), a space or ``▁`` before one that begins a word (GPT, SentencePiece), ``</w>`` behind one that
    ends a word, and ``@@`` behind one that does not (other byte-pair encodings). Punctuation and letters of
    scripts without spaces stay apart, as do special tokens; bytes that spell one letter belong together.

    Args:
        record: between tokens.
    """
    marks = _marks((*record.query_tokens, *record.key_tokens))
    if marks is None:
        return None
    queries, keys = _numbers(record.query_tokens, marks), _numbers(record.key_tokens, marks)
    return Words(
        queries, keys, _spelt(record.query_tokens, queries, marks), _spelt(record.key_tokens, keys, marks)
    )


def in_words(record: AttentionRecord, words: Words | None = None) -> AttentionRecord:
    """The same record between whole words, spelt without a tokenizer's marks.

    Numbers of the heads stay those of the tokens. A record of rectangles (`AttentionRecord.pooled`) stays as
    it is, and so does one whose tokens are words.

    Args:
        record: between tokens.
        words: of its tokens, where they are known already.
    """
    words = (words or words_of(record)) if record.whole else None
    if words is None:
        return record
    between = {
        name: frozenset((words.queries[query], words.keys[key]) for query, key in getattr(record, name))
        for name in ("sure", "possible")
    }
    return replace(
        record,
        weights=merge_pieces(record.weights, words.queries, words.keys),
        query_tokens=words.of_queries,
        key_tokens=words.of_keys,
        copied=frozenset(words.queries[query] for query in record.copied),
        **between,
    )


def carries_spaces(tokens: Sequence[str]) -> bool:
    """Whether tokens bring the spaces between words with them, as those of GPTs do: `` the``, ``▁the``."""
    return any(token[:1] in _SPACES and token[1:].strip() for token in tokens)


def _marks(tokens: Sequence[str]) -> Marks | None:
    """How these tokens say where words begin and end; None where each is a word."""
    if carries_spaces(tokens):
        return "space"
    if any(token.endswith("</w>") and token != "</w>" for token in tokens):
        return "</w>"
    if any(token.startswith("##") and token.strip("#") for token in tokens):
        return "##"
    if any(token.endswith("@@") and token.strip("@") for token in tokens):
        return "@@"
    return None


def _numbers(tokens: Sequence[str], marks: Marks) -> tuple[int, ...]:
    read = _read(tokens) if marks == "space" else [(token, False) for token in tokens]
    numbers: list[int] = []
    for index, (token, inside) in enumerate(read):
        together = index > 0 and (inside or _goes_on(read[index - 1][0], token, marks))
        numbers.append((numbers[-1] if numbers else -1) + (not together))
    return tuple(numbers)


def _read(tokens: Sequence[str]) -> list[tuple[str, bool]]:
    """Each token as it is read, bytes as the letter that they are part of; and whether that began before."""
    found: list[tuple[str, bool]] = []
    before = False
    for index, token in enumerate(tokens):
        match = _ONLY_BYTES.fullmatch(token)
        if match is None:
            found.append((token, False))
        elif before and not match[1] and _bytes(match[2])[0] < 0xC0:  # not the first byte of a letter
            found.append((found[-1][0], True))
        else:
            run = _PART_OF_LETTER.match("".join([match[2], *tokens[index + 1 : index + 4]]))
            letter = _bytes(run[0])[:4].decode(errors="ignore")[:1] if run else ""
            found.append((match[1] + letter if letter else token, False))
        before = match is not None
    return found


def _goes_on(before: str, token: str, marks: Marks) -> bool:
    """Whether a token goes on with the word of the one before it."""
    match marks:
        case "space":
            return _without_a_space(before, token)
        case "##":
            return token.startswith("##") and len(token) > 2
        case "</w>":
            return not (before.endswith("</w>") or _apart(before, token))
        case "@@":
            return before.endswith("@@")


def _without_a_space(before: str, token: str) -> bool:
    if _apart(before, token) or token[0] in _SPACES or token[0].isspace():
        return False
    if before in _SPACES or is_mark(token):
        return True
    return not (before[-1].isspace() or stands_alone(token[0]) or stands_alone(before[-1]))


def _apart(before: str, token: str) -> bool:
    """Whether one of two tokens is a special one, or empty."""
    return any(not one or _SPECIAL.fullmatch(one) for one in (before, token))


def _spelt(tokens: Sequence[str], numbers: Sequence[int], marks: Marks) -> tuple[str, ...]:
    """The words that tokens spell, without marks; a special token or a space alone stays as it is."""
    pieces: list[list[str]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for token, number in zip(tokens, numbers, strict=True):
        pieces[number].append(token)
    return tuple(_word(of_one, marks) for of_one in pieces)


def _word(pieces: Sequence[str], marks: Marks) -> str:
    match marks:
        case "space":
            word = _PART_OF_LETTER.sub(_letters, "".join(pieces))
            return word[1:] if word[:1] in _SPACES and word[1:].strip() else word
        case "##":
            return pieces[0] + "".join(piece[2:] for piece in pieces[1:])
        case "</w>":
            return "".join(pieces).removesuffix("</w>") or pieces[0]
        case "@@":
            return "".join(piece.removesuffix("@@") for piece in pieces) or pieces[0]


def _letters(found: re.Match[str]) -> str:
    """What bytes spell, where that is whole letters."""
    try:
        return _bytes(found[0]).decode()
    except UnicodeDecodeError:
        return found[0]


def _bytes(spelt: str) -> bytes:
    return bytes.fromhex(re.sub("[<>]", "", spelt))

"""The links that guide attention while it learns: somebody's, or induced from the training pairs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from regard.data.corpora import Corpus, Pair
from regard.data.lines import error_at
from regard.data.links import Link, WordLinks
from regard.data.tokenization import Tokenizer
from regard.errors import InputError, RecipeError
from regard.evaluation.alignment import read_links
from regard.evaluation.induced import induced_links
from regard.training.recipe import Recipe

GivenLinks = str | os.PathLike[str] | Sequence[Collection[Link]]
"""A file of links, see `read_links`, or the links (target word, source word) of each pair."""


def given_links(links: GivenLinks, corpus: Corpus) -> list[Collection[Link]]:
    """The links of each pair of a corpus, sure and possible ones alike.

    Raises:
        CorpusError: a file that cannot be read, or a link to a word that is not there; names the line.
        InputError: not one set of links for each pair.
    """
    if isinstance(links, str | os.PathLike):
        name = os.fspath(links)
        sure, possible = read_links(links, transpose=True)
        found: list[Collection[Link]] = [must | may for must, may in zip(sure, possible, strict=True)]
    else:
        name, found = "links", list(links)
    if len(found) != len(corpus):
        skipped = f", after {corpus.empty:,} with an empty side were skipped" if corpus.empty else ""
        raise InputError(
            f"{name}: {len(found):,} lines of links but {len(corpus):,} pairs{skipped}; one is needed for "
            "each."
        )
    return found


def check_links(links: Sequence[Collection[Link]], corpus: Corpus, tokenizer: Tokenizer, name: str) -> None:
    """Refuse links to words that are not there; words stand between spaces, or are characters.

    Raises:
        CorpusError: names the line.
    """
    for line, (pair, each) in enumerate(zip(corpus.pairs, links, strict=True), start=1):
        sides = [len(text if tokenizer.characters else text.split()) for text in (pair.target, pair.source)]
        for target, source in each:
            if not (0 <= target < sides[0] and 0 <= source < sides[1]):
                message = (
                    f"links source word {source} with target word {target}, but the pair has only {sides[1]} "
                    f"source and {sides[0]} target words, counted from 0."
                )
                raise error_at(name, line, message)


def name_of(links: GivenLinks) -> str:
    """What errors call these links."""
    return os.fspath(links) if isinstance(links, str | os.PathLike) else "links"


def recorded_links(links: GivenLinks | None, found: Sequence[Collection[Link]] | None) -> dict[str, str]:
    """What a run writes down of given links: the file, where there is one, and a digest."""
    if links is None or found is None:
        return {}
    values = {"links_digest": links_digest(found)}
    if isinstance(links, str | os.PathLike):
        values["links_file"] = str(Path(links).resolve())
    return values


def links_digest(links: Sequence[Collection[Link]]) -> str:
    """A SHA-256 over the links of all pairs, in their order."""
    total = hashlib.sha256()
    for each in links:
        total.update(f"{sorted((int(i), int(j)) for i, j in each)}\n".encode())
    return total.hexdigest()


def require_guidable(recipe: Recipe, links: GivenLinks | None) -> None:
    """Links without a setting that heeds them are not meant.

    Raises:
        RecipeError: links are given, but nothing is guided by them.
    """
    if links is not None and not recipe.training.guided_alignment:
        raise RecipeError(
            "links are given, but training.guided_alignment is 0, so that nothing would be guided by them. "
            "Set it to 0.1, for example."
        )


def require_in_memory(recipe: Recipe) -> None:
    """Pairs that are left on the disk have no links.

    Raises:
        RecipeError: attention is to be guided over such.
    """
    if recipe.training.guided_alignment:
        raise RecipeError(
            f"training.guided_alignment is {recipe.training.guided_alignment}, but the corpus has more pairs "
            f"than data.in_memory {recipe.data.in_memory:,}, and what is left on the disk has no links. "
            "Choose training.guided_alignment 0, or a larger data.in_memory."
        )


def word_links(
    pairs: Sequence[Pair],
    tokenizer: Tokenizer,
    given: tuple[Corpus, Sequence[Collection[Link]]] | None = None,
) -> WordLinks:
    """The links of the pairs that are trained on.

    Args:
        pairs: trained on.
        tokenizer: cuts them.
        given: the corpus that the pairs are from, and the links of each of its pairs; None for links induced
            from the pairs.
    """
    sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
    if given is None:
        links: Sequence[Collection[Link]] = induced_links(
            _words(tokenizer, sources), _words(tokenizer, targets)
        )
    else:
        corpus, found = given
        of_pair = dict(zip(corpus.pairs, found, strict=True))
        links = [of_pair[pair] for pair in pairs]
    return WordLinks.of(tokenizer, sources, targets, links, at_spaces_only=given is not None)


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, as they are numbered by `Tokenizer.words`."""
    found = []
    for encoded in tokenizer.encode(texts):
        words: list[list[str]] = []
        for token, number in zip(encoded.tokens, tokenizer.words(encoded.tokens), strict=True):
            if number == len(words):
                words.append([])
            words[number].append(token)
        found.append([tokenizer.join(word) for word in words])
    return found

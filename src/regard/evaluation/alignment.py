"""How well do links between words agree with links drawn by hand.

A link is a pair (query, key) of positions from 0: the output word, then the input word it comes from, in
the order of the axes of attention weights. Two conventions turn the attention of a decoder over subword
pieces into links between words:

1. The attention of the decoder step that emits a piece belongs to that piece. Row i of the weights is what
   the model looked at while it chose output piece i, not in the next step, which reads piece i as its input.
2. A word is its pieces. The weight on an input word is the sum of the weights on its pieces: a word is
   looked at when any part of it is. The row of an output word is the mean of the rows of its pieces, so a
   row that summed to 1 still does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..errors import CorpusError, InputError, ShapeError

Link = tuple[int, int]
Links = Collection[Link]

_LINK = re.compile(r"([0-9]{1,9})([-?])([0-9]{1,9})")


@dataclass(frozen=True)
class AlignmentScore:
    """How far predicted links are from those drawn by hand, over a whole corpus.

    Attributes:
        error_rate: the alignment error rate, from 0, best, to 1.
        precision: the share of predicted links that are possible, from 0 to 1.
        recall: the share of sure links that were predicted, from 0 to 1.
        predicted: how many links were predicted.
        sure: how many links are sure.
    """

    error_rate: float
    precision: float
    recall: float
    predicted: int
    sure: int

    def __str__(self) -> str:
        return (
            f"AER {self.error_rate:.3f} (precision {self.precision:.3f}, recall {self.recall:.3f}; "
            f"{self.predicted:,} links against {self.sure:,} sure)"
        )

    def to_dict(self) -> dict[str, float | int]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


def alignment_error_rate(
    predicted: Sequence[Links], sure: Sequence[Links], possible: Sequence[Links]
) -> AlignmentScore:
    """Rate predicted links A against sure links S and possible links P: 1 - (|A∩S| + |A∩P|) / (|A| + |S|).

    Counts are summed over the corpus before dividing. A sure link is also possible, listed so or not.
    Precision is |A∩P| / |A| and recall |A∩S| / |S|; each is 1 when there is no link to divide by.

    Args:
        predicted, sure, possible: for each sentence a set of links; the sentences in the same order, and the
            two positions with the same meaning, in all three.

    Returns:
        An AlignmentScore.

    Raises:
        InputError: numbers of sentences that differ, something that is not a link, or neither a predicted
            nor a sure link in the whole corpus, which leaves nothing to rate.

    Source:
        Och and Ney 2003, "A systematic comparison of various statistical alignment models",
        section "Evaluation methodology"; Computational Linguistics 29(1).
    """
    given = {"predicted": predicted, "sure": sure, "possible": possible}
    lengths = {name: len(links) for name, links in given.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} of {name}" for name, length in lengths.items())
        raise InputError(f"alignment_error_rate(): each sentence needs one set of links; got {counts}.")
    for name, sentences in given.items():
        _check_links(name, sentences)
    claimed = certain = sure_hits = possible_hits = 0
    for links, must, may in zip(predicted, sure, possible, strict=True):
        links, must = set(links), set(must)
        claimed += len(links)
        certain += len(must)
        sure_hits += len(links & must)
        possible_hits += len(links & (must | set(may)))
    if claimed + certain == 0:
        raise InputError("alignment_error_rate(): nothing to rate, no link is predicted and none is sure.")
    return AlignmentScore(
        error_rate=1 - (sure_hits + possible_hits) / (claimed + certain),
        precision=possible_hits / claimed if claimed else 1.0,
        recall=sure_hits / certain if certain else 1.0,
        predicted=claimed,
        sure=certain,
    )


def _check_links(name: str, sentences: Sequence[Links]) -> None:
    """Refuse anything but one collection of pairs of whole numbers for each sentence."""
    if not isinstance(sentences, Sequence):
        raise InputError(
            f"alignment_error_rate(): {name} is a {type(sentences).__name__}; "
            "give a list with one set of links for each sentence."
        )
    for position, links in enumerate(sentences):
        for link in links:
            if not _is_link(link):
                raise InputError(
                    f"alignment_error_rate(): {name}[{position}] holds {link!r}; "
                    "a link is a tuple of two whole numbers, (query, key)."
                )


def _is_link(link: object) -> bool:
    """Say whether this is a tuple of two whole numbers, of Python or of NumPy."""
    return isinstance(link, tuple) and len(link) == 2 and all(hasattr(end, "__index__") for end in link)


def read_links(
    path: str | PathLike[str], *, transpose: bool = False
) -> tuple[list[frozenset[Link]], list[frozenset[Link]]]:
    """Read links drawn by hand: a line for each sentence, ``i-j`` for a sure and ``i?j`` for a possible link.

    Such files count i in the source and j in the target text, from 0. A model that translates source to
    target looks from target words, its queries, at source words, its keys: read its gold links with
    ``transpose=True``.

    Args:
        path: a text file; an empty line is a sentence without links.
        transpose: return (j, i) for what the file calls i and j.

    Returns:
        The sure links of each sentence, and the links of each sentence that are marked as possible.

    Raises:
        CorpusError: the file cannot be read, or something in it is not a link; names file and line.

    Source:
        Mihalcea and Pedersen 2003, "An evaluation exercise for word alignment" (WPT), for sure and possible.
    """
    path = Path(path)
    try:
        # a byte that is not UTF-8 becomes a character that no link holds, and is reported with its line
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise CorpusError(f"{path}: links cannot be read: {error.strerror or error}.") from error
    if lines[-1] == "":
        lines.pop()
    sure: list[frozenset[Link]] = []
    possible: list[frozenset[Link]] = []
    for number, line in enumerate(lines, start=1):
        marked: dict[str, set[Link]] = {"-": set(), "?": set()}
        for item in line.split():
            match = _LINK.fullmatch(item)
            if match is None:
                raise CorpusError(
                    f"{path}:{number}: {_shortened(item)} is not a link; "
                    "a sure link is written i-j, a possible one i?j, with positions from 0."
                )
            i, j = int(match[1]), int(match[3])
            marked[match[2]].add((j, i) if transpose else (i, j))
        sure.append(frozenset(marked["-"]))
        possible.append(frozenset(marked["?"]))
    return sure, possible


def _shortened(text: str, most: int = 40) -> str:
    """Quote a text for a message, cut when it is long."""
    return repr(text if len(text) <= most else text[: most - 1] + "…")


def hard_links(weights: ArrayLike, *, mutual: bool = False) -> frozenset[Link]:
    """Link each query to the key it looks at most.

    A query whose weights are all zero looks nowhere and gets no link; of equal weights the first key wins.

    Args:
        weights: (Q, K), at least 0.
        mutual: keep a link only when its query is also the one with the most weight on that key.

    Returns:
        Pairs (query, key), at most one for each query.

    Raises:
        ShapeError: weights without exactly two axes.
        InputError: weights below 0 or not a number.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2:
        raise ShapeError(f"hard_links(): weights need two axes, (Q, K); got {weights.shape}.")
    if not (weights >= 0).all():
        raise InputError("hard_links(): weights must be numbers of at least 0; got a negative one or NaN.")
    if weights.shape[1] == 0:
        return frozenset()
    links = {(query, int(weights[query].argmax())) for query in np.flatnonzero(weights.any(axis=1)).tolist()}
    if mutual:
        best_query = weights.argmax(axis=0) if weights.shape[0] else np.zeros(0, dtype=int)
        links = {(query, key) for query, key in links if best_query[key] == query}
    return frozenset(links)


def merge_pieces(
    weights: ArrayLike, query_words: Sequence[int | None], key_words: Sequence[int | None]
) -> np.ndarray:
    """Turn weights between pieces into weights between words: sum over key pieces, mean over query pieces.

    Args:
        weights: (…, Q, K), between pieces; row i is the step that emits output piece i.
        query_words: Q numbers, from 0: for each output piece the word it is part of. None drops the piece.
        key_words: K numbers, from 0: for each input piece the word it is part of. None drops the piece, and
            with it the weight on it.

    Returns:
        (…, query words, key words), in the dtype of the weights, at least float32. A row sums to the mean of
        what its pieces' rows summed to over the keys that are kept. A word without pieces gets zeros.

    Raises:
        ShapeError: not one word number for each piece.
        InputError: a word number below 0.
    """
    weights = np.asarray(weights)
    if weights.shape[-2:] != (len(query_words), len(key_words)):
        raise ShapeError(
            f"merge_pieces(): weights (…, Q, K) need Q query_words and K key_words; "
            f"got weights {weights.shape}, {len(query_words)} query_words, {len(key_words)} key_words."
        )
    dtype = np.result_type(weights.dtype, np.float32)
    queries = _membership("query_words", query_words)
    queries /= np.maximum(queries.sum(axis=1, keepdims=True), 1)
    keys = _membership("key_words", key_words)
    return (queries @ weights.astype(np.float64) @ keys.T).astype(dtype)


def _membership(name: str, words: Sequence[int | None]) -> np.ndarray:
    """Return (words, pieces): 1 where the piece is part of the word."""
    numbers = [word for word in words if word is not None]
    if numbers and min(numbers) < 0:
        raise InputError(f"merge_pieces(): {name} holds {min(numbers)}; words are counted from 0.")
    matrix = np.zeros((max(numbers, default=-1) + 1, len(words)))
    for piece, word in enumerate(words):
        if word is not None:
            matrix[word, piece] = 1
    return matrix

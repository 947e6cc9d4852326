"""The right answer, in plain NumPy and float64: what other attentions are judged by.

Nothing here is shared with the rest of regard, so that a slip there can't hide itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from regard.checking.problems import Answer, Problem, Subject
from regard.checking.questions import agree, pose, question, willing
from regard.errors import InputError

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
Normalizer = Callable[[np.ndarray], np.ndarray]


def dot(query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """q · k for query (…, Q, D) and keys (…, K, D): (…, Q, K)."""
    return query @ keys.swapaxes(-1, -2)


def scaled_dot(query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """q · k / √D."""
    return dot(query, keys) / np.sqrt(query.shape[-1])


def cosine(query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """cos(q, k)."""
    lengths = np.linalg.norm(query, axis=-1)[..., :, None] * np.linalg.norm(keys, axis=-1)[..., None, :]
    return dot(query, keys) / lengths


def negative_squared_distance(query: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """−‖q − k‖²."""
    return -((query[..., :, None, :] - keys[..., None, :, :]) ** 2).sum(-1)


def softmax(scores: np.ndarray) -> np.ndarray:
    """exp(s) / Σ exp(s) over the last axis; zeros for a row of −∞."""
    return _share(np.exp(_below_highest(scores)))


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−s)), each score for itself."""
    return 0.5 * (1 + np.tanh(0.5 * scores))


def hardmax(scores: np.ndarray) -> np.ndarray:
    """1 for the highest score, the first of several alike; zeros for a row of −∞."""
    first = np.arange(scores.shape[-1]) == scores.argmax(-1)[..., None]
    return np.where(first & np.isfinite(scores), 1.0, 0.0)


def sparsemax(scores: np.ndarray) -> np.ndarray:
    """(s − τ)₊ with the τ that makes a row sum to one. Martins and Astudillo 2016, algorithm 1."""
    # Nobody further than 1 below the highest gets a share, so −2 stands for −∞ and sums stay finite.
    below = np.maximum(_below_highest(scores), -2.0)
    ordered = -np.sort(-below, axis=-1)
    rank = np.arange(1, below.shape[-1] + 1)
    total = np.cumsum(ordered, axis=-1)
    support = (1 + rank * ordered > total).sum(-1, keepdims=True)
    threshold = (np.take_along_axis(total, support - 1, -1) - 1) / support
    return np.where(np.isneginf(scores), 0.0, np.maximum(below - threshold, 0.0))


def entmax15(scores: np.ndarray) -> np.ndarray:
    """(s / 2 − τ)₊² with the τ that makes a row sum to one. Peters, Niculae and Martins 2019, algorithm 2."""
    below = np.maximum(_below_highest(scores), -4.0) / 2
    ordered = -np.sort(-below, axis=-1)
    rank = np.arange(1, below.shape[-1] + 1)
    mean = np.cumsum(ordered, axis=-1) / rank
    spread = np.cumsum(ordered**2, axis=-1) - rank * mean**2
    threshold = mean - np.sqrt(np.maximum((1 - spread) / rank, 0.0))
    support = (threshold <= ordered).sum(-1, keepdims=True)
    chosen = np.take_along_axis(threshold, support - 1, -1)
    return np.where(np.isneginf(scores), 0.0, np.maximum(below - chosen, 0.0) ** 2)


SCORES: dict[str, Score] = {
    "scaled_dot": scaled_dot,
    "dot": dot,
    "cosine": cosine,
    "negative_squared_distance": negative_squared_distance,
}
NORMALIZERS: dict[str, Normalizer] = {
    "softmax": softmax,
    "sparsemax": sparsemax,
    "entmax15": entmax15,
    "sigmoid": sigmoid,
    "hardmax": hardmax,
}


def reference(
    problem: Problem, *, score: str = "scaled_dot", normalizer: str = "softmax", heads: int = 1
) -> Answer:
    """Answer a problem rightly.

    Args:
        problem: what is asked. Fewer key heads than query heads are shared by neighbours, [h0, h0, h1, h1].
        score, normalizer: names in SCORES and NORMALIZERS.
        heads: into how many heads the attention splits the features by itself; then the problem has one.

    Returns:
        An Answer with context and weights; with ``heads`` above 1 the context is merged again, and the
        weights are (B, heads, Q, K). A query that may look nowhere gets zeros. No gradients.

    Raises:
        InputError: a name that is not known here.
    """
    for kind, name, known in (("score", score, SCORES), ("normalizer", normalizer, NORMALIZERS)):
        if name not in known:
            raise InputError(f"reference(): {kind} {name} is not known. Known: {', '.join(known)}.")
    query, keys, values = (split(x, heads) for x in (problem.query, problem.keys, problem.values))
    keys, values = (repeat(x, query.shape[1]) for x in (keys, values))
    seen = visible(problem)
    with np.errstate(all="ignore"):
        scores = np.where(seen, SCORES[score](query, keys), -np.inf)
        weights = np.where(seen, NORMALIZERS[normalizer](scores), 0.0)
        context = average(weights, values, seen)
    return Answer(context=merge(context) if heads > 1 else context, weights=weights)


def guess(subject: Subject) -> tuple[str, str] | None:
    """Find which score and normalizer an attention follows, if it is one of those known here.

    Plain dot attention counts only where a name or docstring speaks of it: elsewhere a missing √D is taken
    for a mistake, since the field's default is the scaled one.

    Args:
        subject: who is asked; one with projections inside is asked with the identity in their place.

    Returns:
        Names in SCORES and NORMALIZERS; None where none agrees.
    """
    judged = subject.plain() if subject.projected else subject
    if judged is None:
        return None
    judged = willing(judged)
    posed = pose(judged, question(judged))
    if posed is None or not posed.answered:
        return None
    scaled_only = unscaled_is_meant(subject) == "no"
    for normalizer in NORMALIZERS:
        for score in SCORES:
            if score == "dot" and scaled_only:
                continue
            for causal in (False, True):
                problem = replace(posed.problem, causal=causal)
                expected = reference(problem, score=score, normalizer=normalizer, heads=judged.heads)
                if agree(expected.context, posed.answer.context):
                    return score, normalizer
    return None


def unscaled_is_meant(subject: Subject) -> Literal["yes", "perhaps", "no"]:
    """Whether plain dot products may stand where scaled ones are usual, going by name and docstrings.

    Args:
        subject: its ``name`` and, where it has one, its ``description`` are read.

    Returns:
        "yes" for Luong's attention, what calls itself general or bilinear, what has weights in its score but
        none for its values, and the Transformers that are known not to scale (T5, GPT-Neo); "perhaps" for
        what only calls itself dot or dot-product attention, by which some mean the scaled one, and where one
        query is asked alone; else "no". Of two arrays, one for the queries and one for keys and values, as in
        Luong's decoder, it is "yes".
    """
    if subject.projected and _values_are_averaged(subject):
        return "yes"
    # "Without scaling" may be an intention or a confession: it decides nothing.
    words = re.sub(r"\b(no|not|without|missing) scal(e|ed|ing)\b", " ", words_of(subject))
    if re.search(r"\b(luong|bilinear|general|t5|gpt ?neo)\b", words):
        return "yes"
    if re.search(r"\b(scaled?|scaling|sqrt|vaswani|transformer|multi ?head(ed)?)\b", words):
        return "no"
    if subject.inputs == "memory" and not subject.projected:
        return "yes"
    return "perhaps" if subject.axes == "D" or re.search(r"\b(dot|multiplicative)\b", words) else "no"


def _values_are_averaged(subject: Subject) -> bool:
    """Whether keys that are all alike give the mean of the values themselves, which no projection changed."""
    problem = question(subject)
    keys = np.broadcast_to(problem.keys[:, :, :1], problem.keys.shape).copy()
    if subject.inputs == "self":
        problem = replace(problem, query=keys, keys=keys, values=keys)
    else:
        problem = replace(problem, keys=keys, values=keys if subject.inputs == "memory" else problem.values)
    posed = pose(subject, problem)
    if posed is None or not posed.answered:
        return False
    heads, queries = problem.query.shape[1:3]
    mean = repeat(problem.values, heads).mean(2, keepdims=True)
    return agree(np.repeat(mean, queries, axis=2), posed.answer.context)


def words_of(subject: Subject) -> str:
    """Name and docstrings of a subject in small letters, their parts as words."""
    words = f"{subject.name} {getattr(subject, 'description', '')}"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_\W]+", " ", words).lower()


def visible(problem: Problem) -> np.ndarray:
    """(B, 1 or H, Q, K) booleans: who may look where, after mask, key mask and the hidden future."""
    batch, _, queries, _ = problem.query.shape
    keys = problem.keys.shape[2]
    seen = np.ones((batch, 1, queries, keys), dtype=bool)
    if problem.mask is not None:
        seen = seen & problem.mask
    if problem.key_mask is not None:
        seen = seen & problem.key_mask[:, None, None, :]
    return seen & future_hidden(queries, keys) if problem.causal else seen


def future_hidden(queries: int, keys: int) -> np.ndarray:
    """(Q, K) booleans: the last query stands at the last key, and sees it and all before."""
    return np.tril(np.ones((queries, keys), dtype=bool), k=keys - queries)


def average(weights: np.ndarray, values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Σ_k w_k v_k, in which a NaN or infinity counts for those only who may see it."""
    finite = np.isfinite(values)
    context = weights @ np.where(finite, values, 0.0)
    return np.where((seen * 1.0) @ (~finite * 1.0) > 0, np.nan, context)


def split(array: np.ndarray, heads: int) -> np.ndarray:
    """(B, 1, N, E) to (B, heads, N, E / heads); as it is for one head."""
    if heads == 1:
        return array
    batch, _, count, width = array.shape
    return array.reshape(batch, count, heads, width // heads).swapaxes(1, 2)


def merge(array: np.ndarray) -> np.ndarray:
    """(B, H, N, V) to (B, 1, N, H · V)."""
    batch, heads, count, width = array.shape
    return array.swapaxes(1, 2).reshape(batch, 1, count, heads * width)


def repeat(array: np.ndarray, heads: int) -> np.ndarray:
    """Key heads shared by neighbouring query heads: (B, H_k, K, D) to (B, H, K, D)."""
    return array if array.shape[1] == heads else np.repeat(array, heads // array.shape[1], axis=1)


def _below_highest(scores: np.ndarray) -> np.ndarray:
    highest = scores.max(-1, keepdims=True)
    return scores - np.where(np.isfinite(highest), highest, 0.0)


def _share(shares: np.ndarray) -> np.ndarray:
    total = shares.sum(-1, keepdims=True)
    return shares / np.where(total == 0, 1.0, total)

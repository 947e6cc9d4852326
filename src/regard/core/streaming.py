"""Attention with many queries and keys: some queries after the other, so that their map is never held whole.

Each part of the queries sees all keys in its reach at once, so that any normalizer will do and what comes out
is exact. Gradients keep no part either: each is computed again when its turn comes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from array_api_compat import is_jax_namespace, is_torch_namespace

from regard.core import buffered, fused, normalizers, plain, scores
from regard.core.arrays import Array, calm, surely
from regard.core.constraints import Constraints, take_rows
from regard.core.normalizers import Normalizer
from regard.core.scores import Score
from regard.core.shapes import Inputs
from regard.core.summaries import Look, Rows, Statistic, joined

PART = 2**20
"""How many scores are held at once: 4 MiB in float32, and some times that while they are worked on."""

LARGE = 2**22
"""From how many scores on it is worth not to hold them all."""

PRODUCTS = (scores.dot, scores.scaled_dot, scores.cosine)

BY_ROWS = (
    *PRODUCTS,
    scores.negative_squared_distance,
    normalizers.softmax,
    normalizers.sparsemax,
    normalizers.entmax15,
    normalizers.sigmoid,
    normalizers.hardmax,
)
"""What gives each query the same in any company; of other functions it is tried."""

Found = tuple[Array, tuple[tuple[Array, ...], ...]]
"""What some queries find: their context, and a part of each statistic."""

Reach = Callable[[Any, int], tuple[Look, int]]
"""From the first of some queries and their number to what they find, and the first key in their reach."""


def worthwhile(inputs: Inputs, score: Score, normalizer: Normalizer) -> bool:
    """Whether there are many scores, and the queries can be taken some at a time."""
    many = _row(inputs, score) * inputs.scores_shape[-2] > LARGE
    return many and _splits(inputs, score, normalizer)


def stream(
    inputs: Inputs,
    score: Score,
    normalizer: Normalizer,
    limits: Constraints,
    statistics: Sequence[Statistic],
) -> tuple[Array, list[Any]]:
    """Look with some queries at a time, and put together what they find.

    Args:
        inputs, score, normalizer: as for `plain.look`.
        limits: who may look where.
        statistics: what to keep of the weights; with none no weights are made.

    Returns:
        The context (…, Q, V), in float32 or wider, and the statistics in their order.

    Raises:
        ShapeError: the score or the normalizer returns what does not fit.
    """
    size = max(PART // _row(inputs, score), 1)
    run = _run_jax if is_jax_namespace(inputs.xp) else _run_torch if is_torch_namespace(inputs.xp) else _run
    if buffered.fits(inputs, score, normalizer):
        reach, threads = _reach_in_buffer(inputs, score, limits), buffered.workers()
        size = max(min(size // threads, buffered.MOST_QUERIES), 1)
        run = partial(_run_threads, threads=threads)
    else:
        reach = _reach(inputs, score, normalizer, limits)

    def look(start: Any, queries: int) -> Found:
        found, first = reach(start, queries)
        rows = Rows(found, limits, start, first, size)
        return found.context(), tuple(one.part(rows) for one in statistics)

    contexts: list[Array] = []
    held: list[list[tuple[Array, ...]]] = [[] for _ in statistics]
    for context, parts in run(inputs, look, size):
        contexts.append(context)
        for number, part in enumerate(parts):
            held[number] = statistics[number].folded([*held[number], part], inputs)
    return joined(inputs.xp, contexts, -2), [
        one.join(parts, inputs, size) for one, parts in zip(statistics, held, strict=True)
    ]


def _reach(inputs: Inputs, score: Score, normalizer: Normalizer, limits: Constraints) -> Reach:
    *leading, _, keys = inputs.scores_shape

    def look(start: Any, queries: int) -> tuple[Look, int]:
        first, end = 0, keys
        if scores.is_pairwise(score) and isinstance(start, int):
            first, end = limits.keys_in_reach(start, queries)
        part = replace(
            inputs,
            query=take_rows(inputs.query, start, queries),
            keys=inputs.keys[..., first:end, :],
            values=inputs.values[..., first:end, :],
            scores_shape=(*leading, queries, end - first),
        )
        own = (part, score, normalizer, *limits.part(start, queries, first, end))
        return fused.look(*own) or plain.look(*own), first

    return look


def _reach_in_buffer(inputs: Inputs, score: Score, limits: Constraints) -> Reach:
    own = threading.local()

    def look(start: int, queries: int) -> tuple[Look, int]:
        if not hasattr(own, "buffer"):
            own.buffer = buffered.Buffer(score, limits)
        first, end = limits.keys_in_reach(start, queries)
        return own.buffer.look(start, queries, first, end), first

    return look


def _row(inputs: Inputs, score: Score) -> int:
    """How many numbers the scores of one query take, in all heads and texts."""
    *leading, _, keys = inputs.scores_shape
    # A score that is no product of matrices may hold all features of all pairs.
    features = 1 if score in PRODUCTS else max(inputs.keys.shape[-1], 1)
    return max(math.prod(leading) * keys * features, 1)


def _parts(inputs: Inputs, size: int) -> list[tuple[int, int]]:
    queries = inputs.scores_shape[-2]
    return [(start, min(size, queries - start)) for start in range(0, queries, size)]


def _run(inputs: Inputs, look: Callable[[int, int], Found], size: int) -> Iterable[Found]:
    return (look(*part) for part in _parts(inputs, size))


def _run_threads(
    inputs: Inputs, look: Callable[[int, int], Found], size: int, *, threads: int
) -> Iterable[Found]:
    if threads == 1:
        yield from _run(inputs, look, size)
        return

    def calmly(part: tuple[int, int]) -> Found:
        with calm(inputs.xp):
            return look(*part)

    with ThreadPoolExecutor(threads, "regard") as pool:
        yield from pool.map(calmly, _parts(inputs, size))


def _run_torch(inputs: Inputs, look: Callable[[int, int], Found], size: int) -> Iterable[Found]:
    """The same for PyTorch, which keeps nothing of a part until its gradient is asked for."""
    import torch
    from torch.utils.checkpoint import checkpoint

    if not torch.is_grad_enabled():
        return _run(inputs, look, size)
    return _run(inputs, lambda *part: checkpoint(look, *part, use_reentrant=False), size)  # pyright: ignore


def _run_jax(inputs: Inputs, look: Callable[[Any, int], Found], size: int) -> list[Found]:
    """The same for JAX: one program for all parts, whichever way it is compiled."""
    import jax

    whole, rest = divmod(inputs.scores_shape[-2], size)
    again = jax.checkpoint(look, static_argnums=1)
    stacked = jax.lax.map(lambda start: again(start, size), size * inputs.xp.arange(whole))
    found = [jax.tree_util.tree_map(lambda leaf, i=i: leaf[i], stacked) for i in range(whole)]
    return [*found, again(whole * size, rest)] if rest else found


def _splits(inputs: Inputs, score: Score, normalizer: Normalizer) -> bool:
    """Whether a query gets the same whichever queries stand beside it.

    Of a function that is not known it is tried: one that was made for as many queries as there are, or that
    counts them, gives something else for two queries together than for each of them.
    """
    two = inputs.query[..., :2, :]
    try:
        if score not in BY_ROWS and not _row_by_row(inputs, lambda rows: score(rows, inputs.keys), two):
            return False
        return normalizer in BY_ROWS or _row_by_row(inputs, normalizer, score(two, inputs.keys))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return False


def _row_by_row(inputs: Inputs, function: Callable[[Array], Array], two: Array) -> bool:
    xp = inputs.xp
    together = function(two)
    for row in (0, 1):
        alone = function(two[..., row : row + 1, :])
        expected = together[..., row : row + 1, :] if together.shape[-2] > 1 else together
        near = xp.abs(alone - expected) <= 1e-3 * (1 + xp.abs(expected))
        if alone.shape != expected.shape or not surely(xp.all(near | (alone == expected) | xp.isnan(alone))):
            return False
    return True

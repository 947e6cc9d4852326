"""Several queries, put one at a time to who takes no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from regard.checking.problems import Answer, Problem


def rows(problem: Problem) -> Iterator[Problem]:
    """The same problem for each of its queries."""
    for i in range(problem.query.shape[2]):
        row = slice(i, i + 1)
        mask = None if problem.mask is None else problem.mask[:, :, row]
        cotangent = None if problem.cotangent is None else problem.cotangent[:, :, row]
        yield replace(problem, query=problem.query[:, :, row], mask=mask, cotangent=cotangent)


def joined(answers: Sequence[Answer]) -> Answer:
    """One answer of those to each query, all of which have a context.

    What depends on all queries, the gradients of keys and values, is summed.
    """
    weights = [answer.weights for answer in answers if answer.weights is not None]
    gradients = {
        name: np.concatenate(parts, axis=2) if name == "query" else np.sum(parts, axis=0)
        for name in answers[0].gradients
        if (parts := [answer.gradients[name] for answer in answers])
    }
    return replace(
        answers[0],
        context=np.concatenate([cast(np.ndarray, answer.context) for answer in answers], axis=2),
        weights=np.concatenate(weights, axis=2) if len(weights) == len(answers) else None,
        changed=tuple(dict.fromkeys(name for answer in answers for name in answer.changed)),
        gradients=gradients,
    )

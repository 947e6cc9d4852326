from __future__ import annotations

import numpy as np
import pytest

from regard.record import AttentionRecord

WORDS = ("a", "woman", "with", "a", "blue", "hat", "plays", "in", "the", "park", ".")
WÖRTER = ("eine", "Frau", "mit", "blauem", "Hut", "spielt", "im", "Park", ".")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script>",
    "\x1b[2J\x1b]0;hi\x07",
    "\ud800",
    "\u202eevil",
    "$x^2$",
    "{{data}}",
)


def weights_for(queries: int, keys: int) -> np.ndarray:
    random = np.random.default_rng(0)
    weights = random.gamma(0.3, size=(queries, keys)) * 0.05
    weights[np.arange(queries), np.arange(queries) * keys // max(queries, 1)] += 1
    return weights / weights.sum(-1, keepdims=True)


@pytest.fixture
def words() -> AttentionRecord:
    """A translation with gold links and a copied word."""
    return AttentionRecord(
        weights_for(len(WORDS), len(WÖRTER)),
        WORDS,
        WÖRTER,
        title="German to English",
        sure=frozenset({(0, 0), (1, 1), (4, 3)}),
        possible=frozenset({(2, 2), (4, 3), (7, 6)}),
        copied=frozenset({10}),
    )


@pytest.fixture
def date() -> AttentionRecord:
    """A date in characters."""
    return AttentionRecord(weights_for(10, 11), tuple("2021-03-03"), tuple("3 mars 2021"), title="dates")


@pytest.fixture
def hostile() -> AttentionRecord:
    """Tokens that would run, escape or garble if they were ever taken for more than text."""
    count = len(HOSTILE)
    return AttentionRecord(np.eye(count), HOSTILE, HOSTILE, title="<b>&\x1b[31m")

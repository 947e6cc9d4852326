"""Scores: how well a query matches a key, before anything is normalised.

A score is a function ``score(query, keys)`` from query (…, Q, D) and keys (…, K, D) to scores (…, Q, K), or
to what broadcasts to that. Those with parameters are made by a function that takes them, and gradients reach
the parameters: ``attend(q, k, v, score=additive(w_query, w_keys, v_score))``. Any other function of this form
will do. One that depends on a query and a key alone, not on where they stand, may say so by an attribute,
``score.pairwise = True``, as all here do but the last three: then it is asked for some of them at a time.

    compares              score                                         computes
    direction and length  dot                                           q · k
                          scaled_dot                                    q · k / √D
                          general(w)                                    q · W k
    direction             cosine                                        cos(q, k)
                          scaled_cosine(temperature)                    cos(q, k) / τ
    nearness              negative_squared_distance                     −‖q − k‖²
                          gaussian(width)                               −‖q − k‖² / (2 σ²)
    by a hidden layer     additive(w_query, w_keys, v)                  v · tanh(W_q q + W_k k)
                          concat(w, v)                                  v · tanh(W [q; k])
    the key alone         learned_query(v, w_keys=None)                 v · k, or v · tanh(W k)
    the query alone       location(w)                                   (W q)_j
    what was looked at    location_aware(…, filters, w_location, α)     v · tanh(W_q q + W_k k + U (F ∗ α))
                          coverage(…, w_coverage, c)                    v · tanh(W_q q + W_k k + w_c c)
"""

from __future__ import annotations

from regard.core.parameters import Score, is_pairwise
from regard.core.scores.additive import additive, concat, learned_query
from regard.core.scores.distance import gaussian, negative_squared_distance
from regard.core.scores.location import coverage, location, location_aware
from regard.core.scores.multiplicative import cosine, dot, general, scaled_cosine, scaled_dot

__all__ = [
    "MAKERS",
    "Score",
    "additive",
    "concat",
    "cosine",
    "coverage",
    "dot",
    "gaussian",
    "general",
    "is_pairwise",
    "learned_query",
    "location",
    "location_aware",
    "negative_squared_distance",
    "scaled_cosine",
    "scaled_dot",
]

MAKERS = (
    additive,
    concat,
    coverage,
    gaussian,
    general,
    learned_query,
    location,
    location_aware,
    scaled_cosine,
)
"""The functions here that make a score from their parameters, and are none themselves."""

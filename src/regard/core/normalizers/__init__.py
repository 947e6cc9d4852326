"""Normalizers: from scores to weights, over the keys of each query.

A normalizer is a function from scores (…, Q, K) to weights of the same shape, row by row over the last axis.
A score of −∞ means "not here": its weight is 0. Any function of this form will do; it is never handed a row
that the masks hide altogether, nor one without keys. Those with parameters are made by a function that takes
them: ``attend(q, k, v, normalizer=entmax(1.3))``.

    every key gets some     softmax      exp(s) / Σ exp(s)
                            softmax_with(temperature=, soft_cap=, sink=)
                            sigmoid      1 / (1 + exp(−s)), each key for itself
                            sigmoid_with(bias)
    few keys get some       sparsemax    (s − τ)₊
                            entmax15     (s / 2 − τ)₊²
                            entmax(alpha)
                            top_k(k)     softmax over the k highest
    one key gets all        hardmax

What holds for all of them:

    −∞           The key's weight is exactly 0. A row of −∞ alone gets zeros, with gradient zero.
    +∞           It counts as the largest finite number, so that such keys share alike.
    NaN          A row with a NaN is NaN; of `sigmoid`, where keys don't compete, only that key.
    precision    Half precision is widened to float32, integers to float64.
    gradient     PyTorch and JAX find the first one, towards scores and parameters. The second one of
                 sparsemax, entmax15 and entmax is not right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regard.core.normalizers.entmax import Entmax, entmax, entmax15, sparsemax
from regard.core.normalizers.picking import TopK, hardmax, top_k
from regard.core.normalizers.sigmoid import Sigmoid, sigmoid, sigmoid_with
from regard.core.normalizers.softmax import Softmax, log_sum_exp, softmax, softmax_with

__all__ = [
    "MAKERS",
    "Entmax",
    "Normalizer",
    "Sigmoid",
    "Softmax",
    "TopK",
    "entmax",
    "entmax15",
    "hardmax",
    "log_sum_exp",
    "sigmoid",
    "sigmoid_with",
    "softmax",
    "softmax_with",
    "sparsemax",
    "top_k",
]

Normalizer = Callable[[Any], Any]

MAKERS = (entmax, sigmoid_with, softmax_with, top_k)
"""The functions here that make a normalizer from its parameters, and are none themselves."""

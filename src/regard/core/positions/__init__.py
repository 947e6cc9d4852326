"""Positions: how attention, which sees its keys as a set, comes to know their order.

    told to     by                  what it is
    inputs      sinusoidal          rows of sines and cosines, added to the inputs
                learned             rows of a table, added to the inputs
    query, keys rotary              turned by angles that grow with the position: q · k knows the distance
    scores      alibi               a bias that falls with the distance: ``attend(bias=)``
                t5_bias             a learned bias for each bucket of distances: ``attend(bias=)``
                shaw_bias           a learned key for each distance: ``attend(bias=)``
    context     shaw_context        a learned value for each distance, added to the context

Positions count keys, from 0. Where queries and keys stand to each other is said as in `regard.core.masks`:
the last query stands at the last key unless ``query_offset`` says otherwise.
"""

from __future__ import annotations

from regard.core.positions.alibi import alibi, alibi_slopes
from regard.core.positions.buckets import t5_bias, t5_buckets
from regard.core.positions.relative import shaw_bias, shaw_context
from regard.core.positions.rotary import rotary
from regard.core.positions.sinusoidal import learned, sinusoidal

__all__ = [
    "alibi",
    "alibi_slopes",
    "learned",
    "rotary",
    "shaw_bias",
    "shaw_context",
    "sinusoidal",
    "t5_bias",
    "t5_buckets",
]

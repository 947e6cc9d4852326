"""What is known of how to call a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regard.checking.parameters import Parameter
from regard.checking.problems import Framework

MASK_FORMS: Mapping[str, tuple[str, ...]] = {
    "BHQD": ("b1qk", "bhqk", "qk", "bqk"),
    "BQHD": ("b1qk", "bhqk", "qk"),
    "BQD": ("bqk", "b1qk", "nqk", "qk"),
    "QBD": ("nqk", "bqk", "qk"),
    "QD": ("qk",),
    "B1D": ("bqk", "bk", "b1qk"),
    "BD": ("bk", "bqk"),
    "1BD": ("bk", "bqk"),
    "BD, KBD": ("bk", "bqk"),
    "D": ("k",),
}
"""The axes of a mask by those of the query; n are the texts times the heads inside, one after the other."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How to call a function.

    Attributes:
        name, description, framework, projected, heads, width, grouped: as of a Subject.
        parameters: what is handed in, in order.
        layout: the axes of its query.
        mask_form: the axes of its mask; empty where it takes none.
        mask_numbers: whether it calculates with its mask, 1 for True, and takes no booleans.
        always_causal: whether it hides the future by itself.
        size: (B, H, Q, K, D, V) of the first problem.
        one_array: whether query, values and keys come as one list, as in Keras.
        key_width, value_width: features of keys and values where they are others than the query's.
        out_width: features of the context, where its projections make others of it than there are values.
        weights_alone: whether it gives nothing but the weights, by which its caller averages the memory.
        swapped: whether heads and queries change places between the query (B, H, Q, D) and the context.
        failure: why nothing can be asked at all.
    """

    name: str
    description: str
    framework: Framework
    parameters: list[Parameter]
    layout: str
    projected: bool
    heads: int
    width: int | None
    grouped: bool
    mask_form: str = ""
    mask_numbers: bool = False
    always_causal: bool = False
    size: tuple[int, ...] = (3, 4, 2, 5, 6, 6)
    one_array: bool = False
    key_width: int | None = None
    value_width: int | None = None
    out_width: int | None = None
    weights_alone: bool = False
    swapped: bool = False
    failure: str = ""

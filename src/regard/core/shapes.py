"""What fits together: all that is known about the arrays before any of them is computed with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard.core.arrays import Array, Namespace, namespace
from regard.core.dtypes import one_dtype, wide
from regard.errors import ShapeError

Shape = tuple[int, ...]
FORMS = {"query": "(…, Q, D) or (D,)", "keys": "(…, K, D)", "values": "(…, K, V)"}


@dataclass(frozen=True)
class Inputs:
    """Query (…, Q, D), keys (…, K, D) and values (…, K, V) that fit together, in float32 or wider, a key head per query head."""

    function: str
    xp: Namespace
    query: Array
    keys: Array
    values: Array
    scores_shape: Shape
    context_dtype: Any
    single: bool
    group: int

    def out(self, array: Array, axis: int) -> Array:
        """The array as the caller shall see it: without the axis of queries where the query was (D,)."""
        return self.xp.squeeze(array, axis=axis) if self.single else array


def prepare(function: str, query: Any, keys: Any, values: Any, *, grouped: bool) -> Inputs:
    """Check that query, keys and values fit together, and bring them into one form.

    Raises:
        ShapeError: they do not; the message names the axis.
        DtypeError: dtypes that are mixed or no real numbers, arrays of several libraries.
    """
    arrays = dict(zip(FORMS, one_dtype(f"{function}()", {"query": query, "keys": keys, "values": values}), strict=True))
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    _require_axes(function, shapes)
    single = len(shapes["query"]) == 1
    if single:
        shapes["query"] = (1, *shapes["query"])
    _require_a_value_for_each_key(function, shapes)
    group = _group(function, shapes) if grouped else 1
    _require_leading(function, shapes, group)

    context_dtype = arrays["values"].dtype
    query, keys, values = (wide(function, name, array) for name, array in arrays.items())
    xp = namespace(query)
    if single:
        query = query[None, :]
    if group > 1:
        keys, values = _for_each_head(xp, keys, group), _for_each_head(xp, values, group)
    leading = broadcast(query.shape[:-2], keys.shape[:-2])
    scores_shape = (*leading, query.shape[-2], keys.shape[-2])
    return Inputs(function, xp, query, keys, values, scores_shape, context_dtype, single, group)


def broadcast(*leading: Shape) -> Shape:
    """The shape that these, each axis equal or 1, have in common, aligned at their last axis."""
    longest = max(len(shape) for shape in leading)
    padded = [(1,) * (longest - len(shape)) + tuple(shape) for shape in leading]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


def fits(shape: Shape, whole: Shape) -> bool:
    """Whether each axis of ``shape``, aligned at the last, is that of ``whole`` or 1."""
    if len(shape) > len(whole):
        return False
    return all(size in (1, most) for size, most in zip(reversed(shape), reversed(whole), strict=False))


def _require_axes(function: str, shapes: Mapping[str, Shape]) -> None:
    for name, shape in shapes.items():
        if len(shape) < (1 if name == "query" else 2):
            raise ShapeError(f"{function}(): {name} must be {FORMS[name]}. Got {shape}.")


def _require_a_value_for_each_key(function: str, shapes: Mapping[str, Shape]) -> None:
    keys, values = shapes["keys"], shapes["values"]
    if keys[-2] != values[-2]:
        raise ShapeError(
            f"{function}(): keys have {keys[-2]} positions but values have {values[-2]}; one value is needed
            for each key. " f"Got keys {keys}, values {values}."
        )


def _group(function: str, shapes: Mapping[str, Shape]) -> int:
    """How many query heads share a key head, the third axis from the end being the heads."""
    if any(len(shape) < 3 for shape in shapes.values()):
        raise ShapeError(f"{function}(): grouped=True needs an axis of heads: query (…, H, Q, D). Got {_listed(shapes)}.")
    heads, key_heads, value_heads = (shape[-3] for shape in shapes.values())
    if value_heads != key_heads:
        raise ShapeError(
            f"{function}(): keys have {key_heads} heads but values have {value_heads}; grouped=True needs as
            many. " f"Got {_listed(shapes)}."
        )
    if key_heads == 0 or heads % key_heads:
        raise ShapeError(
            f"{function}(): {heads} query heads cannot share {key_heads} key heads evenly; with grouped=True
            the one must " f"be a multiple of the other. Got {_listed(shapes)}."
        )
    return heads // key_heads


def _for_each_head(xp: Namespace, array: Array, group: int) -> Array:
    """Each key head repeated for the query heads that share it: [h0, h0, h1, h1]."""
    return xp.repeat(array, group, axis=-3)


def _require_leading(function: str, shapes: Mapping[str, Shape], group: int) -> None:
    """Leading axes must be equal or 1; PyTorch's own kernel would read past the end."""
    for axis in range(-max(len(shape) for shape in shapes.values()), -2):
        sizes = {name: shape[axis] for name, shape in shapes.items() if len(shape) >= -axis}
        if axis == -3 and group > 1:
            continue
        if len(set(sizes.values()) - {1}) > 1:
            found = ", ".join(f"{size} for the {name}" for name, size in sizes.items())
            hint = "; fewer key heads than query heads need grouped=True" if axis == -3 and len(sizes) == 3 else ""
            raise ShapeError(
                f"{function}(): axis {axis} is {found}; leading axes must be equal or 1{hint}. Got
                {_listed(shapes)}."
            )


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())

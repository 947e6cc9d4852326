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
    """Query (…, Q, D), keys (…, K, D) and values (…, K, V) that fit together.

    They are in float32 or wider, and there is a key head for each query head. function is who was called, for
    messages; scores_shape is (…, Q, K); context_dtype that of the values as they came; single says that one
    query (D,) came; group is how many query heads share a key head.
    """

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
        """The array as the caller shall see it: without the axis of queries where one query (D,) came."""
        return self.xp.squeeze(array, axis=axis) if self.single else array


def prepare(function: str, query: Any, keys: Any, values: Any, *, grouped: bool) -> Inputs:
    """Check that query, keys and values fit together, and bring them into one form.

    Raises:
        ShapeError: they do not; the message names the axis.
        DtypeError: dtypes that are mixed or no real numbers, arrays of several libraries.
    """
    where = f"{function}()"
    query, keys, values = one_dtype(where, {"query": query, "keys": keys, "values": values})
    group = _check(where, {"query": query.shape, "keys": keys.shape, "values": values.shape}, grouped)
    xp = namespace(query)
    single = query.ndim == 1
    context_dtype = values.dtype
    query, keys, values = (
        wide(where, "query", query),
        wide(where, "keys", keys),
        wide(where, "values", values),
    )
    if single:
        query = query[None, :]
    if group > 1:
        # Interleaved: [h0, h0, h1, h1].
        keys, values = xp.repeat(keys, group, axis=-3), xp.repeat(values, group, axis=-3)
    scores_shape = (*broadcast(query.shape[:-2], keys.shape[:-2]), query.shape[-2], keys.shape[-2])
    return Inputs(function, xp, query, keys, values, scores_shape, context_dtype, single, group)


def broadcast(one: Shape, other: Shape) -> Shape:
    """The shape that these two, each axis equal or 1, have in common, aligned at their last axis."""
    longest = max(len(one), len(other))
    pairs = zip((1,) * (longest - len(one)) + one, (1,) * (longest - len(other)) + other, strict=True)
    return tuple(b if a == 1 else a for a, b in pairs)


def fits(shape: Shape, whole: Shape) -> bool:
    """Whether each axis of ``shape``, aligned at the last, is that of ``whole`` or 1."""
    if len(shape) > len(whole):
        return False
    return all(size in (1, most) for size, most in zip(reversed(shape), reversed(whole), strict=False))


def _check(where: str, shapes: Mapping[str, Shape], grouped: bool) -> int:
    """How many query heads share a key head, once everything is known to fit."""
    for name, shape in shapes.items():
        if len(shape) < (1 if name == "query" else 2):
            raise ShapeError(f"{where}: {name} must be {FORMS[name]}. Got {tuple(shape)}.")
    keys, values = shapes["keys"], shapes["values"]
    if keys[-2] != values[-2]:
        raise ShapeError(
            f"{where}: keys have {keys[-2]} positions but values have {values[-2]}; "
            f"one value is needed for each key. Got {_listed(shapes, 'keys', 'values')}."
        )
    group = _group(where, shapes) if grouped else 1
    _require_leading(where, shapes, -3 if grouped else -2)
    return group


def _group(where: str, shapes: Mapping[str, Shape]) -> int:
    """How many query heads share a key head; the heads are the third axis from the end."""
    if any(len(shape) < 3 for shape in shapes.values()):
        raise ShapeError(
            f"{where}: grouped=True needs an axis of heads, (…, H, Q, D). Got {_listed(shapes)}."
        )
    heads, key_heads, value_heads = (shape[-3] for shape in shapes.values())
    if value_heads != key_heads:
        raise ShapeError(
            f"{where}: keys have {key_heads} heads but values have {value_heads}; "
            f"grouped=True needs as many values as keys. Got {_listed(shapes)}."
        )
    if key_heads == 0 or heads % key_heads:
        raise ShapeError(
            f"{where}: {heads} query heads cannot share {key_heads} key heads evenly; "
            f"grouped=True needs a multiple. Got {_listed(shapes)}."
        )
    return heads // key_heads


def _require_leading(where: str, shapes: Mapping[str, Shape], end: int) -> None:
    """Axes in front of ``end`` must be equal or 1; PyTorch's own kernel would read past the end."""
    for axis in range(-max(len(shape) for shape in shapes.values()), end):
        sizes = {name: shape[axis] for name, shape in shapes.items() if len(shape) >= -axis}
        if len(set(sizes.values()) - {1}) > 1:
            found = ", ".join(f"{size} in {name}" for name, size in sizes.items())
            heads = " (fewer key heads than query heads need grouped=True)" if axis == -3 else ""
            raise ShapeError(
                f"{where}: axis {axis} is {found}; leading axes must be equal or 1{heads}. "
                f"Got {_listed(shapes)}."
            )


def _listed(shapes: Mapping[str, Shape], *names: str) -> str:
    return ", ".join(f"{name} {tuple(shapes[name])}" for name in names or shapes)

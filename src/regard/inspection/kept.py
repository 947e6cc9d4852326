"""What is kept of a call of attention: the weights of a short text; of a long one rectangles and numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard.core.statistics import pooled
from regard.errors import InputError
from regard.evaluation.heads import describe, places
from regard.inspection.calls import Call

CHECKED = 8
"""So many features of the context of a long text are checked; each depends on all weights."""

Numbers = dict[str, np.ndarray]
"""Numbers of each head, (H,)."""


class Kept(ABC):
    """What one layer looked at, in all texts of a batch.

    Attributes:
        norms: (B, H, K), how long what each key brings is; None where that is not known.
    """

    norms: np.ndarray | None = None

    @property
    @abstractmethod
    def batch(self) -> int:
        """How many texts."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(H, Q, K) of the whole maps."""

    @property
    def sizes(self) -> tuple[int, int]:
        """(Q, K)."""
        return self.shape[1], self.shape[2]

    @staticmethod
    def joined(found: Sequence[Kept], itself: bool) -> Kept:
        """The calls of one layer in the steps of generation as one map, rows below each other.

        Args:
            found: in order.
            itself: whether a text looks at itself, so that keys grow with the queries.

        Raises:
            InputError: a long text whose rectangles are kept, and steps after it.
        """
        if len(found) == 1:
            return found[0]
        whole = [one.weights for one in found if isinstance(one, Whole)]
        if len(whole) < len(found):
            raise InputError(
                "capture(): the weights of this text take more than memory= allows, and of tokens said after "
                "it rectangles are not kept. Raise memory=, shorten the text, or leave generate out."
            )
        joined = Whole(np.concatenate(_on_the_same_keys(whole) if itself else whole, axis=2))
        last = found[-1].norms  # the last step sees all keys, unless some are gone
        joined.norms = last if last is not None and last.shape[-1] == joined.sizes[1] else None
        return joined

    @abstractmethod
    def text(self, number: int) -> Kept:
        """What it looked at in one text."""

    @abstractmethod
    def only(self, queries: np.ndarray, keys: np.ndarray) -> Kept:
        """Without the positions that are False."""

    @abstractmethod
    def described(
        self, offset: int | None, tokens: Sequence[int] | None, separators: Sequence[int]
    ) -> Numbers:
        """The numbers of `regard.evaluation.heads` for each head of one text."""

    @abstractmethod
    def part(self, head: int, queries: slice, keys: slice) -> np.ndarray:
        """The weights of a part of one head's map of one text, (Q, K)."""

    @staticmethod
    @abstractmethod
    def stacked(layers: Sequence[Any]) -> tuple[np.ndarray, np.ndarray | None, tuple[int, int]]:
        """Weights (L, H, …) of one text, the largest of each rectangle, and how large the rectangles are."""


class Whole(Kept):
    """All weights, (B, H, Q, K)."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    @property
    def batch(self) -> int:
        return len(self.weights)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weights.shape[1:]

    def text(self, number: int) -> Whole:
        own = Whole(self.weights[number : number + 1])
        own.norms = None if self.norms is None else self.norms[number : number + 1]
        return own

    def only(self, queries: np.ndarray, keys: np.ndarray) -> Whole:
        if queries.all() and keys.all():
            return self
        own = Whole(self.weights[:, :, queries][..., keys])
        own.norms = None if self.norms is None else self.norms[..., keys]
        return own

    def described(
        self, offset: int | None, tokens: Sequence[int] | None, separators: Sequence[int]
    ) -> Numbers:
        return describe(self.weights[0], offset=offset, tokens=tokens, separators=separators)

    def part(self, head: int, queries: slice, keys: slice) -> np.ndarray:
        return self.weights[0, head, queries, keys]

    @staticmethod
    def stacked(layers: Sequence[Whole]) -> tuple[np.ndarray, None, tuple[int, int]]:
        return _stacked(layers, "weights"), None, (1, 1)


@dataclass(eq=False)
class Pooled(Kept):
    """Means and largest in rectangles, numbers of each query, and what any part follows from.

    Args:
        call: what attention was handed.
        normalizer: (B, H, Q), log Σ exp(score).
        entropy, distance: (B, H, Q); without distances where a text looks at another.
        mean, largest: (B, H, …) of rectangles.
        rectangle: how large these are.
    """

    call: Call
    normalizer: Tensor
    entropy: Tensor
    distance: Tensor | None
    mean: np.ndarray
    largest: np.ndarray
    rectangle: tuple[int, int]

    @property
    def batch(self) -> int:
        return self.call.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.call.shape[1:]

    def text(self, number: int) -> Pooled:
        names = ("normalizer", "entropy", "distance", "mean", "largest")
        held = {name: getattr(self, name) for name in names}
        own = {name: array[number : number + 1] for name, array in held.items() if array is not None}
        return replace(self, call=self.call.text(number), **own)

    def only(self, queries: np.ndarray, keys: np.ndarray) -> Pooled:
        if queries.all() and keys.all():
            return self
        raise InputError(
            "capture(): texts this long are captured one by one: positions that only fill up cannot be left "
            "out of rectangles. Hand in one text, without padding."
        )

    def described(
        self, offset: int | None, tokens: Sequence[int] | None, separators: Sequence[int]
    ) -> Numbers:
        looking = torch.isfinite(self.normalizer[0])
        found = {"entropy": _mean(self.entropy[0], looking)}
        if offset is None or self.distance is None:
            return found
        found["distance"] = _mean(self.distance[0], looking)
        rows, columns = self.sizes
        at = {"sink": np.arange(1 if offset == 0 else 0, rows)}
        if len(at["sink"]):
            found["sink"] = self._at(at["sink"], np.zeros_like(at["sink"]), looking)
        for name, (queries, keys) in places(rows, columns, offset=offset, tokens=tokens).items():
            found[name] = self._at(queries, keys, looking)
        others = np.setdiff1d(np.arange(rows), np.asarray(separators, int) - offset)
        if len(separators) and len(others):
            mass = sum(
                self._weights(others, np.full(len(others), key)).where(looking[:, others], 0)
                for key in separators
            )
            assert isinstance(mass, Tensor)
            found["separator"] = _mean(mass, looking[:, others])
        return found

    def _at(self, queries: np.ndarray, keys: np.ndarray, looking: Tensor) -> np.ndarray:
        return _mean(self._weights(queries, keys), looking[:, queries])

    def _weights(self, queries: np.ndarray, keys: np.ndarray) -> Tensor:
        """The weights (H, N) at places."""
        place = self.normalizer.device
        at = (torch.as_tensor(which, device=place) for which in (queries, keys))
        return self.call.weights_at(self.normalizer, *at)[0]

    def part(self, head: int, queries: slice, keys: slice) -> np.ndarray:
        rows, columns = (range(size)[which] for size, which in zip(self.sizes, (queries, keys), strict=True))
        if rows.step != 1 or columns.step != 1:
            raise InputError("part(): queries and keys are slices with step 1, such as slice(0, 100).")
        found = self.call.part(head, rows.start, rows.stop).look().weights
        assert found is not None
        return found[0, 0, :, columns.start : columns.stop].float().cpu().numpy()

    @staticmethod
    def stacked(layers: Sequence[Pooled]) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        return _stacked(layers, "mean"), _stacked(layers, "largest"), layers[0].rectangle


def kept(
    call: Call, context: Tensor | None, who: str, rectangle: tuple[int, int] | None, itself: bool
) -> Kept:
    """What to keep of a call.

    Args:
        call: what attention was handed.
        context: (B, H, Q, V), what came out, against which it is checked; None where some was dropped.
        who: whose attention it was, for the error.
        rectangle: how large the rectangles are; None for all weights.
        itself: whether a text looked at itself, so that there are distances.

    Raises:
        InputError: what follows from the call is not what came out.
    """
    if rectangle is None:
        found = call.look()
        if context is not None:
            call.require_same(found, context, who)
        assert found.weights is not None
        return Whole(found.weights.float().cpu().numpy())
    if call.sinks is not None:
        raise InputError(
            f"capture(): {who} has sinks that take weight and stand for no token; of such a model weights "
            f"are kept, not rectangles. Raise memory=, or shorten the text."
        )
    asked = ["entropy", pooled(*rectangle), *(["mean_distance"] if itself else [])]
    if context is not None:
        context = context[..., :CHECKED]
    few = replace(call, values=call.values[..., :CHECKED])
    found = few.look(weights=False, statistics=asked)
    if context is not None:
        call.require_same(found, context, who)
    numbers = found.statistics
    small = numbers["pooled"]
    return Pooled(
        call.without_values(),
        found.log_normalizer,
        numbers["entropy"],
        numbers.get("mean_distance"),
        small.mean.float().cpu().numpy(),
        small.max.float().cpu().numpy(),
        rectangle,
    )


def _stacked(layers: Sequence[Any], name: str) -> np.ndarray:
    """The arrays (1, H, …) of this name as one, (L, H, …), of which each layer then holds its part."""
    arrays = [getattr(layer, name) for layer in layers]
    found = np.empty((len(layers), *arrays[0].shape[1:]), np.float32)
    for number, layer in enumerate(layers):
        found[number] = arrays[number][0]
        arrays[number] = None
        setattr(layer, name, found[number : number + 1])
    found.flags.writeable = False  # so that a record takes it as it is
    return found


def _on_the_same_keys(steps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Weights (B, H, Q, K) of the steps of generation, each of which adds its queries to the keys.

    A cache may hold the latest keys alone, as with a sliding window, or room for more than there are.
    """
    queries = [step.shape[2] for step in steps]
    # A cache of fixed size has its room from the beginning on.
    fixed = steps[0].shape[3] > queries[0] and len({step.shape[3] for step in steps}) == 1
    before = 0 if fixed else max(steps[0].shape[3] - queries[0], 0)
    keys, seen, found = before + sum(queries), before, []
    for step, count in zip(steps, queries, strict=True):
        seen += count
        step = step[..., :keys]
        gone = max(seen - step.shape[3], 0)
        found.append(np.pad(step, [(0, 0)] * 3 + [(gone, keys - gone - step.shape[3])]))
    return found


def _mean(numbers: Tensor, count: Tensor) -> np.ndarray:
    total = torch.where(count, numbers, 0.0).sum(-1)
    return (total / count.sum(-1).clamp_min(1)).float().cpu().numpy()

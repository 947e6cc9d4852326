"""What somebody's function takes and gives is found out, by names and by trying."""

from __future__ import annotations

import functools
import math
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from regard.checking.calling import examine
from regard.checking.problems import Problem


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def weights_of(query: np.ndarray, keys: np.ndarray, mask: Any = None) -> np.ndarray:
    scores = query @ np.swapaxes(keys, -1, -2) / math.sqrt(query.shape[-1])
    return softmax(scores if mask is None else np.where(mask, scores, -np.inf))


def right(query: np.ndarray, keys: np.ndarray, values: np.ndarray, mask: Any = None) -> np.ndarray:
    return weights_of(query, keys, mask) @ values


def problem(shape: str = "BHQD", **changes: Any) -> Problem:
    """Random numbers in which all axes differ; an axis that is not in the shape is 1."""
    rng = np.random.default_rng(5)
    b, h, q = (number if axis in shape else 1 for axis, number in (("B", 2), ("H", 3), ("Q", 4)))
    sizes = {"query": (b, h, q, 6), "keys": (b, h, 5, 6), "values": (b, h, 5, 7)}
    arrays = {name: rng.normal(size=size) for name, size in sizes.items()}
    return Problem(**(arrays | changes))


def keyword_only(*, query, keys, values):
    return right(query, keys, values)


def anything(*arrays):
    return right(*arrays)


def keys_first(keys, query, values):
    return right(query, keys, values)


def values_first(V, K, Q):  # noqa: N803
    return right(Q, K, V)


def dimension_asked(q, k, v, d_k, scale, dropout_p=0.5, training=True):
    assert d_k == q.shape[-1] and scale == d_k**-0.5 and dropout_p == 0.5 and not training
    return right(q, k, v)


class Caller:
    """Attention as an object, as a bound method and as a static one."""

    def __call__(self, query, key, value):
        return right(query, key, value)

    def attend(self, q, k, v):
        return right(q, k, v)

    @staticmethod
    def alone(q, k, v):
        return right(q, k, v)


@pytest.mark.parametrize(
    "function",
    [
        right,
        keyword_only,
        anything,
        keys_first,
        values_first,
        dimension_asked,
        lambda a, b, c: right(a, b, c),
        functools.partial(right, mask=None),
        functools.partial(lambda temperature, q, k, v: right(q, k, v), 1.0),
        Caller(),
        Caller,
        Caller().attend,
        Caller.alone,
    ],
)
def test_query_keys_and_values_are_handed_in_wherever_they_stand(function):
    subject = examine(function)
    asked = problem()
    answer = subject.ask(asked)
    assert answer.error == ""
    np.testing.assert_allclose(answer.context, right(asked.query, asked.keys, asked.values))
    assert (subject.framework, subject.axes, subject.inputs) == ("numpy", "BHQD", "separate")


Both = namedtuple("Both", "output attention")


@dataclass
class Record:
    attention: Any
    context: Any
    note: str = ""


FORMS = {
    "context, weights": lambda c, w: (c, w),
    "weights, context": lambda c, w: (w, c),
    "list": lambda c, w: [c, w],
    "named tuple": Both,
    "mapping": lambda c, w: {"weights": w, "context": c},
    "record": lambda c, w: Record(w, c),
    "with something else": lambda c, w: (c, w, None),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("width", [5, 7])
def test_context_and_weights_are_told_apart_even_where_their_shapes_are_the_same(form, width):
    def both(q, k, v):
        weights = weights_of(q, k)
        return form(weights @ v, weights)

    asked = problem(values=np.random.default_rng(1).normal(size=(2, 3, 5, width)))
    subject = examine(both)
    answer = subject.ask(asked)
    assert subject.gives_weights
    np.testing.assert_allclose(answer.weights, weights_of(asked.query, asked.keys))
    np.testing.assert_allclose(answer.context, right(asked.query, asked.keys, asked.values))


def one_query(query, keys, values):
    weights = softmax(keys @ query / math.sqrt(len(query)))
    return weights @ values


def matrices(Q, K, V):  # noqa: N803
    return softmax(Q @ K.T / math.sqrt(Q.shape[1])) @ V


def batches(q, k, v):
    return softmax(np.einsum("bqd,bkd->bqk", q, k) / math.sqrt(q.shape[-1])) @ v


def heads_behind_queries(q, k, v):
    """q (B, Q, H, D), k and v (B, K, H, D)."""
    q, k, v = (each.swapaxes(1, 2) for each in (q, k, v))
    return right(q, k, v).swapaxes(1, 2)


def one_query_each(hidden, encoder_outputs):
    """hidden (B, D), encoder_outputs (B, K, D)."""
    weights = softmax(np.einsum("bd,bkd->bk", hidden, encoder_outputs) / math.sqrt(hidden.shape[-1]))
    return np.einsum("bk,bkd->bd", weights, encoder_outputs), weights


@pytest.mark.parametrize(
    ("function", "axes"),
    [(one_query, "D"), (matrices, "QD"), (batches, "BQD"), (heads_behind_queries, "BQHD"), (right, "BHQD")],
)
def test_its_axes_are_found(function, axes):
    subject = examine(function)
    assert subject.axes == axes
    asked = problem(axes)
    answer = subject.ask(asked)
    np.testing.assert_allclose(answer.context, right(asked.query, asked.keys, asked.values))


def test_a_function_of_one_query_for_each_text_is_asked_in_turn():
    subject = examine(one_query_each)
    asked = problem("BQ")
    asked = problem("BQ", values=asked.keys)
    answer = subject.ask(asked)
    assert (subject.axes, subject.inputs, subject.gives_weights) == ("BQD", "memory", True)
    np.testing.assert_allclose(answer.context, right(asked.query, asked.keys, asked.keys))
    np.testing.assert_allclose(answer.weights, weights_of(asked.query, asked.keys))


def of_itself(x, w_q, w_k, w_v, w_o):
    return right(x @ w_q, x @ w_k, x @ w_v) @ w_o


def of_a_memory(x, memory):
    return right(x, memory, memory)


def split_inside(x, num_heads=2):
    b, n, e = x.shape
    split = x.reshape(b, n, num_heads, e // num_heads).swapaxes(1, 2)
    return right(split, split, split).swapaxes(1, 2).reshape(b, n, e)


def test_matrices_that_are_arguments_are_the_identity():
    subject = examine(of_itself)
    assert subject.inputs == "self" and not subject.projected
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6))
    np.testing.assert_allclose(subject.ask(Problem(x, x, x)).context, right(x, x, x))


def test_a_memory_is_keys_and_values():
    subject = examine(of_a_memory)
    assert subject.inputs == "memory"
    asked = problem(values=problem().keys)
    np.testing.assert_allclose(subject.ask(asked).context, right(asked.query, asked.keys, asked.keys))


def test_heads_inside_are_found_and_can_be_said():
    assert examine(split_inside).heads == 2
    said = examine(split_inside, heads=3)
    assert said.heads == 3 and said.width is not None and said.width % 3 == 0


def test_a_causal_function_is_found_out_and_so_is_a_switch():
    def causal(q, k, v):
        return right(q, k, v, np.tri(q.shape[-2], k.shape[-2], k.shape[-2] - q.shape[-2], dtype=bool))

    def switched(q, k, v, is_causal=True):
        return causal(q, k, v) if is_causal else right(q, k, v)

    assert examine(causal).causal == "always"
    assert examine(right).causal == "never"
    subject = examine(switched)
    assert subject.causal == "flag"
    asked = problem()
    np.testing.assert_allclose(subject.ask(asked).context, right(asked.query, asked.keys, asked.values))
    hidden = subject.ask(problem(causal=True))
    np.testing.assert_allclose(hidden.context, causal(asked.query, asked.keys, asked.values))
    assert "is_causal=True" in subject.call(problem(causal=True))


def shared(q, k, v):
    """Grouped queries: k and v have fewer heads."""
    groups = q.shape[1] // k.shape[1]
    return right(q, np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1))


def test_fewer_key_heads_are_tried_where_the_words_speak_of_groups():
    assert examine(shared).grouped
    assert not examine(shared, grouped=False).grouped
    assert not examine(right).grouped


MASKED = np.ones((2, 1, 4, 5), dtype=bool)
MASKED[0, 0, 1, 2:] = MASKED[1, 0, :, 0] = False


def looks(q, k, v, mask=None):
    return right(q, k, v, mask)


def hides(q, k, v, mask=None):
    """mask: True for keys that are ignored."""
    return right(q, k, v, None if mask is None else ~mask)


def padded(q, k, v, padding_mask=None):
    keys = None if padding_mask is None else ~padding_mask[:, None]
    return right(q, k, v, keys)


def added(q, k, v, attn_bias=None):
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    return softmax(scores if attn_bias is None else scores + attn_bias) @ v


def needed(q, k, v, mask):
    assert mask.dtype == bool and mask.shape[-2:] == (q.shape[-2], k.shape[-2])
    return right(q, k, v, mask)


@pytest.mark.parametrize("function", [looks, hides, added, needed])
def test_a_mask_is_handed_in_with_the_meaning_that_its_name_or_documentation_gives(function):
    subject = examine(function)
    assert subject.takes_mask
    asked = problem(mask=MASKED)
    np.testing.assert_allclose(
        subject.ask(asked).context, right(asked.query, asked.keys, asked.values, MASKED)
    )


def counted(q, k, v, valid_lens=None):
    """q (B, Q, D)."""
    real = None if valid_lens is None else np.arange(k.shape[1]) < valid_lens[:, None, None]
    return right(q, k, v, real)


def mask_of_keys(q, k, v, mask=None):
    """q (B, Q, D)."""
    return right(q, k, v, None if mask is None else mask[:, None, :])


@pytest.mark.parametrize("function", [padded, counted, mask_of_keys])
def test_a_mask_of_keys_may_be_padding_lengths_or_a_plain_mask(function):
    subject = examine(function)
    assert subject.axes == "BQD"
    there = np.array([[True] * 5, [True] * 3 + [False] * 2])
    asked = problem("BQ", key_mask=there)
    assert subject.takes_key_mask and subject.can(asked)
    expected = right(asked.query, asked.keys, asked.values, there[:, None, None])
    np.testing.assert_allclose(subject.ask(asked).context, expected)


def test_lengths_cannot_say_that_a_key_in_the_middle_is_missing():
    there = np.array([[True] * 5, [True, False, True, True, True]])
    assert not examine(counted).can(problem("BQ", key_mask=there))

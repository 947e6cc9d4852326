"""Each law holds on right attention and breaks on what violates it, with an example that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import function_subject
import numpy as np
import pytest

from regard.checking.laws import Trial, judge
from regard.checking.problems import Subject
from regard.checking.report import Law

Array = np.ndarray


Function = partial(function_subject.Function, axes="BHQD")


def softmax(scores: Array, axis: Any = -1) -> Array:
    shares = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return shares / shares.sum(axis=axis, keepdims=True)


def score(query: Array, keys: Array) -> Array:
    return query @ keys.swapaxes(-1, -2) / query.dtype.type(np.sqrt(query.shape[-1]))


def allowed(scores: Array, mask: Array | None, key_mask: Array | None, causal: bool) -> Array:
    seen = np.ones(scores.shape, dtype=bool)
    if mask is not None:
        seen &= mask
    if key_mask is not None:
        seen &= key_mask[:, None, None]
    queries, keys = scores.shape[-2:]
    return seen & np.tril(np.ones((queries, keys), dtype=bool), k=keys - queries) if causal else seen


def right(query, keys, values, mask=None, key_mask=None, causal=False):
    seen = allowed(score(query, keys), mask, key_mask, causal)
    anybody = np.asarray(seen.any((1, 2)))[:, None, :, None]
    keys, values = (np.where(anybody, array, 0).astype(array.dtype) for array in (keys, values))
    scores = np.where(seen, score(query.astype(np.float64), keys.astype(np.float64)), -np.inf)
    highest = scores.max(-1, keepdims=True)
    shares = np.exp(scores - np.where(np.isfinite(highest), highest, 0))
    total = shares.sum(-1, keepdims=True)
    return (shares / np.where(total == 0, 1, total) @ values).astype(values.dtype)


def simple(query, keys, values):
    return softmax(score(query, keys)) @ values


def made(compute: Callable[..., Any], name: str = "made") -> Callable[..., Any]:
    def function(query, keys, values):
        return compute(query, keys, values)

    function.__name__ = name
    return function


def masked(compute: Callable[[Array, Array], Array], name: str = "masked") -> Callable[..., Any]:
    """Attention whose weights are made from scores and who may look where."""

    def function(query, keys, values, mask=None, key_mask=None):
        scores = score(query, keys)
        seen = allowed(scores, mask, key_mask, causal=False)
        return compute(scores, seen) @ values

    function.__name__ = name
    return function


def futureless(compute: Callable[[int, int], Array], **profile: Any) -> Subject:
    def function(query, keys, values):
        seen = compute(query.shape[-2], keys.shape[-2])
        return softmax(np.where(seen, score(query, keys), -1e9)) @ values

    return Function(function, causal="always", **profile)


def laws_of(subject: Subject, **options: Any) -> dict[str, Law]:
    options = {"score": "scaled_dot", "normalizer": "softmax", **options}
    return {law.name: law for law in judge(Trial(subject, **options))}


def broken(laws: dict[str, Law]) -> set[str]:
    return {name for name, law in laws.items() if law.held is False}


def test_right_attention_keeps_all_laws_that_apply():
    laws = laws_of(Function(right))
    assert broken(laws) == set()
    assert {name for name, law in laws.items() if law.held is None} == {"gradients_finite"}


@pytest.mark.parametrize("inputs", ["memory", "self"])
def test_right_attention_of_one_array_keeps_all_laws(inputs):
    def of_memory(query, memory, mask=None, key_mask=None, causal=False):
        return right(query, memory, memory, mask, key_mask, causal)

    def of_itself(x, mask=None, key_mask=None, causal=False):
        return right(x, x, x, mask, key_mask, causal)

    laws = laws_of(Function({"memory": of_memory, "self": of_itself}[inputs], inputs=inputs))
    assert broken(laws) == set()
    assert laws["agrees_with_the_reference"].held


def test_right_attention_of_grouped_heads_keeps_all_laws():
    def grouped(query, keys, values):
        repeats = query.shape[1] // keys.shape[1]
        return simple(query, np.repeat(keys, repeats, 1), np.repeat(values, repeats, 1))

    laws = laws_of(Function(grouped, grouped=True))
    assert broken(laws) == set()
    assert laws["heads_independent"].held


def test_right_attention_of_heads_inside_keeps_all_laws():
    def inside(x):
        b, n, e = x.shape
        split = x.reshape(b, n, 2, e // 2).swapaxes(1, 2)
        return simple(split, split, split).swapaxes(1, 2).reshape(b, n, e)

    laws = laws_of(Function(inside, axes="BQD", inputs="self", heads=2))
    assert broken(laws) == set()
    assert laws["heads_independent"].held and laws["weights_sum_to_one"].held


def test_right_attention_with_projections_is_judged_without_knowing_them():
    rng = np.random.default_rng(0)
    w_query, w_keys, w_values = rng.normal(size=(3, 6, 6)) / 2

    def projected(query, keys, values, mask=None):
        w = [matrix.astype(query.dtype) for matrix in (w_query, w_keys, w_values)]
        return right(query @ w[0], keys @ w[1], values @ w[2] + 1, mask=mask)

    laws = laws_of(Function(projected, projected=True, width=6), score=None, normalizer=None)
    assert broken(laws) == set()
    assert laws["queries_independent"].held and laws["mask_obeyed"].held
    assert laws["agrees_with_the_reference"].held is None


VIOLATIONS: list[tuple[str, Function]] = [
    ("shapes", Function(made(lambda q, k, v: simple(q, k, v)[..., :1]))),
    ("takes_documented_shapes", Function(made(lambda q, k, v: simple(q, k, v) if k.shape[2] > 1 else q[9]))),
    (
        "weights_not_negative",
        Function(made(lambda q, k, v: (2 * softmax(score(q, k)) - 1 / k.shape[2]) @ v)),
    ),
    ("weights_sum_to_one", Function(made(lambda q, k, v: 0.9 * simple(q, k, v)))),
    ("context_is_the_weighted_average", Function(made(lambda q, k, v: simple(q, k, v**2)))),
    ("uses_the_query", Function(made(lambda q, k, v: simple(0 * q + 1, k, v)))),
    ("uses_the_keys", Function(made(lambda q, k, v: simple(q, 0 * k, v)))),
    ("uses_the_values", Function(made(lambda q, k, v: simple(q, k, k)))),
    ("order_of_keys_does_not_matter", Function(made(lambda q, k, v: simple(q, k, v[:, :, ::-1])))),
    (
        "adding_a_constant_to_scores_changes_nothing",
        Function(made(lambda q, k, v: softmax(np.abs(score(q, k))) @ v)),
    ),
    ("queries_independent", Function(made(lambda q, k, v: softmax(score(q, k), -2) @ v))),
    ("batch_items_independent", Function(made(lambda q, k, v: simple(q, k, v + v.mean(0))))),
    ("heads_independent", Function(made(lambda q, k, v: simple(q, k, v.mean(1, keepdims=True) + 0 * v)))),
    ("mask_obeyed", Function(masked(lambda s, seen: softmax(s)))),
    ("mask_obeyed", Function(masked(lambda s, seen: softmax(np.where(seen, -1e9, s))))),
    ("mask_obeyed", Function(masked(lambda s, seen: softmax(s) * seen))),
    ("key_mask_obeyed", Function(masked(lambda s, seen: softmax(np.where(seen, s, -3.0))))),
    ("empty_row_is_zero", Function(masked(lambda s, seen: softmax(np.where(seen, s, -1e9))))),
    ("empty_row_is_zero", Function(masked(lambda s, seen: softmax(np.where(seen, s, -np.inf))))),
    (
        "nan_behind_a_mask_stays_there",
        Function(masked(lambda s, seen: softmax(np.where(seen, s, -1e9)))),
    ),
    ("causal_sees_no_future", futureless(lambda q, k: np.tril(np.ones((q, k), bool), k=1 + k - q))),
    ("causal_sees_no_future", futureless(lambda q, k: np.triu(np.ones((q, k), bool), k=k - q))),
    ("causal_sees_the_present", futureless(lambda q, k: np.tril(np.ones((q, k), bool), k=k - q - 1))),
    ("causal_last_query_sees_the_last_key", futureless(lambda q, k: np.tril(np.ones((q, k), bool)))),
    (
        "large_scores_stay_finite",
        Function(made(lambda q, k, v: np.exp(s := score(q, k)) / np.exp(s).sum(-1, keepdims=True) @ v)),
    ),
    (
        "unlike_queries_stay_finite",
        Function(
            made(lambda q, k, v: (e := np.exp((s := score(q, k)) - s.max())) / e.sum(-1, keepdims=True) @ v)
        ),
    ),
    ("dtype_kept", Function(made(lambda q, k, v: simple(q, k, v).astype("float64")))),
    (
        "half_precision_sums_to_one",
        Function(
            made(
                lambda q, k, v: (
                    np.cumsum(e := np.exp(score(q, k) - 1), -1, dtype=e.dtype)[..., -1:] ** -1 * e @ v
                )
            )
        ),
    ),
    ("gradients_finite", Function(simple, differentiable=True)),
    ("agrees_with_the_reference", Function(made(lambda q, k, v: simple(2 * q, k, v)))),
]


@pytest.mark.parametrize(
    ("name", "subject"), VIOLATIONS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(VIOLATIONS)]
)
def test_a_law_breaks_on_what_violates_it(name, subject):
    law = laws_of(subject)[name]
    assert law.held is False, law
    assert law.message.endswith(".") and "expected" in law.example
    assert " × " not in law.example or name == "half_precision_sums_to_one", law.example


def test_attention_that_writes_to_its_inputs_breaks_one_law_only():
    def writes(query, keys, values):
        query /= np.sqrt(query.shape[-1])
        return softmax(query @ keys.swapaxes(-1, -2)) @ values

    laws = laws_of(Function(writes))
    assert broken(laws) == {"inputs_not_written"}
    assert "query as before" in laws["inputs_not_written"].example


def test_where_answers_change_from_call_to_call_nothing_is_compared():
    rng = np.random.default_rng(0)

    def dropout(query, keys, values):
        weights = softmax(score(query, keys))
        return weights * (rng.random(weights.shape) < 0.8) @ values

    laws = laws_of(Function(dropout))
    assert broken(laws) == {"same_answer_twice_in_evaluation"}
    assert laws["weights_sum_to_one"].held is None


def test_what_raises_breaks_a_law_and_is_asked_no_more():
    def unfinished(query, keys, values):
        raise RuntimeError("not written yet")

    subject = Function(unfinished)
    laws = laws_of(subject)
    assert broken(laws) == {"shapes"}
    assert "RuntimeError: not written yet" in laws["shapes"].message
    assert subject.asked < 6


def test_what_hangs_breaks_a_law_and_is_asked_once():
    subject = Function(made(lambda q, k, v: "hung"))
    laws = laws_of(subject)
    assert broken(laws) == {"shapes"}
    assert "come back" in laws["shapes"].message
    assert subject.asked == 1


def test_what_hangs_later_is_asked_no_more():
    def hangs_on_masks(query, keys, values, mask=None):
        return simple(query, keys, values) if mask is None else "hung"

    laws = laws_of(Function(hangs_on_masks))
    assert "context_is_the_weighted_average" not in broken(laws)
    assert "mask_obeyed" in broken(laws)
    assert laws["dtype_kept"].held is None


def test_rounding_to_half_precision_is_fragile_not_wrong():
    def rounded(query, keys, values):
        return simple(query, keys, values).astype("float16").astype(values.dtype)

    laws = laws_of(Function(rounded))
    assert broken(laws)
    assert {laws[name].severity for name in broken(laws)} == {"fragile"}


def test_hiding_the_future_with_as_many_queries_as_keys_only_is_fragile():
    def square(query, keys, values):
        seen = np.tril(np.ones((query.shape[2], query.shape[2]), bool))
        return softmax(np.where(seen, score(query, keys), -np.inf)) @ values

    laws = laws_of(Function(square, causal="always"), causal=True)
    assert broken(laws)
    assert {laws[name].severity for name in broken(laws)} == {"fragile"}


def test_sigmoid_weights_need_not_sum_to_one():
    laws = laws_of(Function(made(lambda q, k, v: 1 / (1 + np.exp(-score(q, k))) @ v)), normalizer="sigmoid")
    assert laws["weights_sum_to_one"].held is None
    assert laws["adding_a_constant_to_scores_changes_nothing"].held is None


def test_positions_that_are_spoken_of_excuse_that_the_order_matters():
    def alibi(query, keys, values):
        queries, count = query.shape[2], keys.shape[2]
        distance = np.abs(np.arange(queries)[:, None] - np.arange(count))
        return softmax(score(query, keys) - (0.5 * distance).astype(query.dtype)) @ values

    laws = laws_of(Function(alibi), score=None)
    assert broken(laws) == set()
    assert "alibi" in laws["order_of_keys_does_not_matter"].message


def test_weights_that_come_back_are_those_that_were_used():
    def before_masking(query, keys, values, mask=None):
        scores = score(query, keys)
        seen = np.ones(scores.shape, bool) if mask is None else mask
        return softmax(np.where(seen, scores, -1e9)) @ values, softmax(scores)

    laws = laws_of(Function(before_masking, gives_weights=True))
    assert {"context_is_the_weighted_average", "mask_obeyed"} <= broken(laws)


def test_a_reference_may_be_a_function():
    def halved(query, keys):
        return query @ keys.swapaxes(-1, -2) / 2

    subject = Function(made(lambda q, k, v: softmax(halved(q, k)) @ v))
    assert laws_of(subject, score=halved)["agrees_with_the_reference"].held
    assert laws_of(Function(simple), score=halved)["agrees_with_the_reference"].held is False


def test_the_example_is_the_smallest_that_shows_it():
    law = laws_of(Function(made(lambda q, k, v: softmax(score(q, k), -2) @ v)))["weights_sum_to_one"]
    assert law.example.splitlines() == [
        "made(query, keys, values)",
        "  query     [[0]]",
        "  keys      [[0], [1]]",
        "  values    [[1, 0], [0, 1]]",
        "  sums      [[2]]",
        "  expected  [[1]]",
    ]


def test_all_laws_take_a_fraction_of_a_second():
    began = time.perf_counter()
    laws_of(Function(right))
    assert time.perf_counter() - began < 2

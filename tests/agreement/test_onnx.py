"""`attend` agrees with every case that ONNX ships for its Attention operators 23, 24 and 25.

Nothing is left out. What the operator has and `attend` has not is said in the words of `attend`: past keys
are put before the others, a soft cap is part of the score, a causal mask that starts elsewhere in each text
is a mask.
"""

from typing import Any

import numpy as np
import pytest

from regard.core import masks, scores
from regard.core.attention import attend, attention

onnx = pytest.importorskip("onnx")
from onnx.backend.test.case.node import attention as module  # noqa: E402

TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}
INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")


def shipped():
    """The cases by name: the operator's options and inputs, and what it gives."""
    found = {}

    def keep(node, inputs, outputs, name, **_):
        given = iter(inputs)
        named = {ours: next(given) for ours, theirs in zip(INPUTS, node.input, strict=False) if theirs}
        results = dict(zip([name for name in node.output if name], outputs, strict=True))
        options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        found[name] = options, named, results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "expect", keep)
        state = np.random.get_state()
        np.random.seed(0)
        for name in sorted(vars(module.Attention)):
            if name.startswith("export_"):
                getattr(module.Attention, name)()
        np.random.set_state(state)
    return found


CASES = shipped()


def heads(array, count):
    """(B, N, H · D) as (B, H, N, D)."""
    return np.moveaxis(array.reshape(*array.shape[:2], count, -1), 2, 1)


def in_our_words(options, given):
    """The arguments of `attend`, and the scores before the bias is added."""
    query, keys, values = given["Q"], given["K"], given["V"]
    if query.ndim == 3:
        query = heads(query, options["q_num_heads"])
        keys, values = (heads(array, options["kv_num_heads"]) for array in (keys, values))
    past = 0
    if "past_key" in given:
        past = given["past_key"].shape[2]
        keys = np.concatenate([given["past_key"], keys], axis=2)
        values = np.concatenate([given["past_value"], values], axis=2)
    scale, cap = options.get("scale"), options.get("softcap", 0.0)

    def score(query, keys):
        found = scores.scaled_dot(query, keys) if scale is None else scores.dot(query * scale, keys)
        return cap * np.tanh(found / cap) if cap else found

    arguments = {"score": score if scale or cap else scores.scaled_dot, "grouped": True}
    mask = given.get("attn_mask")
    if mask is not None:
        missing = [(0, 0)] * (mask.ndim - 1) + [(0, keys.shape[2] - mask.shape[-1])]
        fill = False if mask.dtype == bool else -np.inf
        mask = np.pad(mask, missing, constant_values=fill)
        arguments["mask" if mask.dtype == bool else "bias"] = mask
    by_position(arguments, options, given, query.shape[2], keys.shape[2], past)
    return (query, keys, values), arguments, score


def by_position(arguments, options, given, queries, keys, past):
    """Causal and window, from the same position in every text or from one in each."""
    lengths = given.get("nonpad_kv_seqlen")
    causal, left, right = (
        options.get(name, default)
        for name, default in (("is_causal", 0), ("left_window_size", -1), ("right_window_size", -1))
    )
    if lengths is not None:
        arguments["key_mask"] = masks.padding(lengths, keys)
    if lengths is None and left < 0 and right < 0:
        if causal:
            arguments |= {"causal": True, "query_offset": past}
        return
    if lengths is None and causal:
        arguments |= {"causal": True, "window": left + 1, "query_offset": past}
        return
    offsets = [past] if lengths is None else lengths - queries
    distance = np.stack([np.arange(queries)[:, None] + offset - np.arange(keys) for offset in offsets])
    mask = np.ones(distance.shape, bool)
    mask &= (distance >= 0) | (not causal)
    mask &= ((distance <= left) | (left < 0)) & ((-distance <= right) | (right < 0))
    given_mask = arguments.get("mask", True)
    arguments["mask"] = given_mask & mask[:, None]


@pytest.mark.parametrize("name", CASES)
def test_attend_agrees_with_the_operator(name):
    options, given, results = CASES[name]
    arrays, arguments, score = in_our_words(options, given)
    tolerance = TOLERANCES[given["Q"].dtype.name]
    expected = results["Y"]
    if expected.ndim == 3:
        expected = heads(expected, options["q_num_heads"])
    found = attend(*arrays, **arguments)
    assert found.dtype == expected.dtype
    close: dict[str, Any] = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(found.astype(float), expected.astype(float), **close)
    if "qk_matmul_output" not in results:
        return
    mode = options.get("qk_matmul_output_mode", 0)
    if mode == 3:
        shown = attention(*arrays, **arguments).weights
    else:
        query, keys, _ = arrays
        plain = scores.scaled_dot if mode == 0 else score
        shown = plain(query, np.repeat(keys, query.shape[1] // keys.shape[1], axis=1))
        shown = shown + arguments.get("bias", 0) if mode == 2 else shown
        if mode == 2 and options.get("is_causal"):
            seen = masks.causal(query.shape[2], keys.shape[2], query_offset=arguments["query_offset"])
            shown = np.where(seen, shown, -np.inf)
    np.testing.assert_allclose(np.asarray(shown, float), results["qk_matmul_output"].astype(float), **close)


@pytest.mark.parametrize(
    "name", [name for name, (_, given, _) in CASES.items() if given["Q"].dtype != "bfloat16"]
)
def test_attend_agrees_with_the_operator_on_tensors(name):
    torch = pytest.importorskip("torch")
    options, given, results = CASES[name]
    if options.get("softcap"):
        pytest.skip("the score above is written in NumPy's functions")
    arrays, arguments, _ = in_our_words(options, given)
    tensors = [torch.tensor(array) for array in arrays]
    expected = results["Y"]
    if expected.ndim == 3:
        expected = heads(expected, options["q_num_heads"])
    tolerance = TOLERANCES[given["Q"].dtype.name]
    found = attend(*tensors, **arguments).numpy()
    np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=tolerance, atol=tolerance)


def test_all_cases_are_there():
    assert len(CASES) >= 80

"""Multi-head attention against PyTorch's and Keras', against einsum by hand, and by what it promises."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regard.core import masks, normalizers, scores
from regard.core.attention import attention
from regard.errors import DtypeError, InputError, ShapeError
from regard.nn.multihead import MultiheadAttention
from regard.nn.positions import Alibi, LearnedPositions, Rotary, Shaw, T5Bias

B, Q, K, E, H = 2, 4, 6, 12, 3


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def inputs(*sizes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(*size, dtype=dtype, requires_grad=True) for size in sizes]


def theirs(**options: Any) -> nn.MultiheadAttention:
    module = nn.MultiheadAttention(E, H, batch_first=True, dtype=torch.float64, **options)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


TORCH: dict[str, dict[str, Any]] = {
    "packed": {},
    "without bias": {"bias": False},
    "separate": {"kdim": 5, "vdim": 7},
    "separate without bias": {"kdim": 5, "vdim": 7, "bias": False},
    "with a zero key": {"add_zero_attn": True},
}


@pytest.mark.parametrize("settings", TORCH.values(), ids=TORCH)
def test_a_module_of_pytorch_is_loaded_and_gives_the_same(settings):
    module = theirs(**settings)
    ours = MultiheadAttention.from_torch(module)
    arrays = inputs((B, Q, E), (B, K, settings.get("kdim", E)), (B, K, settings.get("vdim", E)))
    hidden = torch.rand(B * H, Q, K) < 0.3
    padding = torch.arange(K) >= torch.tensor([[K], [3]])
    hidden[..., 0] = False
    options = {"mask": masks.from_torch_mha(hidden, heads=H), "key_mask": masks.from_torch_mha(padding)}
    expected, weights = module(
        *arrays, attn_mask=hidden, key_padding_mask=padding, average_attn_weights=False
    )
    found = ours.look(*arrays, **options)
    torch.testing.assert_close(ours(*arrays, **options), expected)
    torch.testing.assert_close(found.context, expected)
    torch.testing.assert_close(found.weights, weights[..., :K])
    gradients = torch.autograd.grad(expected.square().sum(), arrays)
    torch.testing.assert_close(torch.autograd.grad(found.context.square().sum(), arrays), gradients)


def test_a_mask_of_numbers_that_pytorch_adds_is_our_bias():
    module = theirs()
    arrays, added = inputs((B, Q, E), (B, K, E), (B, K, E)), torch.randn(Q, K, dtype=torch.float64)
    expected, _ = module(*arrays, attn_mask=added)
    torch.testing.assert_close(MultiheadAttention.from_torch(module)(*arrays, bias=added), expected)


def test_the_weights_that_are_loaded_are_a_copy_in_mode_and_dtype():
    module = theirs(dropout=0.25).eval()
    ours = MultiheadAttention.from_torch(module)
    assert (ours.dropout, ours.training, ours.out.weight.dtype) == (0.25, False, torch.float64)
    before = ours.query.weight.clone()
    nn.init.zeros_(module.in_proj_weight)
    assert torch.equal(ours.query.weight, before)


def test_a_learned_key_of_pytorch_cannot_be_loaded():
    with pytest.raises(InputError, match="add_bias_kv=True"):
        MultiheadAttention.from_torch(nn.MultiheadAttention(E, H, add_bias_kv=True))


def test_weights_are_dropped_while_training_as_pytorch_does():
    module = theirs(dropout=0.4)
    ours = MultiheadAttention.from_torch(module)
    (x,) = inputs((B, Q, E))
    torch.manual_seed(1)
    expected, weights = module(x, x, x, average_attn_weights=False)
    torch.manual_seed(1)
    found = ours.look(x)
    torch.testing.assert_close((found.context, found.weights), (expected, weights))
    torch.manual_seed(1)
    torch.testing.assert_close(ours(x), expected)
    torch.testing.assert_close(ours.eval()(x), module.eval()(x, x, x)[0])


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def keras_layer(keras: Any, kind: str, use_bias: bool, **options: Any) -> Any:
    if kind == "multi-head":
        layer = keras.layers.MultiHeadAttention(H, 4, value_dim=5, use_bias=use_bias, **options)
    else:
        layer = keras.layers.GroupQueryAttention(4, 6, 2, use_bias=use_bias, **options)
    layer.build((B, Q, E), (B, K, E))
    numbers = np.random.default_rng(0)
    layer.set_weights([numbers.normal(size=array.shape) * 0.3 for array in layer.get_weights()])
    return layer


# Keras' own get_weights() asks PyTorch in a way that NumPy warns about.
KERAS_WARNS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@KERAS_WARNS
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", ["multi-head", "grouped-query"])
def test_a_layer_of_keras_is_loaded_and_gives_the_same(keras, kind, use_bias):
    layer = keras_layer(keras, kind, use_bias)
    query, values = (x.detach() for x in inputs((B, Q, E), (B, K, E), dtype=torch.float32))
    mask = torch.rand(B, Q, K) < 0.7
    mask[..., 0] = True
    arrays = (keras.ops.convert_to_tensor(x.numpy()) for x in (query, values))
    expected, weights = map(
        keras.ops.convert_to_numpy,
        layer(
            *arrays, attention_mask=keras.ops.convert_to_tensor(mask.numpy()), return_attention_scores=True
        ),
    )
    named = {weight.path: keras.ops.convert_to_numpy(weight) for weight in layer.weights}
    for held in (layer.get_weights(), named):
        ours = MultiheadAttention.from_keras(held)
        found = ours.look(query, values, mask=mask)
        np.testing.assert_allclose(found.context.detach(), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.weights.detach(), weights, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours(query, values, mask=mask), found.context)


@KERAS_WARNS
def test_weights_of_keras_that_do_not_fit_are_an_error(keras):
    weights = keras_layer(keras, "multi-head", True).get_weights()
    with pytest.raises(InputError, match=r"needs query/kernel, query/bias.* Got 7 arrays"):
        MultiheadAttention.from_keras(weights[:-1])
    with pytest.raises(InputError, match=r"Got a/query/kernel, what/else\."):
        MultiheadAttention.from_keras({"a/query/kernel": weights[0], "what/else": weights[1]})
    with pytest.raises(InputError, match=r"kernel of out must be \(3, 5, 12\)"):
        MultiheadAttention.from_keras([*weights[:6], weights[6][:2], weights[7]])
    with pytest.raises(InputError, match=r"bias of values must have 15 numbers.* Got \(3, 4\)"):
        MultiheadAttention.from_keras([*weights[:5], weights[1], *weights[6:]])
    two = {f"{layer}/query/kernel": weights[0] for layer in ("a", "b")}
    with pytest.raises(InputError, match=r"Got a/query/kernel, b/query/kernel\."):
        MultiheadAttention.from_keras(two)
    gated = keras_layer(keras, "multi-head", True, use_gate=True).get_weights()
    with pytest.raises(InputError, match=r"Got 10 arrays\. A gate's weights cannot be loaded"):
        MultiheadAttention.from_keras(gated)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_neighbouring_query_heads_share_a_key_head(key_heads):
    module = MultiheadAttention(8, 4, key_heads=key_heads, head_width=3).double()
    (x,) = inputs((B, Q, 8))
    repeated = MultiheadAttention(8, 4, head_width=3).double()
    state = module.state_dict()
    for name in ("keys.weight", "keys.bias", "values.weight", "values.bias"):
        by_head = state[name].unflatten(0, (key_heads, 3))
        state[name] = by_head.repeat_interleave(4 // key_heads, dim=0).flatten(0, 1)
    repeated.load_state_dict(state)
    torch.testing.assert_close(module(x, causal=True), repeated(x, causal=True))
    assert module.keys.weight.shape == (key_heads * 3, 8)


def test_one_text_needs_no_axis_of_texts():
    module = MultiheadAttention(E, H).double()
    query, keys = inputs((B, Q, E), (B, K, E))
    mask = torch.rand(Q, K) < 0.7
    together = module.look(query, keys, mask=mask, key_mask=torch.arange(K) < 5)
    alone = module.look(query[1], keys[1], mask=mask, key_mask=torch.arange(K) < 5)
    torch.testing.assert_close(alone.context, together.context[1])
    torch.testing.assert_close(alone.weights, together.weights[1])


def test_a_mask_may_be_one_for_all_one_a_text_or_one_a_head():
    module = MultiheadAttention(E, H).double()
    (x,) = inputs((B, Q, E))
    whole = torch.rand(B, H, Q, Q) < 0.6
    look = module.look(x, mask=whole)
    assert not look.weights[~whole].any()
    for mask in (whole[0, 0], whole[:, 0]):
        spread = mask.expand(B, Q, Q)[:, None].expand(B, H, Q, Q)
        torch.testing.assert_close(module(x, mask=mask), module(x, mask=spread))
        torch.testing.assert_close(module(x, bias=mask.double()), module(x, bias=spread.double()))
    torch.testing.assert_close(module(x, mask=whole[:, 0].tolist()), module(x, mask=whole[:, 0]))


def test_causal_and_window_mean_what_they_mean_to_attend():
    module = MultiheadAttention(E, H).double()
    (x,) = inputs((B, 7, E))
    mask = masks.causal(7, 7, like=x) & masks.window(7, 7, 3, like=x)
    torch.testing.assert_close(module(x, causal=True, window=3), module(x, mask=mask))


def test_a_query_that_may_look_nowhere_finds_zeros_and_no_gradient():
    module = MultiheadAttention(E, H).double()
    (x,) = inputs((B, Q, E))
    key_mask = torch.tensor([[True] * Q, [False] * Q])
    found = module.look(x, key_mask=key_mask)
    assert not found.weights[1].any()
    assert torch.equal(found.context[1], module.out.bias.expand(Q, E))
    (gradient,) = torch.autograd.grad(found.context.square().sum(), x)
    assert gradient[0].any() and not gradient[1].any()


def test_a_nan_where_no_key_is_reaches_nothing():
    module = MultiheadAttention(E, H, positions=Rotary()).double()
    query, keys = inputs((B, Q, E), (B, K, E))
    key_mask = torch.arange(K) < torch.tensor([[4], [2]])
    expected = module(query, keys, key_mask=key_mask)
    wanted = [query, *module.parameters()]
    gradients = torch.autograd.grad(expected.square().sum(), wanted)
    spoilt = keys.detach().masked_fill(~key_mask[..., None], torch.nan)
    found = module(query, spoilt, key_mask=key_mask)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), wanted), gradients)


@pytest.mark.parametrize("positions", [Rotary(), Alibi(H), Shaw(4)], ids=["rotary", "alibi", "shaw"])
def test_an_offset_says_where_more_queries_than_keys_stand(positions):
    module = MultiheadAttention(E, H, positions=positions).double()
    (x,) = inputs((B, K, E))
    with pytest.raises(ShapeError, match="6 queries but only 2 keys"):
        module(x, x[:, :2])
    found = module.look(x, x[:, :2], query_offset=1, statistics=["mean_distance"])
    for first in range(K):
        one = module.look(x[:, first : first + 1], x[:, :2], query_offset=first + 1)
        torch.testing.assert_close(found.context[:, first], one.context[:, 0])
    distance = (torch.arange(K)[:, None] + 1 - torch.arange(2)).abs().double()
    torch.testing.assert_close(found.statistics["mean_distance"], (found.weights * distance).sum(-1))


def test_what_is_projected_once_can_be_looked_at_often():
    module = MultiheadAttention(E, H, keys_width=5).double()
    query, keys = inputs((B, Q, E), (B, K, 5))
    key_mask = torch.arange(K) < torch.tensor([[K], [2]])
    memory = module.project(keys, key_mask=key_mask)
    expected = module(query, keys, key_mask=key_mask)
    for step in range(Q):
        torch.testing.assert_close(module(query[:, step : step + 1], memory), expected[:, step : step + 1])
    fewer = torch.arange(K) != 0
    torch.testing.assert_close(
        module(query, memory, key_mask=fewer), module(query, keys, key_mask=key_mask & fewer)
    )


def test_score_and_normalizer_can_be_any():
    module = MultiheadAttention(E, H, score=scores.cosine, normalizer=normalizers.sparsemax).double()
    query, keys = inputs((B, Q, E), (B, K, E))
    heads = [
        project(x).unflatten(-1, (H, -1)).transpose(1, 2)
        for project, x in ((module.query, query), (module.keys, keys), (module.values, keys))
    ]
    expected = attention(*heads, score=scores.cosine, normalizer=normalizers.sparsemax)
    found = module.look(query, keys, statistics=["entropy"])
    torch.testing.assert_close(found.weights, expected.weights)
    torch.testing.assert_close(found.context, module.out(expected.context.transpose(1, 2).flatten(2)))
    assert found.statistics["entropy"].shape == (B, H, Q)


def test_talking_heads_mix_scores_and_weights():
    module = MultiheadAttention(E, H, talking=True).double()
    plain = MultiheadAttention(E, H).double()
    plain.load_state_dict(module.state_dict(), strict=False)
    (x,) = inputs((B, Q, E))
    torch.testing.assert_close(module(x), plain(x))

    talking = module.talking
    assert talking is not None
    for matrix in talking.parameters():
        nn.init.normal_(matrix)
    query, keys, values = (
        project(x).unflatten(-1, (H, -1)) for project in (module.query, module.keys, module.values)
    )
    logits = torch.einsum("bqhd,bkhd->bhqk", query, keys) / 2
    logits = torch.einsum("bhqk,hg->bgqk", logits, talking.scores)
    weights = torch.softmax(logits.masked_fill(~torch.ones(Q, Q).tril().bool(), -torch.inf), dim=-1)
    weights = torch.einsum("bhqk,hg->bgqk", weights, talking.weights)
    expected = module.out(torch.einsum("bhqk,bkhv->bqhv", weights, values).flatten(2))
    found = module.look(x, causal=True)
    torch.testing.assert_close((found.context, found.weights), (expected, weights))
    torch.testing.assert_close(module(x, causal=True), expected)


def positions_of(name: str, width: int = 4) -> Any:
    made = {
        "none": lambda: None,
        "rotary": lambda: Rotary(interleaved=False),
        "alibi": lambda: Alibi(H),
        "t5": lambda: T5Bias(H, buckets=8, bidirectional=False, max_distance=5),
        "shaw": lambda: Shaw(width, clip=2),
    }
    return made[name]()


POSITIONS = ["none", "rotary", "alibi", "t5", "shaw"]


@pytest.mark.parametrize("name", POSITIONS[1:])
def test_with_positions_the_order_of_the_words_matters(name):
    module = MultiheadAttention(E, H, positions=positions_of(name)).double()
    (x,) = inputs((B, Q, E))
    order = torch.tensor([1, 0, 2, 3])
    assert not torch.allclose(module(x)[:, order], module(x[:, order]), atol=1e-4)
    torch.testing.assert_close(module(x), module.look(x).context)


@pytest.mark.parametrize("name", ["t5", "shaw"])
def test_learned_positions_get_their_gradient_from_many_keys_too(name):
    module = MultiheadAttention(E, H, positions=positions_of(name)).double()
    (x,) = inputs((1, 300, E))
    wanted = [x, *module.parameters()]
    found, expected = (
        torch.autograd.grad(context.square().sum(), wanted)
        for context in (module(x, causal=True), module.look(x, causal=True).context)
    )
    torch.testing.assert_close(found, expected)


def test_learned_positions_are_added():
    module = LearnedPositions(5, E)
    x = torch.randn(B, 3, E)
    torch.testing.assert_close(module(x, 2), x + module.table[2:])
    with pytest.raises(InputError, match="asked for position 5"):
        module(x, 3)


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("options", [{}, {"key_heads": 1, "talking": True}], ids=["plain", "talking"])
def test_the_gradient_is_that_of_finite_differences(name, options):
    module = MultiheadAttention(6, H, head_width=4, positions=positions_of(name), **options).double()
    (x,) = inputs((2, 3, 6))
    key_mask = torch.tensor([[True] * 3, [True, False, False]])

    def run(x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        look = module.look(x, causal=True, key_mask=key_mask)
        return module(x, causal=True, key_mask=key_mask), look.weights

    assert torch.autograd.gradcheck(run, (x, *module.parameters()))


def test_under_autocast_weights_are_float32_and_all_is_close():
    module = MultiheadAttention(16, 4, positions=Shaw(4))
    (x,) = inputs((B, Q, 16), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = module.look(x)
    assert found.weights.dtype == torch.float32
    assert (found.context - module(x)).norm() < 0.05 * module(x).norm()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: m(x[..., :5]), ShapeError, r"query must be \(…, L, 12\). Got \(2, 4, 5\)"),
        (lambda m, x: m(x, x[..., :5]), ShapeError, r"keys must be \(…, L, 12\). Got \(2, 4, 5\)"),
        (lambda m, x: m(x, x, x[:, :3]), ShapeError, r"keys \(2, 4, 12\), values \(2, 3, 12\)"),
        (lambda m, x: m(x, None, x), InputError, "values need the keys they belong to"),
        (lambda m, x: m(x, mask=torch.ones(4, 4)), DtypeError, "mask must be boolean"),
        (lambda m, x: m(x.double()), DtypeError, "Got query float64, weights float32"),
        (lambda m, x: m(x, key_mask=[1, 1, 1, 1]), DtypeError, "key_mask must be boolean"),
        (lambda m, x: m(x, key_mask=[True] * 3), ShapeError, r"key_mask must be \(2, 4\).* Got \(3,\)"),
        (lambda m, x: m(x[0, 0]), ShapeError, r"query must be \(…, L, 12\). Got \(12,\)"),
        (lambda m, x: MultiheadAttention(12, 5), InputError, "5 heads do not divide width 12"),
        (lambda m, x: MultiheadAttention(12, 4, key_heads=3), InputError, "key_heads must divide heads"),
        (lambda m, x: MultiheadAttention(12, 4, dropout=1.0), InputError, r"in \[0, 1\). Got 1.0"),
    ],
)
def test_what_cannot_be_meant_is_an_error(call, error, message):
    with pytest.raises(error, match=message):
        call(MultiheadAttention(E, H), torch.ones(2, 4, E))

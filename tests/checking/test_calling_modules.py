"""Modules and functions of PyTorch and JAX are called as they are meant, as copies, and left as they were."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from regard.checking.calling import examine
from regard.checking.problems import Problem

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


def random_problem(*, inputs: str = "separate", width: int = 8, **changes: Any) -> Problem:
    rng = np.random.default_rng(5)
    query, keys = rng.normal(size=(2, 1, 4, width)), rng.normal(size=(2, 1, 5, width))
    if inputs == "self":
        return Problem(query, query, query, **changes)
    values = keys if inputs == "memory" else rng.normal(size=keys.shape)
    return Problem(query, keys, values, **changes)


def numbers(tensor: Any) -> np.ndarray:
    return tensor.detach().double().numpy()


class SelfAttention(nn.Module):
    """All three from one projection, as in many language models."""

    def __init__(self, n_embd, n_head, attn_pdrop=0.5):
        super().__init__()
        self.n_head = n_head
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.drop = nn.Dropout(attn_pdrop)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).split(C, dim=2)
        )
        weights = self.drop(F.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1))
        return self.c_proj((weights @ v).transpose(1, 2).reshape(B, T, C))


class Configured(SelfAttention):
    def __init__(self, config):
        super().__init__(config.n_embd, config.n_head, config.attn_pdrop)


class Additive(nn.Module):
    """Bahdanau's attention in the order of a decoder: the state and what the encoder gave."""

    def __init__(self, hidden_size):
        super().__init__()
        self.w, self.u, self.v = (
            nn.Linear(hidden_size, hidden_size),
            nn.Linear(hidden_size, hidden_size),
            nn.Linear(hidden_size, 1),
        )

    def forward(self, query, keys):
        scores = self.v(torch.tanh(self.w(query) + self.u(keys))).mT
        weights = scores.softmax(-1)
        return weights @ keys, weights


class Narrowing(nn.Module):
    """Three features in, two out."""

    def __init__(self, d_in=3, d_out=2):
        super().__init__()
        self.w_query, self.w_key, self.w_value = (nn.Linear(d_in, d_out) for _ in range(3))

    def forward(self, x):
        scores = self.w_query(x) @ self.w_key(x).mT / math.sqrt(self.w_key.out_features)
        return scores.softmax(-1) @ self.w_value(x)


class Lazy(nn.Module):
    """It learns its width from its first call."""

    def __init__(self, num_hiddens, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.LazyLinear(num_hiddens) for _ in range(4))

    def forward(self, queries, keys, values, valid_lens):
        q, k, v = (
            projection(each).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection, each in ((self.W_q, queries), (self.W_k, keys), (self.W_v, values))
        )
        hidden = torch.arange(k.shape[2]) >= valid_lens[:, None, None, None]
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(hidden, -1e6)
        return self.W_o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class ValuesFirst(nn.Module):
    """A mask that has to be given, as the heads need it."""

    def __init__(self, embed_size, heads):
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values = (nn.Linear(embed_size, embed_size) for _ in range(3))

    def forward(self, values, keys, query, mask):
        q, k, v = (
            projection(each).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, each in ((self.queries, query), (self.keys, keys), (self.values, values))
        )
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(mask == 0, -1e20)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("module", "options", "inputs", "heads"),
    [
        (SelfAttention(8, 2), {}, "self", 2),
        (SelfAttention, {}, "self", 2),
        (SelfAttention, {"heads": 4}, "self", 4),
        (Configured, {}, "self", 2),
        (Additive(8), {}, "memory", 1),
        (Additive, {}, "memory", 1),
        (Lazy(8, 2), {}, "separate", 2),
        (Lazy, {}, "separate", 2),
        (ValuesFirst(8, 2), {}, "separate", 2),
        (ValuesFirst, {"width": 8, "heads": 4}, "separate", 4),
    ],
)
def test_a_module_or_a_class_is_made_out(module, options, inputs, heads):
    subject = examine(module, **options)
    assert (subject.framework, subject.axes, subject.inputs) == ("torch", "BQD", inputs)
    assert (subject.heads, subject.width, subject.projected) == (heads, 8, True)
    answer = subject.ask(random_problem(inputs=inputs))
    assert answer.error == "" and answer.context is not None


def test_a_module_gives_what_it_gives_in_evaluation_and_is_left_as_it_was():
    module = SelfAttention(8, 2).train()
    before = copy.deepcopy(module.state_dict())
    asked = random_problem(inputs="self")
    answer = examine(module).ask(asked)
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert next(module.parameters()).dtype == torch.float32
    direct = copy.deepcopy(module).eval().double()(torch.tensor(asked.query[:, 0]))
    np.testing.assert_allclose(answer.context[:, 0], numbers(direct))


def test_a_module_with_the_identity_for_its_projections_is_the_textbooks():
    plain = examine(SelfAttention(8, 2)).plain()
    assert plain is not None and not plain.projected
    asked = random_problem(inputs="self")
    x = torch.tensor(asked.query[:, 0]).unflatten(-1, (2, 4)).transpose(1, 2)
    direct = F.scaled_dot_product_attention(x, x, x).transpose(1, 2).flatten(2)
    np.testing.assert_allclose(plain.ask(asked).context[:, 0], numbers(direct))


@pytest.mark.parametrize("module", [Additive(8), Narrowing()])
def test_additive_scores_and_other_widths_have_no_such_form(module):
    assert examine(module).plain() is None


def test_a_context_may_have_other_features_than_what_came_in():
    subject = examine(Narrowing())
    assert subject.width == 3
    answer = subject.ask(random_problem(inputs="self", width=3, gradients=True))
    assert answer.context.shape == (2, 1, 4, 3) and answer.shape == (2, 4, 2)
    assert answer.gradients["query"].shape == (2, 1, 4, 3)


def test_a_lazy_module_keeps_the_weights_of_its_first_call():
    subject = examine(Lazy(8, 2))
    wide, narrow = (subject.ask(random_problem(dtype=dtype)).context for dtype in ("float64", "float32"))
    np.testing.assert_allclose(wide, narrow, atol=1e-5)


def test_a_mask_that_has_to_be_given_is_found_in_the_form_that_fits():
    subject = examine(ValuesFirst(8, 2))
    assert subject.takes_mask
    mask = np.ones((2, 1, 4, 5), dtype=bool)
    mask[:, :, :, 0] = False
    asked = random_problem(mask=mask)
    moved = asked.keys.copy()
    moved[:, :, 0] += 3
    first = subject.ask(asked).context
    second = subject.ask(random_problem(mask=mask)).context
    np.testing.assert_array_equal(first, second)
    third = subject.ask(Problem(asked.query, moved, asked.values, mask=mask)).context
    np.testing.assert_allclose(first, third)


def test_the_states_of_torch_are_left_as_they_were():
    def careless(q, k, v):
        torch.manual_seed(0)
        torch.rand(3)
        return F.scaled_dot_product_attention(q, k, v)

    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    examine(careless).ask(random_problem())
    assert torch.equal(torch.rand(4), expected)


def attend(q, k, v):
    return F.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v


def test_gradients_are_those_of_the_sum_that_is_asked_for():
    cotangent = np.random.default_rng(0).normal(size=(2, 1, 4, 8))
    asked = random_problem(gradients=True, cotangent=cotangent)
    found = examine(attend).ask(asked).gradients
    tracked = [torch.tensor(each, requires_grad=True) for each in (asked.query, asked.keys, asked.values)]
    (attend(*tracked) * torch.tensor(cotangent)).sum().backward()
    for name, tensor in zip(("query", "keys", "values"), tracked, strict=True):
        np.testing.assert_allclose(found[name], tensor.grad.numpy())


def test_jax_is_found_by_its_names_and_under_jit():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def softly(query, keys, values):
        scores = query @ keys.swapaxes(-1, -2) / jnp.sqrt(query.shape[-1])
        return jax.nn.softmax(scores, axis=-1) @ values

    asked = random_problem(dtype="float32", gradients=True)
    direct = numbers(attend(*(torch.tensor(each) for each in (asked.query, asked.keys, asked.values))))
    for function in (softly, jax.jit(softly)):
        subject = examine(function)
        assert subject.framework == "jax" and subject.differentiable
        answer = subject.ask(asked)
        np.testing.assert_allclose(answer.context, direct, atol=1e-5)
        assert set(answer.gradients) == {"query", "keys", "values"}


class Translation(nn.Module):
    """The decoder's state (1, B, D), the encoder's outputs (K, B, 2 E), as of a bidirectional encoder."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.attention, self.v = nn.Linear(encoder + decoder, decoder), nn.Linear(decoder, 1, bias=False)

    def forward(self, hidden, encoder_outputs):
        states = hidden.expand(len(encoder_outputs), -1, -1)
        energy = torch.tanh(self.attention(torch.cat([states, encoder_outputs], dim=2)))
        weights = self.v(energy).squeeze(2).T.softmax(dim=1)
        return torch.einsum("bk,kbe->be", weights, encoder_outputs), weights


class Unlike(nn.Module):
    """Query, keys and hidden layer have widths of their own."""

    def __init__(self, encoder_dim, decoder_dim, attention_dim):
        super().__init__()
        self.u, self.w = nn.Linear(decoder_dim, attention_dim), nn.Linear(encoder_dim, attention_dim)
        self.v = nn.Linear(attention_dim, 1)

    def forward(self, encoder_out, decoder_hidden):
        energy = torch.tanh(self.w(encoder_out) + self.u(decoder_hidden)[:, None])
        weights = self.v(energy).squeeze(2).softmax(dim=1)
        return (weights[:, :, None] * encoder_out).sum(1), weights


class Trevett(nn.Module):
    """The state (B, D) and a bidirectional encoder's outputs (K, B, 2 D); weights alone."""

    def __init__(self, hidden):
        super().__init__()
        self.attention, self.v = nn.Linear(3 * hidden, hidden), nn.Linear(hidden, 1, bias=False)

    def forward(self, hidden, encoder_outputs, mask):
        outputs = encoder_outputs.transpose(0, 1)
        states = hidden[:, None].expand(-1, outputs.shape[1], -1)
        energy = torch.tanh(self.attention(torch.cat([states, outputs], dim=2)))
        return self.v(energy).squeeze(2).masked_fill(mask == 0, -1e10).softmax(dim=1)


@pytest.mark.parametrize(
    ("module", "inputs", "width"),
    [
        (Trevett(8), "memory", 12),
        (Translation(6, 6), "memory", 6),
        (Unlike(12, 9, 5), "memory", 9),
        (nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True), "separate", 8),
    ],
)
def test_keys_and_values_may_have_other_features_than_the_query(module, inputs, width):
    subject = examine(module)
    assert (subject.inputs, subject.width, subject.plain()) == (inputs, width, None)
    asked = random_problem(inputs=inputs, width=width, gradients=True)
    if "B" not in subject.axes:
        first = {name: getattr(asked, name)[:1] for name in ("query", "keys", "values")}
        asked = Problem(**first, gradients=True)
    answer = subject.ask(asked)
    assert answer.error == "" and answer.context.shape == asked.query.shape
    assert {name: each.shape for name, each in answer.gradients.items()} == {
        name: getattr(asked, name).shape for name in answer.gradients
    }
    moved = asked.keys.copy()
    moved[:, :, 2] += 1
    changed = subject.ask(Problem(asked.query, moved, asked.values if inputs == "separate" else moved))
    assert (np.abs(changed.context - answer.context) > 1e-6).any()


class WeightsAlone(nn.Module):
    """Luong's dot scores, as in PyTorch's chatbot: the decoder takes the average itself."""

    def __init__(self, hidden_size=8):
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, hidden, encoder_outputs):
        return (hidden * encoder_outputs).sum(dim=2).T.softmax(dim=1).unsqueeze(1)


def test_who_gives_weights_alone_of_a_memory_is_judged_by_them():
    subject = examine(WeightsAlone())
    assert subject.inputs == "memory" and subject.gives_weights and not subject.differentiable
    asked = random_problem(inputs="memory")
    answer = subject.ask(asked)
    weights = numbers(torch.tensor(asked.query @ asked.keys.swapaxes(-1, -2)).softmax(-1))
    np.testing.assert_allclose(answer.weights, weights)
    np.testing.assert_allclose(answer.context, weights @ asked.keys)

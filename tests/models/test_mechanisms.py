"""What each mechanism of attention learns by, and which settings mean which mechanism."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor

from regard.core import normalizers
from regard.data.tokenization import PAD, START
from regard.errors import InputError
from regard.models import decoder
from regard.models.config import MARGINALS, REMEMBERING, SCORES, AttentionName, RecurrentConfig
from regard.models.mechanisms import make_mechanism
from regard.models.recurrent import RecurrentTranslator
from regard.nn import soft
from regard.nn.coverage import coverage_loss
from regard.nn.picking import Picker

NAMES = get_args(AttentionName)
VOCABULARY = 11
LENGTHS = torch.tensor([5, 2, 4])
NO_DROPOUT = {"embedding_dropout": 0.0, "dropout": 0.0}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def made(**settings: Any) -> RecurrentTranslator:
    model = RecurrentTranslator(RecurrentConfig(embedding=6, width=8, **NO_DROPOUT | settings), VOCABULARY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.double()


def texts(copies: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Source and lengths; what each step is given, and what it is to say, padded behind."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(4, VOCABULARY, (3, 5), generator=generator)
    source = source.masked_fill(torch.arange(5) >= LENGTHS[:, None], PAD)
    given = torch.randint(4, VOCABULARY, (3, 4), generator=generator)
    wanted = torch.cat([given[:, 1:], given[:, :1]], dim=1)
    given[:, 0] = START
    behind = torch.arange(4) >= torch.tensor([4, 2, 3])[:, None]
    parts = (source, LENGTHS, given.masked_fill(behind, PAD), wanted.masked_fill(behind, PAD))
    return tuple(part.repeat(copies, *[1] * (part.dim() - 1)) for part in parts)  # pyright: ignore


def said(model: RecurrentTranslator) -> Tensor:
    """The log-probability (B, T) of each wanted word, 0 of padding."""
    source, lengths, given, wanted = texts()
    found = model.log_probabilities(*model(source, lengths, given))
    return found.gather(-1, wanted[..., None])[..., 0].masked_fill(wanted == PAD, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_minus_the_log_probability_of_what_is_wanted(name):
    model = made(attention=name).eval()
    torch.testing.assert_close(model.loss(*texts()), -said(model).sum())


@pytest.mark.parametrize("name", NAMES)
def test_smoothing_makes_the_loss_larger_where_a_model_is_sure(name):
    model = made(attention=name).eval()
    plain, smoothed = (model.loss(*texts(), smoothing=smoothing) for smoothing in (0.0, 0.3))
    assert smoothed.isfinite()
    assert not torch.allclose(plain, smoothed)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_a_model_gets_a_gradient(name):
    model = made(attention=name, baseline="moving_average")
    model.loss(*texts(), smoothing=0.1).backward()
    without = [
        key
        for key, p in model.named_parameters()
        if p.requires_grad and not (p.grad is not None and p.grad.any())
    ]
    assert not without


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_without_words_is_learned_from_without_a_nan(name):
    model = made(attention=name)
    source, lengths, given, wanted = texts()
    lengths = torch.tensor([5, 0, 4])
    total = model.loss(source.masked_fill(torch.arange(5) >= lengths[:, None], PAD), lengths, given, wanted)
    total.backward()
    assert total.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_the_loss_is_close_and_weights_and_probabilities_are_float32(name):
    model = made(attention=name).float().eval()
    source, lengths, given, wanted = texts()
    exact = model.loss(source, lengths, given, wanted)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(source, lengths, given, wanted)
        _, weights = model(source, lengths, given)
        steps, state = model.start(model.encode(source, lengths))
        log_probabilities, looked, _ = model.step(steps, state, given[:, 0])
    assert {part.dtype for part in (loss, weights, looked, log_probabilities)} == {torch.float32}
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0.0)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", MARGINALS)
def test_the_log_probability_of_a_sentence_is_the_sum_over_all_places_to_look(name):
    """By enumerating every sequence of keys, with what each key alone would say."""
    model = made(attention=name, score="additive").eval()
    source, lengths, given, wanted = texts()
    encoded = model.encode(source, lengths)
    steps, _ = model.start(encoded)
    with torch.no_grad():
        states = steps.states(model._word_gates(given), encoded.start)
        scores = steps.scores(states, None)
        features = model(source, lengths, given)[0]
        words = torch.log_softmax(model.logits(features), -1)
    for row, count in enumerate(LENGTHS.tolist()):
        spoken = int((wanted[row] != PAD).sum())
        total = torch.zeros((), dtype=torch.float64)
        paths = torch.cartesian_prod(*[torch.arange(count)] * spoken).view(-1, spoken)
        for path in paths.tolist():
            probability = torch.ones((), dtype=torch.float64)
            first = 0
            for step, key in enumerate(path):
                weights = torch.softmax(scores[row, step, first:count], -1)
                if key < first:
                    probability = probability * 0
                    break
                probability = (
                    probability * weights[key - first] * words[row, step, key, wanted[row, step]].exp()
                )
                first = key if name == "monotonic_marginal" else 0
            total = total + probability
        torch.testing.assert_close(said(model)[row].sum(), total.log())


def expected_loss(model: RecurrentTranslator) -> Tensor:
    """The mean loss over all draws: each step's loss by each key, weighed by how likely that is drawn."""
    source, lengths, given, wanted = texts()
    twin = RecurrentTranslator(replace(model.config, attention="marginal"), VOCABULARY).double()
    parameters = dict(model.named_parameters())
    features, weights = torch.func.functional_call(twin, parameters, (source, lengths, given))
    words = torch.log_softmax(model.logits(features), -1)
    losses = -words.gather(-1, wanted[:, :, None, None].expand(-1, -1, words.shape[2], 1))[..., 0]
    return (losses * weights).sum(-1).masked_fill(wanted == PAD, 0.0).sum()


@pytest.mark.parametrize("baseline", ["self_critical", "moving_average"])
def test_the_gradient_of_reinforce_is_on_average_that_of_the_expected_loss(baseline, monkeypatch):
    monkeypatch.setattr(decoder, "ENTROPY_WEIGHT", 0.0)
    model = made(attention="reinforce", score="additive", input_feeding=False, baseline=baseline)
    wanted = list(model.decoder.score.parameters())
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(expected_loss(model), wanted)])
    copies = 3000
    total = model.loss(*texts(copies)) / copies
    found = torch.cat([g.flatten() for g in torch.autograd.grad(total, wanted)])
    assert (found - exact).norm() < 0.15 * exact.norm()


def test_what_reinforce_adds_to_the_loss_has_no_value():
    model = made(attention="reinforce")
    torch.manual_seed(3)
    loss = model.loss(*texts())
    torch.manual_seed(3)
    source, lengths, given, _ = texts()
    wanted = texts()[3]
    found = model.log_probabilities(*model(source, lengths, given)).gather(-1, wanted[..., None])[..., 0]
    torch.testing.assert_close(loss, -found.masked_fill(wanted == PAD, 0.0).sum())


def test_the_moving_average_of_rewards_moves_in_training_alone():
    model = made(attention="reinforce", baseline="moving_average")
    rewards = cast("decoder.RecurrentDecoder", model.decoder).rewards
    first = -model.loss(*texts()).item() / int((texts()[3] != PAD).sum())
    torch.testing.assert_close(rewards.tolist(), [first, 1.0])
    second = -model.loss(*texts()).item() / int((texts()[3] != PAD).sum())
    torch.testing.assert_close(rewards.tolist(), [0.9 * first + 0.1 * second, 2.0])
    model.eval().loss(*texts())
    assert rewards[1] == 2
    assert not rewards.requires_grad


def test_self_criticism_leaves_a_model_in_training_and_draws_nothing():
    model = made(attention="reinforce", baseline="self_critical")
    model.loss(*texts())
    assert all(module.training for module in model.modules())
    assert not hasattr(model.decoder, "rewards")


@pytest.mark.parametrize("name", ["general", "coverage", "gumbel"])
def test_the_loss_of_looking_again_is_added_with_its_weight(name):
    model = made(attention=name, coverage_loss=0.5).eval()
    source, lengths, given, wanted = texts()
    weights = model(source, lengths, given)[1]
    repeated = coverage_loss(weights).masked_fill(wanted == PAD, 0.0).sum()
    torch.testing.assert_close(model.loss(*texts()), 0.5 * repeated - said(model).sum())


@pytest.mark.parametrize("name", ["hardmax", "reinforce", "gumbel", "straight_through", "monotonic"])
def test_in_evaluation_one_key_is_picked_the_same_each_time(name):
    model = made(attention=name).eval()
    source, lengths, given, _ = texts()
    first, second = (model(source, lengths, given)[1] for _ in range(2))
    assert torch.equal(first, second)
    assert set(first.unique().tolist()) <= {0.0, 1.0}
    assert (first.sum(-1) <= 1).all()


@pytest.mark.parametrize("name", ["reinforce", "gumbel", "straight_through", "monotonic", "mocha"])
def test_in_training_what_is_drawn_depends_on_the_global_random_state_alone(name):
    model = made(attention=name)
    source, lengths, given, _ = texts()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model(source, lengths, given)[1])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", MARGINALS)
def test_what_sums_over_keys_is_not_fed_whatever_is_set(name):
    fed, unfed = (made(attention=name, input_feeding=feeding) for feeding in (True, False))
    assert not fed.config.feeds
    assert [key for key, _ in fed.named_parameters()] == [key for key, _ in unfed.named_parameters()]
    assert not any("feed" in key for key, _ in fed.named_parameters())


@pytest.mark.parametrize("attention", MARGINALS)
@pytest.mark.parametrize("score", REMEMBERING)
def test_what_sums_over_keys_takes_no_score_that_remembers(attention, score):
    with pytest.raises(InputError, match=rf"^model.score is '{score}', which remembers where was looked"):
        RecurrentConfig(attention=attention, score=score)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 7}, "model.width is even, half of it for each direction of the encoder; got 7."),
        ({"width": 0}, "model.width is even, half of it for each direction of the encoder; got 0."),
        ({"cell": "rnn"}, "model.cell is one of gru, lstm; got 'rnn'."),
        ({"attention": "hard"}, f"model.attention is one of {', '.join(NAMES)}; got 'hard'."),
        ({"score": "softmax"}, f"model.score is one of {', '.join(SCORES)}; got 'softmax'."),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_outside_a_recipe_too(settings, message):
    with pytest.raises(InputError) as error:
        RecurrentConfig(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"attention": "gumbel", "temperature": -1.0},
        {"attention": "mocha", "window": 0},
        {"attention": "local_p", "window": 0},
        {"attention": "top_k", "top_k": 0},
        {"attention": "location", "positions": 0},
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_outside_a_recipe_too(settings):
    with pytest.raises(InputError, match=r"must be .*\. Got "):
        make_mechanism(RecurrentConfig(**settings))


@pytest.mark.parametrize("name", SCORES)
def test_a_score_alone_means_its_softmax(name):
    one, other = (
        make_mechanism(RecurrentConfig(attention=name)),
        make_mechanism(RecurrentConfig(attention="softmax", score=name)),
    )
    assert type(one.score) is type(other.score)
    assert one.weigher is other.weigher is soft.softmax


def test_the_numbers_of_a_recipe_reach_their_mechanisms():
    def weigher(name: Any) -> Any:
        config = RecurrentConfig(attention=name, temperature=0.5, window=5, top_k=3, positions=7)
        return make_mechanism(config).weigher

    assert weigher("general") == replace(normalizers.softmax_with(temperature=0.5)) or isinstance(
        weigher("general"), normalizers.Softmax
    )
    assert (
        weigher("general").temperature == weigher("gumbel").temperature == weigher("sink").temperature == 0.5
    )
    assert weigher("mocha").window == weigher("local_m").window == weigher("local_p").window == 5
    assert weigher("top_k").k == 3
    config = RecurrentConfig(attention="location", positions=7)
    assert cast("Any", make_mechanism(config).score).positions.out_features == 7


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*SCORES, *MARGINALS)])
def test_what_is_no_score_takes_the_one_that_is_set(name):
    mechanism = make_mechanism(RecurrentConfig(attention=name, score="additive"))
    assert type(mechanism.score).__name__ == "Additive"
    chunked = isinstance(mechanism.weigher, Picker) and mechanism.weigher.chunked
    assert (mechanism.chunk_score is not None) == chunked
    assert mechanism.chunk_score is not mechanism.score

"""The recurrent translator: one computation for known and own words, and each setting does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from regard.data.tokenization import PAD, START
from regard.errors import InputError
from regard.models.config import MARGINALS, NO_SHARES, AttentionName
from regard.models.decoder import DecoderState
from regard.models.recurrent import RecurrentConfig, RecurrentTranslator

VOCABULARY = 11
LENGTHS = torch.tensor([5, 2, 4])
NO_DROPOUT = {"embedding_dropout": 0.0, "dropout": 0.0, "recurrent_dropout": 0.0}
ALL_DROPOUT = {"embedding_dropout": 0.3, "dropout": 0.4, "recurrent_dropout": 0.2}
SETTINGS = [
    {"cell": cell, "attention": attention, "input_feeding": feeding, "encoder_layers": n, "decoder_layers": n}
    for cell, attention, feeding, n in product(
        ("gru", "lstm"), ("general", "additive"), (True, False), (1, 2)
    )
]
MECHANISMS: list[dict[str, Any]] = [
    {"cell": cell, "attention": attention, "score": score, "window": 2, "top_k": 2}
    for attention, cell, score in zip(
        get_args(AttentionName),
        cycle(("gru", "lstm")),
        cycle(("general", "additive", "cosine", "location_aware", "dot", "coverage")),
        strict=False,
    )
]
for each in MECHANISMS:
    if each["attention"] in MARGINALS:
        each["score"] = "concat"
COPYING = [
    {"cell": cell, "attention": attention, "copy": True}
    for attention, cell in zip(
        sorted({*get_args(AttentionName)} - {*NO_SHARES, "location"}), cycle(("gru", "lstm")), strict=False
    )
]
FEW_SETTINGS = SETTINGS[::5] + COPYING[:2]
ALL_SETTINGS = SETTINGS + MECHANISMS + COPYING
PICKED_WITHOUT_A_SLOPE = ("hardmax", "reinforce", "straight_through")
SMOOTH_SETTINGS = [each for each in ALL_SETTINGS if each["attention"] not in PICKED_WITHOUT_A_SLOPE]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def made(**settings: Any) -> RecurrentTranslator:
    """A tiny model in float64, whose weights are large enough to matter."""
    model = RecurrentTranslator(RecurrentConfig(embedding=6, width=8, **NO_DROPOUT | settings), VOCABULARY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.double()


def texts(seed: int = 0, steps: int = 4) -> tuple[Tensor, Tensor]:
    """Source (B, S), padded behind, and target (B, T) as the decoder is given it."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(4, VOCABULARY, (len(LENGTHS), int(LENGTHS.max())), generator=generator)
    source = source.masked_fill(torch.arange(source.shape[1]) >= LENGTHS[:, None], PAD)
    target = torch.randint(4, VOCABULARY, (len(LENGTHS), steps), generator=generator)
    target[:, 0] = START
    return source, target


def loss(model: RecurrentTranslator) -> Tensor:
    """Of all words and, a little, of where was looked; what is drawn is drawn alike each time."""
    source, target = texts()
    torch.manual_seed(1)
    features, weights = model(source, LENGTHS, target)
    said = model.log_probabilities(features, weights, source)[..., 4:]
    return -said.mean() + (weights * torch.linspace(0, 1, weights.shape[-1])).sum()


def name(settings: dict[str, Any]) -> str:
    return "-".join(str(value) for value in settings.values())


@pytest.mark.parametrize("tied", ["all", "target", "none"])
@pytest.mark.parametrize("settings", SMOOTH_SETTINGS, ids=name)
def test_every_setting_has_the_gradient_of_finite_differences(settings, tied):
    model = made(**settings, tied=tied)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(model), parameters)
    directions = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    heights = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=step)
            heights.append(float(loss(model)))
    assert slope == pytest.approx((heights[0] - heights[1]) / 2e-5, rel=1e-5, abs=1e-8)
    assert all(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("settings", FEW_SETTINGS, ids=name)
def test_the_gradient_of_each_parameter_is_that_of_finite_differences(settings):
    model = made(**settings)

    def run(*_: Tensor) -> Tensor:
        return loss(model)

    assert torch.autograd.gradcheck(run, tuple(model.parameters()), fast_mode=True)


def stepped(model: RecurrentTranslator, encoded: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, T, V) and weights (B, T, S) of saying the target word by word."""
    steps, state = model.start(encoded)
    found = []
    for words in target.T:
        log_probabilities, weights, state = model.step(steps, state, words)
        found.append((log_probabilities, weights))
    said, looked = zip(*found, strict=True)
    return torch.stack(said, dim=1), torch.stack(looked, dim=1)


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=name)
def test_running_along_known_words_is_saying_them_one_by_one(settings):
    model = made(**settings).eval()
    source, target = texts()
    features, weights = model(source, LENGTHS, target)
    said, looked = stepped(model, model.encode(source, LENGTHS), target)
    torch.testing.assert_close(said, model.log_probabilities(features, weights, source))
    torch.testing.assert_close(looked, weights)
    torch.testing.assert_close(said.exp().sum(-1), torch.ones(target.shape, dtype=torch.float64))


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=name)
def test_several_hypotheses_of_a_sentence_are_stepped_as_if_alone(settings):
    model = made(**settings).eval()
    source, _ = texts()
    targets = torch.stack([texts(seed)[1] for seed in (1, 2)], dim=1)  # (B, 2, T)
    steps, state = model.start(model.encode(source, LENGTHS))
    state = state.select(torch.arange(len(LENGTHS)).repeat_interleave(2))
    for position in range(targets.shape[2]):
        words = targets[:, :, position].flatten()
        log_probabilities, weights, state = model.step(steps, state, words)
    for hypothesis in range(2):
        said, looked = stepped(model, model.encode(source, LENGTHS), targets[:, hypothesis])
        torch.testing.assert_close(log_probabilities[hypothesis::2], said[:, -1])
        torch.testing.assert_close(weights[hypothesis::2], looked[:, -1])


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=name)
def test_sentences_are_selected_and_repeated_at_any_point(settings):
    model = made(**settings).eval()
    source, target = texts()
    encoded = model.encode(source, LENGTHS)
    said, looked = stepped(model, encoded, target)
    rows = torch.tensor([2, 0, 2])
    for found, expected in zip(
        stepped(model, encoded.select(rows), target[rows]), (said, looked), strict=True
    ):
        torch.testing.assert_close(found, expected[rows])
    steps, state = model.start(encoded)
    _, _, state = model.step(steps, state, target[:, 0])
    found, weights, _ = model.step(steps.select(rows), state.select(rows), target[rows, 1])
    torch.testing.assert_close((found, weights), (said[rows, 1], looked[rows, 1]))


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=name)
def test_a_sentence_depends_neither_on_its_neighbours_nor_on_its_padding(settings):
    model = made(**settings).eval()
    source, target = texts()
    features, weights = model(source, LENGTHS, target)
    for row, length in enumerate(LENGTHS.tolist()):
        for wider in (0, 3):  # what stands in the padding does not matter either
            alone = torch.full((1, length + wider), VOCABULARY - 1)
            alone[:, :length] = source[row, :length]
            found, looked = model(alone, LENGTHS[row : row + 1], target[row : row + 1])
            said = model.log_probabilities(found, looked, alone)
            torch.testing.assert_close(said[0], model.log_probabilities(features, weights, source)[row])
            torch.testing.assert_close(looked[0, :, :length], weights[row, :, :length])
            assert not looked[:, :, length:].any()


@pytest.mark.parametrize("settings", FEW_SETTINGS, ids=name)
def test_each_step_looks_with_weights_that_sum_to_one_and_not_at_padding(settings):
    source, target = texts()
    _, weights = made(**settings)(source, LENGTHS, target)
    torch.testing.assert_close(weights.sum(-1), torch.ones(target.shape, dtype=torch.float64))
    assert (weights >= 0).all()
    assert not weights.masked_select((source == PAD)[:, None].expand_as(weights)).any()


def test_a_sentence_without_words_is_not_a_number_problem():
    model = made().eval()
    source, target = texts()
    lengths = torch.tensor([5, 0, 4])
    features, weights = model(source, lengths, target)
    assert features.isfinite().all()
    assert not weights[1].any()
    expected = model(source[::2], lengths[::2], target[::2])
    torch.testing.assert_close((features[::2], weights[::2]), expected)


@pytest.mark.parametrize("attention", get_args(AttentionName))
def test_keys_are_projected_once_a_sentence(attention, monkeypatch):
    model = made(attention=attention).eval()
    score, calls = model.decoder.score, []
    prepare = score.prepare
    monkeypatch.setitem(vars(score), "prepare", lambda keys: calls.append(keys.shape) or prepare(keys))
    source, target = texts()
    model(source, LENGTHS, target)
    assert calls == [(len(LENGTHS), source.shape[1], 8)]
    stepped(model, model.encode(source, LENGTHS), target)
    assert len(calls) == 2


def fed(model: RecurrentTranslator) -> bool:
    """Whether a step depends on where the step before looked."""
    source, target = texts()
    steps, state = model.start(model.encode(source, LENGTHS))
    _, _, state = model.step(steps, state, target[:, 0])
    assert isinstance(state, DecoderState)
    other = replace(state, attended=state.attended + 1)
    results = [model.step(steps, each, target[:, 1])[0] for each in (state, other)]
    return not torch.equal(*results)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_without_input_feeding_a_step_does_not_know_where_the_last_one_looked(cell, layers):
    with_feed = made(cell=cell, decoder_layers=layers)
    without = made(cell=cell, decoder_layers=layers, input_feeding=False)
    assert fed(with_feed)
    assert not fed(without)
    assert not any("feed" in name for name, _ in without.named_parameters())


def test_tied_embeddings_are_one_matrix():
    sizes = {}
    for tied in ("all", "target", "none"):
        model = made(tied=tied)
        target, source = model.target_embedding.weight, model.source_embedding.weight
        assert (source is target) == (tied == "all")
        assert (model.output.weight is target) == (tied != "none")
        sizes[tied] = sum(parameter.numel() for parameter in model.parameters())
    assert sizes["target"] - sizes["all"] == sizes["none"] - sizes["target"] == VOCABULARY * 6


def passes(model: RecurrentTranslator, times: int = 2) -> Iterator[Tensor]:
    source, target = texts()
    return (model(source, LENGTHS, target)[0] for _ in range(times))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_nothing_is_dropped_in_evaluation(cell):
    settings = {"cell": cell, "encoder_layers": 2, "decoder_layers": 2}
    model, without = made(**settings, **ALL_DROPOUT), made(**settings)
    without.load_state_dict(model.state_dict())
    before = torch.get_rng_state()
    first, second = passes(model.eval())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, next(passes(without)))
    first, second = passes(model.train())
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("rate", ALL_DROPOUT)
def test_each_kind_of_dropout_drops_something(rate):
    first, second = passes(made(decoder_layers=2, encoder_layers=2, **{rate: 0.5}).train())
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_masks_are_drawn_once_a_sentence_however_long_it_gets(cell):
    model = made(cell=cell, encoder_layers=2, decoder_layers=2, **ALL_DROPOUT).train()
    after = []
    for steps in (1, 4, 9):
        source, target = texts(steps=steps)
        torch.manual_seed(3)
        model(source, LENGTHS, target)
        after.append(torch.get_rng_state())
    assert all(torch.equal(state, after[0]) for state in after)


@pytest.mark.parametrize("masks", ["state_masks", "layer_masks", "output_mask"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_each_mask_of_the_decoder_hides_something(cell, masks):
    model = made(cell=cell, decoder_layers=2, dropout=0.5, recurrent_dropout=0.5).eval()
    source, target = texts()
    encoded = model.encode(source, LENGTHS)
    expected, _ = stepped(model, encoded, target)
    masked, _ = model.train().decoder.start(encoded)
    steps, state = model.eval().decoder.start(encoded)
    vars(steps)[masks] = vars(masked)[masks]
    for position, words in enumerate(target.T[:2]):
        log_probabilities, _, state = model.step(steps, state, words)
        assert not torch.allclose(log_probabilities, expected[:, position])


def test_embeddings_start_at_unit_size():
    model = RecurrentTranslator(RecurrentConfig(embedding=64, width=8), 500)
    embedded = model.eval()._embed(model.source_embedding, torch.arange(500)[None])
    assert embedded.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.02)


def test_a_feature_that_is_dropped_is_dropped_at_every_step_of_its_sentence():
    model = made(dropout=0.5, embedding_dropout=0.5).train()
    source, target = texts(steps=6)
    embedded = model._embed(model.target_embedding, target) == 0
    assert torch.equal(embedded, embedded[:, :1].expand_as(embedded))
    assert 0 < embedded.double().mean() < 1
    assert not torch.equal(embedded[0], embedded[1])

    steps, state = model.start(model.encode(source, LENGTHS))
    dropped = []
    for words in target.T:
        _, _, state = model.step(steps, state, words)
        dropped.append(state.attended == 0)
    assert all(torch.equal(each, dropped[0]) for each in dropped)
    assert 0 < dropped[0].double().mean() < 1


@pytest.mark.parametrize("settings", FEW_SETTINGS, ids=name)
def test_under_autocast_all_is_close_and_what_is_normalised_is_float32(settings):
    model = made(**settings).float()
    source, target = texts()
    features, weights = model(source, LENGTHS, target)
    with torch.autocast("cpu", torch.bfloat16):
        narrow, looked = model(source, LENGTHS, target)
        steps, state = model.start(model.encode(source, LENGTHS))
        log_probabilities, _, state = model.step(steps, state, target[:, 0])
    assert looked.dtype == log_probabilities.dtype == torch.float32
    assert {part.dtype for layer in state.layers for part in layer} == {torch.float32}
    assert (narrow - features).norm() < 0.05 * features.norm()
    assert (looked - weights).abs().max() < 0.05


@pytest.mark.parametrize("settings", COPYING, ids=name)
@pytest.mark.parametrize("coverage", [0.0, 0.5])
def test_the_loss_of_a_model_that_copies_is_of_what_it_says_and_of_looking_twice(settings, coverage):
    model = made(**settings, coverage_loss=coverage).eval()
    source, given = texts()
    wanted = torch.cat([given[:, 1:], torch.full((3, 1), PAD)], dim=1)
    found = model.loss(source, LENGTHS, given, wanted)
    features, weights = model(source, LENGTHS, given)
    said = model.log_probabilities(features, weights, source)
    expected = -said.gather(-1, wanted[..., None])[..., 0][wanted != PAD].sum()
    for step in range(1, 3):
        before = weights[:, :step].sum(1)
        expected += coverage * torch.minimum(before, weights[:, step]).sum()
    torch.testing.assert_close(found, expected)


def test_what_is_copied_is_what_would_not_be_said_without():
    model = made(copy=True).eval()
    source, given = texts()
    wanted = source[:, :4].clone()
    wanted[0] = torch.tensor([token for token in range(4, VOCABULARY) if token not in source[0]][:1] * 4)
    shares = model.copy_shares(source, LENGTHS, given, wanted)
    features, weights = model(source, LENGTHS, given)
    whole = model.log_probabilities(features, weights, source).exp().gather(-1, wanted[..., None])[..., 0]
    spoken = torch.softmax(model.logits(features[..., :-1]), -1) * torch.sigmoid(features[..., -1:])
    torch.testing.assert_close(1 - shares, spoken.gather(-1, wanted[..., None])[..., 0] / whole)
    assert not shares[0].any()
    assert (shares[2] > 0).all()


@pytest.mark.parametrize("attention", NO_SHARES)
def test_copying_by_weights_that_are_no_shares_is_refused(attention):
    with pytest.raises(InputError, match=rf"model.copy is true, but .* model.attention '{attention}'"):
        RecurrentConfig(copy=True, attention=attention)


def test_what_a_model_that_copies_says_cannot_be_known_without_what_it_read():
    model = made(copy=True).eval()
    source, given = texts()
    with pytest.raises(InputError, match="hand source="):
        model.log_probabilities(*model(source, LENGTHS, given))

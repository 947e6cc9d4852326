"""Every mechanism of attention learns to write dates, and is a setting of the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, get_args

import numpy as np
import pytest
import torch

import regard
from regard.data import dates
from regard.data.batches import Batch, Batches
from regard.data.tokenization import Tokenizer
from regard.decoding.translator import Model
from regard.errors import Interrupted
from regard.models.config import MARGINALS, SCORES, AttentionName, RecurrentConfig
from regard.models.recurrent import RecurrentTranslator
from regard.training.distributed import Loss
from regard.training.loop import batch_loss, make_optimizer
from regard.training.master import MasterWeights
from regard.training.recipe import TrainingSettings
from regard.training.run import load

NAMES = get_args(AttentionName)
WITHOUT_ALIGNMENT = "learned_query"
LOCALES = ("hu", "zh", "sv")  # that write year, month, day, so that what is monotonic can do it too
STEPS = {
    **dict.fromkeys(
        (
            "general",
            "gumbel",
            "hardmax",
            "local_p",
            "mocha",
            "monotonic_marginal",
            "sigmoid",
            "straight_through",
        ),
        200,
    ),
    **dict.fromkeys(("location", "local_m", "monotonic", "reinforce"), 280),
}
RATE = 0.01
SETTINGS = TrainingSettings(label_smoothing=0.0)


@dataclass(frozen=True)
class Trained:
    """A model, and what it is worth on dates it has not seen: nats a character, share of right characters."""

    model: Model
    loss: float
    right: float


@cache
def material() -> tuple[dates.Splits, Tokenizer]:
    parts = dates.splits(LOCALES, train=2000, valid=60, test=60)
    texts = [text for pair in parts.train for text in (pair.source, pair.target)]
    return parts, Tokenizer.train(texts, "character", vocabulary=200)


def batches(pairs: Sequence[dates.DatePair], tokens: int = 512) -> Batches:
    tokenizer = material()[1]
    sides = ([pair.source for pair in pairs], [pair.target for pair in pairs])
    sources, targets = ([encoded.ids for encoded in tokenizer.encode(side)] for side in sides)
    return Batches(sources, targets, tokens=tokens, seed=1)


def mean_loss(network: RecurrentTranslator, batch: Batch) -> torch.Tensor:
    return batch_loss(Loss(network), batch, SETTINGS, torch.float32, narrow=False) / batch.tokens


def shape(step: int, steps: int) -> float:
    """How the learning rate rises and falls."""
    return min(1.0, (step + 1) / 15, 2 * (steps - step) / steps)


@cache
def trained(name: Any) -> Trained:
    """A small model after a few steps."""
    torch.manual_seed(1)
    parts, tokenizer = material()
    config = RecurrentConfig(
        embedding=32,
        width=64,
        attention=name,
        score="additive",
        window=8 if name == "local_p" else 3,
        embedding_dropout=0.0,
        dropout=0.0,
    )
    network = RecurrentTranslator(config, len(tokenizer))
    weights = MasterWeights(network, torch.float32)
    optimizer = make_optimizer(weights, SETTINGS)
    learned, steps = batches(parts.train), STEPS.get(name, 150)
    for step, (_, batch) in enumerate(islice(learned.coming(), steps)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * shape(step, steps)
        mean_loss(network, batch).backward()
        weights.gather()
        torch.nn.utils.clip_grad_norm_(weights.flat, 1.0)
        optimizer.step()
    network.eval()
    unseen = batches(parts.valid, tokens=10_000)
    with torch.no_grad():
        loss = float(mean_loss(network, unseen.epoch(0)[0]))
    model = Model(network, tokenizer)
    outputs = [prediction.text for prediction in model.predict([p.source for p in parts.valid], beam=1)]
    targets = [pair.target for pair in parts.valid]
    hits = [
        a == b
        for output, target in zip(outputs, targets, strict=True)
        for a, b in zip(output, target, strict=False)
    ]
    return Trained(model, loss, sum(hits) / sum(map(len, targets)))


def test_what_looks_alike_at_every_step_learns_what_dates_look_like():
    floor = trained(WITHOUT_ALIGNMENT)
    assert floor.loss < 0.8
    assert 0.6 < floor.right < 0.85


@pytest.mark.parametrize("name", [name for name in NAMES if name != WITHOUT_ALIGNMENT])
def test_every_mechanism_learns_where_to_look(name):
    found, floor = trained(name), trained(WITHOUT_ALIGNMENT)
    assert found.loss < 0.7 * floor.loss
    assert found.right > 0.82


@pytest.mark.parametrize("name", NAMES)
def test_greedy_and_beam_search_run_and_show_where_was_looked(name):
    model, (parts, _) = trained(name).model, material()
    sources = [pair.source for pair in parts.test[:6]]
    greedy, best = model.predict(sources, beam=1), model.predict(sources, beam=4, nbest=3)
    for one, several in zip(greedy, best, strict=True):
        alternatives = several.alternatives
        assert [option.score for option in alternatives] == sorted(
            (option.score for option in alternatives), reverse=True
        )
        assert several.score == alternatives[0].score
        for option in (one, *alternatives):
            weights = np.asarray(option.alignment.weights)
            assert np.isfinite(weights).all()
            assert weights.min() >= 0
            if name != "sigmoid":
                assert weights.sum(-1).max() < 1 + 1e-5


@pytest.mark.parametrize("name", ["reinforce", "gumbel", "straight_through", "hardmax"])
def test_what_picks_shows_one_key_a_character(name):
    model, (parts, _) = trained(name).model, material()
    for prediction in model.predict([pair.source for pair in parts.test[:6]]):
        weights = np.asarray(prediction.alignment.weights)
        assert set(np.unique(weights)) <= {0.0, 1.0}
        assert (weights.sum(-1) == 1).all()


@pytest.mark.parametrize("name", ["monotonic", "mocha", "monotonic_marginal", "general", "coverage"])
def test_what_is_shown_while_saying_is_what_is_shown_when_it_is_made_to_say_it(name):
    model, (parts, _) = trained(name).model, material()
    sources = [pair.source for pair in parts.test[:6]]
    said = model.predict(sources, beam=1)
    records = model.align(sources, [prediction.text for prediction in said])
    for prediction, record in zip(said, records, strict=True):
        np.testing.assert_allclose(record.weights, prediction.alignment.weights, atol=1e-5)


SHORT = ["--set", "training.steps=2", "--set", "training.validate_every=2"]


@pytest.mark.parametrize(
    ("attention", "score"),
    [
        ("coverage", None),
        ("entmax", "cosine"),
        ("reinforce", "location_aware"),
        ("mocha", "additive"),
        ("local_p", "dot"),
        ("marginal", "scaled_dot"),
        ("monotonic_marginal", None),
    ],
)
def test_a_mechanism_is_a_setting_of_the_command_line(attention, score, corpus, config, tmp_path, cli):
    run = tmp_path / "run"
    settings = ["--set", f"model.attention={attention}"]
    settings += [] if score is None else ["--set", f"model.score={score}"]
    assert cli("fit", corpus, "--config", config, *SHORT, *settings, "--out", run).status == 0
    written = tomllib.loads((run / "regard.toml").read_text())["recipe"]["model"]
    assert written["attention"] == attention
    assert written["score"] == (score or "general")
    assert written["input_feeding"] == (attention not in MARGINALS), "the run says what was done"
    ended = cli("predict", run, "--beam", 2, stdin="1 2 3\n")
    assert (ended.status, ended.stdout.count("\n")) == (0, 1)


def test_an_unknown_mechanism_is_an_error_that_lists_the_known_ones(corpus, config, tmp_path, cli):
    for wrong, near in (
        ("hard", " Did you mean hardmax?"),
        ("soft_max", " Did you mean softmax?"),
        ("x", ""),
    ):
        arguments = ("fit", corpus, "--config", config, "--set", f"model.attention={wrong}")
        ended = cli(*arguments, "--out", tmp_path / "run")
        assert ended.status == 2
        expected = f"model.attention is one of {', '.join(NAMES)}; got {wrong!r}.{near}"
        assert " ".join(ended.stderr.split()) == f"regard: {expected}"


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_contradict_each_other_are_refused_in_any_order(order, corpus, config, tmp_path, cli):
    settings = ["model.attention=marginal", "model.score=coverage"][::order]
    arguments = [part for setting in settings for part in ("--set", setting)]
    ended = cli("fit", corpus, "--config", config, *arguments, "--out", tmp_path / "run")
    assert ended.status == 2
    assert "model.score is 'coverage', which remembers where was looked, but marginal sums" in ended.stderr


@pytest.mark.parametrize(
    "model",
    [
        {"attention": "reinforce", "baseline": "moving_average"},
        {"attention": "reinforce", "baseline": "self_critical"},
        {"attention": "monotonic"},
        {"attention": "monotonic_marginal"},
    ],
    ids=lambda model: "-".join(model.values()),
)
def test_a_run_that_draws_goes_on_bit_for_bit(model, pairs, recipe, tmp_path, listener, lines_of):
    def stop() -> None:
        raise KeyboardInterrupt

    settings = recipe.changed({"model": model})
    regard.fit(pairs, recipe=settings, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        regard.fit(pairs, recipe=settings, out=tmp_path / "run", reporter=listener({17: stop}))
    regard.fit(pairs, out=tmp_path / "run", resume=True)
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "whole")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == other


@pytest.mark.parametrize("name", SCORES[:3])
def test_a_run_from_before_there_were_other_mechanisms_loads(name, pairs, recipe, tmp_path):
    changes = {"model": {"attention": name}, "training": {"steps": 2, "validate_every": 2}}
    model = regard.fit(pairs, recipe=recipe.changed(changes), out=tmp_path / "run")
    path = tmp_path / "run" / "regard.toml"
    later = ("score", "temperature", "window", "top_k", "positions", "baseline", "coverage_loss")
    lines = [line for line in path.read_text().splitlines() if line.split(" =")[0] not in later]
    path.write_text("\n".join(lines) + "\n")
    texts = ["1 2", "3 4 5"]
    assert [p.text for p in load(tmp_path / "run").predict(texts)] == [p.text for p in model.predict(texts)]

"""The loop: what it learns, which weights it leaves, and why it stops."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

import regard
from regard.errors import TrainingError
from regard.training import loop
from regard.training.loop import mean_weights
from regard.training.master import MasterWeights
from regard.training.run import load
from regard.training.schedules import learning_rate


def weights_of(run):
    return load_file(run / "model.safetensors")


def best_of(run, *steps):
    return [load_file(run / "checkpoints" / f"best-{step}.safetensors") for step in steps]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_learns(trained, lines_of):
    losses = [line["loss"] for line in lines_of(trained) if "loss" in line]
    assert len(losses) == 150
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(unbroken, pairs, recipe, tmp_path):
    regard.fit(pairs, recipe=recipe, out=tmp_path / "same")
    regard.fit(pairs, recipe=recipe.changed({"training": {"seed": 2}}), out=tmp_path / "other")
    assert (tmp_path / "same/model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()
    assert not same(weights_of(tmp_path / "other"), weights_of(unbroken))


def test_each_step_has_the_rate_of_the_schedule(unbroken, recipe, lines_of):
    rates = [line["learning_rate"] for line in lines_of(unbroken) if "loss" in line]
    settings = recipe.training
    assert rates == [
        learning_rate(step, peak=settings.learning_rate, warmup=settings.warmup, total=settings.steps)
        for step in range(1, settings.steps + 1)
    ]


def test_the_gradient_is_clipped_to_its_largest_norm(pairs, recipe, tmp_path, monkeypatch):
    norms = []

    def spy(optimizer, *_, **__):
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norms.append(torch.stack([gradient.norm() for gradient in gradients]).norm().item())

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    for clip in (1e-3, 1e3):
        changed = recipe.changed({"training": {"clip": clip, "steps": 2}})
        regard.fit(pairs, recipe=changed, out=tmp_path / str(clip))
    assert norms[:2] == pytest.approx([1e-3, 1e-3], rel=1e-2)
    assert all(1e-2 < norm < 1e3 for norm in norms[2:])


def test_the_optimizer_is_adamw_with_the_settings_of_the_recipe(recipe):
    settings = recipe.changed({"training": {"weight_decay": 0.25, "betas": [0.5, 0.75]}}).training
    optimizer = loop.make_optimizer(MasterWeights(torch.nn.Linear(2, 2), torch.float32), settings)
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert (group["weight_decay"], group["betas"], group["lr"]) == (0.25, (0.5, 0.75), 0.01)


def test_the_mean_of_weights_is_taken_name_by_name():
    states = [
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3.0)},
        {"a": torch.zeros(2), "b": torch.tensor(5.0)},
    ]
    assert same(mean_weights(states), {"a": torch.tensor([0.5, 1.0]), "b": torch.tensor(4.0)})


def test_the_best_weights_are_averaged(pairs, recipe, tmp_path, scores, listener):
    scores(7.0, 5.0, 6.0, 8.0)  # the last is that of the mean
    regard.fit(pairs, recipe=recipe, out=tmp_path / "run", reporter=(heard := listener()))
    assert heard.validations == [(10, 7.0, 7.0), (20, 5.0, 7.0), (30, 6.0, 7.0)]
    assert same(weights_of(tmp_path / "run"), mean_weights(best_of(tmp_path / "run", 10, 30)))
    assert not (tmp_path / "run/checkpoints/best-20.safetensors").exists()


def test_the_best_weights_alone_are_taken_where_their_mean_is_worse(
    pairs, recipe, tmp_path, scores, listener
):
    scores(5.0, 7.0, 6.0, 6.9)
    regard.fit(pairs, recipe=recipe, out=tmp_path / "run", reporter=(heard := listener()))
    assert same(weights_of(tmp_path / "run"), *best_of(tmp_path / "run", 20))
    assert "the best weights alone are better than the mean of 2 (6.90)" in heard.notes


def test_without_averaging_only_the_best_weights_are_kept(pairs, recipe, tmp_path, scores):
    scores(5.0, 7.0, 7.0)
    regard.fit(pairs, recipe=recipe.changed({"training": {"average": 1}}), out=tmp_path / "run")
    kept = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert kept == {"step-30", "best-20.safetensors"}, "of equal scores the earlier one is the best"
    assert same(weights_of(tmp_path / "run"), *best_of(tmp_path / "run", 20))


def test_training_stops_when_patience_is_over(pairs, recipe, tmp_path, scores, listener):
    scores(5.0, 6.0, 6.0, 5.9, 6.0)
    changed = recipe.changed({"training": {"steps": 100, "patience": 2}})
    regard.fit(pairs, recipe=changed, out=tmp_path / "run", reporter=(heard := listener()))
    assert heard.steps[-1] == 40
    assert heard.notes[-1].startswith(
        "2 validations brought no better score: 40 steps, best validation bleu 6.00"
    )


def test_a_better_score_restores_patience(pairs, recipe, tmp_path, scores, listener):
    scores(5.0, 4.0, 6.0, 5.0, 5.0, 6.0)
    changed = recipe.changed({"training": {"steps": 100, "patience": 2}})
    regard.fit(pairs, recipe=changed, out=tmp_path / "run", reporter=(heard := listener()))
    assert heard.steps[-1] == 50


def test_the_clock_stops_a_run_which_is_validated_once_more_where_it_ends(
    pairs, recipe, tmp_path, listener, lines_of
):
    limit = {"minutes": 0.4 / 60, "steps": 10**6, "validate_every": 10**6, "decay": "constant"}
    changed = recipe.changed({"training": limit})
    regard.fit(pairs, recipe=changed, out=tmp_path / "run", reporter=(heard := listener()))
    assert heard.notes[-1].startswith("0.00666667 minutes are over: ")
    assert [step for step, _, _ in heard.validations] == [heard.steps[-1]]
    rates = [line["learning_rate"] for line in lines_of(tmp_path / "run") if "loss" in line]
    assert rates[-1] < 0.5 * max(rates), "the rate comes down with the time that is left"


def test_a_run_is_validated_where_it_ends_even_if_no_validation_was_due(pairs, recipe, tmp_path, listener):
    changed = recipe.changed({"training": {"steps": 7}})
    regard.fit(pairs, recipe=changed, out=tmp_path / "run", reporter=(heard := listener()))
    assert [step for step, _, _ in heard.validations] == [7]
    assert (tmp_path / "run/checkpoints/step-7").is_dir()


@pytest.mark.parametrize("precision", ["bf16", "float32", "auto"])
def test_every_precision_trains(precision, pairs, recipe, tmp_path, lines_of):
    settings = {"training": {"precision": precision, "steps": 5}}
    regard.fit(pairs, recipe=recipe.changed(settings), out=tmp_path / "run")
    losses = [line["loss"] for line in lines_of(tmp_path / "run") if "loss" in line]
    assert losses[0] == pytest.approx(math.log(14), rel=0.1)
    assert all(weights.dtype == torch.float32 for weights in weights_of(tmp_path / "run").values())


def spoil(monkeypatch, at, value=math.nan):
    """Give the loss of a step, counted from now, another value."""
    honest, calls = loop.batch_loss, iter(range(1, 10**6))
    monkeypatch.setattr(
        loop,
        "batch_loss",
        lambda *given, **options: honest(*given, **options) * (value if next(calls) == at else 1.0),
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(
    value, unbroken, pairs, recipe, tmp_path, monkeypatch, listener, lines_of
):
    run, heard = tmp_path / "run", listener()
    with monkeypatch.context() as spoilt:
        spoil(spoilt, 17, value)
        with pytest.raises(
            TrainingError, match=r"^the loss of step 17 is not a number \(loss (nan|inf), grad"
        ) as error:
            regard.fit(pairs, recipe=recipe, out=run, reporter=heard)
    assert f"The last good checkpoint is {run / 'checkpoints' / 'step-10'}." in str(error.value)
    assert heard.closed == 1
    assert lines_of(run) == [line for line in lines_of(unbroken) if line["step"] <= 16]
    regard.fit(pairs, out=run, resume=True)
    assert (run / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


def test_a_rate_that_is_far_too_high_is_told_at_the_step_that_shows_it(pairs, recipe, tmp_path):
    changed = recipe.changed({"training": {"learning_rate": 1e30}})
    with pytest.raises(
        TrainingError, match=r"^the loss of step 2 is not a number .*No checkpoint had been written yet"
    ):
        regard.fit(pairs, recipe=changed, out=tmp_path / "run")
    assert not (tmp_path / "run/model.safetensors").exists()


@pytest.mark.parametrize(
    ("minutes", "step", "kept"),
    [(5.0, 20, {"step-10", "best-10.safetensors"}), (0.0, 15, {"step-14", "best-10.safetensors"})],
    ids=["validation", "checkpoint"],
)
def test_weights_that_are_not_numbers_never_replace_a_good_checkpoint(
    minutes, step, kept, pairs, recipe, tmp_path, listener
):
    run, network, honest = tmp_path / "run", [], loop.batch_loss

    def remember(*given, **options):
        network[:] = given[:1]
        return honest(*given, **options)

    def ruin():
        next(iter(network[0].parameters())).data.fill_(math.inf)

    changed = recipe.changed({"training": {"checkpoint_minutes": minutes}})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TrainingError) as error:
        patch.setattr(loop, "batch_loss", remember)
        regard.fit(pairs, recipe=changed, out=run, reporter=listener({step: ruin}))
    message = f"the weights after step {step} are not finite numbers. The last good checkpoint is "
    assert str(error.value).startswith(message)
    assert {path.name for path in (run / "checkpoints").iterdir()} == kept
    assert (
        regard.fit(pairs, out=run, resume=True).predict(["1 2"])[0].text == load(run).predict(["1 2"])[0].text
    )

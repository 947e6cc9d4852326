"""The exponential moving average of the weights: what it is, and that a stopped run goes on with it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import regard
from regard.errors import Interrupted
from regard.training import loop
from regard.training.master import MasterWeights

KEPT = 0.9


@pytest.fixture
def averaged(recipe: Any) -> Any:
    """A recipe with a moving average, all of whose validations are kept."""
    return recipe.changed({"training": {"moving_average": KEPT, "average": 3}})


def test_what_is_validated_and_kept_is_the_moving_average_of_the_weights(
    averaged: Any, pairs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masters: list[MasterWeights] = []
    history: list[Tensor] = []
    honest = loop.make_optimizer

    def spied(weights: MasterWeights, settings: Any) -> torch.optim.AdamW:
        optimizer = honest(weights, settings)
        masters.append(weights)
        history.append(weights.flat.clone())
        optimizer.register_step_post_hook(lambda *_: history.append(weights.flat.clone()))
        return optimizer

    monkeypatch.setattr(loop, "make_optimizer", spied)
    regard.fit(pairs, recipe=averaged, out=tmp_path / "run")
    average = history[0].double()
    for step, weights in enumerate(history[1:], start=1):
        share = min(KEPT, (1 + step) / (10 + step))
        average = share * average + (1 - share) * weights.double()
        if step % 10 == 0:
            stored = load_file(tmp_path / f"run/checkpoints/best-{step}.safetensors")
            for name, expected in masters[0].named(average).items():
                torch.testing.assert_close(stored[name], expected.float(), rtol=1e-4, atol=1e-6)
    assert len(history) == 31
    own = load_file(tmp_path / "run/checkpoints/step-30/weights.safetensors")
    for name, weight in masters[0].named(history[-1]).items():
        torch.testing.assert_close(own[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("step", [9, 17])
def test_a_stopped_run_goes_on_bit_for_bit_with_its_moving_average(
    step: int, averaged: Any, pairs: Any, tmp_path: Path, listener: Any, lines_of: Any
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    regard.fit(pairs, recipe=averaged, out=whole)
    heard = listener({step: lambda: signal.raise_signal(signal.SIGINT)})
    with pytest.raises(Interrupted):
        regard.fit(pairs, recipe=averaged, out=cut, reporter=heard)
    regard.fit(pairs, out=cut, resume=True)
    assert lines_of(cut) == lines_of(whole)
    for place in ("model", "checkpoints/step-30/optimizer", "checkpoints/best-20"):
        name = f"{place}.safetensors"
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name

"""Where is computed, tried without a GPU: on PyTorch's «meta» device, whose tensors have no numbers.

Its fake tensors refuse, as a GPU would, an operation that finds tensors on two devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import regard
from regard.errors import RecipeError
from regard.models.architectures import CONFIGS, make
from regard.nn import dropout
from regard.training.devices import Elsewhere, chosen_device, chosen_precision
from regard.training.run import load

SMALL: dict[str, dict[str, Any]] = {
    "transformer": {
        "width": 16,
        "heads": 2,
        "feed_forward": 24,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "attention_dropout": 0.1,
    },
    "recurrent": {"width": 16, "embedding": 12, "recurrent_dropout": 0.1},
}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A device that is not the processor; what asks for a number there gets one that it may have had."""
    monkeypatch.setattr(Tensor, "item", lambda _: 1)
    monkeypatch.setattr(Tensor, "__bool__", lambda _: False)
    monkeypatch.setattr(
        Tensor, "nonzero", lambda x: torch.zeros(x.numel(), x.ndim, dtype=torch.long, device=x.device)
    )
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _="cpu": False)
    monkeypatch.setattr(dropout, "_drawn_there", lambda x, _: torch.empty_like(x))
    with FakeTensorMode(allow_non_fake_inputs=False):
        yield torch.device("meta")


def test_tensors_on_two_devices_are_noticed(elsewhere: torch.device) -> None:
    with pytest.raises(RuntimeError, match="devices"):
        torch.add(torch.ones(3, device=elsewhere), torch.ones(3))


@pytest.mark.parametrize(
    ("architecture", "settings", "options"),
    [
        ("transformer", {}, {}),
        ("transformer", {"norm": "pre", "positions": "rotary", "activation": "swiglu"}, {"consistency": 2.0}),
        ("transformer", {"positions": "alibi", "copy": True, "coverage_loss": 1.0}, {}),
        ("transformer", {"positions": "relative", "layer_drop": 0.1}, {}),
        ("transformer", {"positions": "learned", "encoder_window": 3}, {}),
        ("transformer", {"score": "additive", "normalizer": "sparsemax"}, {}),
        ("recurrent", {}, {}),
    ],
    ids=str,
)
def test_training_and_searching_leave_nothing_on_another_device(
    architecture: str, settings: dict[str, Any], options: dict[str, float], elsewhere: torch.device
) -> None:
    with elsewhere:
        network = make(CONFIGS[architecture](**SMALL[architecture] | settings), 20)
    source, words = torch.zeros(4, 6, dtype=torch.long), torch.zeros(4, dtype=torch.long)
    lengths, given = torch.full((4,), 6), torch.zeros(4, 5, dtype=torch.long)
    texts = [text.to(elsewhere) for text in (source, lengths, given, given + 5)]
    with dropout.dropout_seed(1, 0, 4, copies=2 if options else 1):
        loss = network.train().loss(*texts, smoothing=0.1, **options)
    loss.backward()
    assert {p.grad.device for p in network.parameters() if p.grad is not None} == {elsewhere}
    search = Elsewhere(network.eval())
    with torch.no_grad():
        steps, state = search.start(search.encode(source, lengths))
        for _ in range(2):
            steps, state = steps.select(words), state.select(words)
            log_probabilities, weights, state = search.step(steps, state, words)
            assert (log_probabilities.device.type, weights.device.type) == ("cpu", "cpu")


def test_a_network_that_is_asked_from_elsewhere_says_the_same(trained: Any) -> None:
    model, texts = load(trained), ["1 2 3", "4 5", "7 7"]
    expected = [prediction.text for prediction in model.predict(texts)]
    model.network = Elsewhere(model.network)
    assert [prediction.text for prediction in model.predict(texts)] == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_any_work(pairs: Any, recipe: Any, tmp_path: Any) -> None:
    assert chosen_device("auto") == chosen_device("cpu") == torch.device("cpu")
    with pytest.raises(RecipeError, match=r"^training\.device is cuda, but PyTorch finds no GPU here"):
        regard.fit(pairs, recipe=recipe.changed({"training": {"device": "cuda"}}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"2 processes and 1 GPUs\. Start at most 1"):
        chosen_device("auto")


def test_a_precision_that_is_asked_for_is_taken() -> None:
    assert chosen_precision("bf16") == torch.bfloat16
    assert chosen_precision("float32") == torch.float32
    assert chosen_precision("auto") in (torch.bfloat16, torch.float32)

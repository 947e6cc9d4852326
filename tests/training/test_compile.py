"""`training.compile`: a step made one program trains as the step itself."""

from __future__ import annotations

import shutil
import warnings

import pytest
import torch

from regard.data.batches import Batches
from regard.models.transformer import TransformerConfig, TransformerTranslator
from regard.nn import programs
from regard.nn.dropout import dropout_seed
from regard.nn.programs import compiled, outside
from regard.training.distributed import Loss
from regard.training.loop import batch_loss
from regard.training.recipe import TrainingSettings

CONFIG = TransformerConfig(
    width=16, heads=2, feed_forward=24, encoder_layers=1, decoder_layers=1, attention_dropout=0.1
)


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch):
    """Functions that are outside of programs are as before afterwards."""
    before = [what[0] for what in programs._OUTSIDE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's compiler warns of itself
        yield
    torch.compiler.reset()
    for what, function in zip(programs._OUTSIDE, before, strict=False):
        what[0] = function


def losses_and_gradients(*, program: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    network = TransformerTranslator(CONFIG, 20).train()
    loss = compiled(Loss(network)) if program else Loss(network)
    batch = next(iter(Batches([[4, 5, 6], [7, 8]] * 4, [[9, 5], [6]] * 4, tokens=64).coming()))[1]
    found = []
    for step in range(2):
        network.zero_grad()
        with dropout_seed(step, 0, len(batch.rows)):
            value = batch_loss(loss, batch, TrainingSettings(), torch.float32, narrow=True)
        value.backward()
        found += [value.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)]
    return found


@pytest.mark.skipif(
    not (shutil.which("gcc") or shutil.which("clang")), reason="PyTorch's compiler needs one for C++"
)
def test_a_step_that_is_one_program_gives_the_same_loss_and_gradients_dropout_included(nothing_left) -> None:
    torch.testing.assert_close(losses_and_gradients(program=True), losses_and_gradients(program=False))


def test_a_function_outside_of_programs_is_itself_where_nobody_compiles() -> None:
    @outside
    def double(x: int, times: int = 2) -> int:
        """Twice as much."""
        return x * times

    programs._OUTSIDE.pop()
    assert (double(3), double(3, times=4), double.__doc__) == (6, 12, "Twice as much.")

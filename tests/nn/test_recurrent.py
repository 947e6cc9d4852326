"""The written-out cells are PyTorch's, and a sentence's padding does not exist."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from regard.nn.dropout import variational_mask
from regard.nn.recurrent import CELLS, BidirectionalLayer, RecurrentWeights, reversing_index

CELL_NAMES = ["gru", "lstm"]
LENGTHS = torch.tensor([3, 6, 1, 4])
INPUTS, WIDTH = 5, 8


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def layer_and_peer(cell: str, dtype: torch.dtype = torch.float64) -> tuple[BidirectionalLayer, nn.Module]:
    """A layer, and PyTorch's own with the same weights."""
    layer = BidirectionalLayer(cell, INPUTS, WIDTH).to(dtype)
    peer = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](INPUTS, WIDTH // 2, bidirectional=True).to(dtype)
    with torch.no_grad():
        for name, parameter in layer.weights.named_parameters():
            parameter.uniform_(-1, 1)
            for direction, ending in enumerate(("", "_reverse")):
                getattr(peer, f"{name}_l0{ending}").copy_(parameter[direction])
    return layer, peer


def gradients(output: Tensor, wanted: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a loss in which each output feature counts differently."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(output.shape, generator=generator, dtype=output.dtype)
    return torch.autograd.grad((output * weights).sum(), wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_bidirectional_layer_is_that_of_pytorch_over_packed_sentences(cell, dtype):
    layer, peer = layer_and_peer(cell, dtype)
    x = torch.randn(int(LENGTHS.max()), len(LENGTHS), INPUTS, dtype=dtype, requires_grad=True)
    output = layer(x, LENGTHS)
    packed, _ = peer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, total_length=len(x))
    torch.testing.assert_close(output, expected)

    names = [name for name, _ in layer.weights.named_parameters()]
    dx, *found = gradients(output, [x, *layer.weights.parameters()])
    wanted = [getattr(peer, f"{name}_l0{ending}") for name in names for ending in ("", "_reverse")]
    dx_expected, *both = gradients(expected, [x, *wanted])
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(dx, dx_expected, **tolerance)
    for gradient, forwards, backwards in zip(found, both[::2], both[1::2], strict=True):
        torch.testing.assert_close(gradient, torch.stack([forwards, backwards]), **tolerance)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_gradient_of_a_cell_is_that_of_finite_differences(cell):
    gates, parts = CELLS[cell].gates, CELLS[cell].parts
    state = [torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(parts)]
    x_gates, h_gates = (
        torch.randn(2, 3, gates * 4, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )

    def advance(x_gates: Tensor, h_gates: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return CELLS[cell].advance(x_gates, h_gates, state)

    assert torch.autograd.gradcheck(advance, (x_gates, h_gates, *state))


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_gradient_of_a_layer_is_that_of_finite_differences(cell):
    layer = BidirectionalLayer(cell, 2, 4).double()
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *_: Tensor) -> Tensor:
        return layer(x, torch.tensor([2, 3]))

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_padding_never_leaks(cell):
    layer, _ = layer_and_peer(cell)
    clean = torch.randn(int(LENGTHS.max()), len(LENGTHS), INPUTS, dtype=torch.float64)
    real = (torch.arange(len(clean))[:, None] < LENGTHS)[..., None]
    results = []
    for padding in (0.0, 1e6, -3.0):
        x = clean.masked_fill(~real, padding).requires_grad_()
        output = layer(x, LENGTHS)
        dx, *weights = gradients(output, [x, *layer.parameters()])
        assert not output.masked_select(~real).any()
        assert not dx.masked_select(~real).any()
        results.append((output, dx, *weights))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_sentence_reads_the_same_alone_and_among_others(cell):
    layer, _ = layer_and_peer(cell)
    x = torch.randn(9, len(LENGTHS), INPUTS, dtype=torch.float64)
    together = layer(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = layer(x[:length, row : row + 1], LENGTHS[row : row + 1])
        torch.testing.assert_close(together[:length, row], alone[:, 0])


def test_reading_backwards_leaves_the_padding_in_place():
    assert reversing_index(torch.tensor([3, 0, 1]), 4).tolist() == [[2, 1, 0, 3], [0, 1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_features_hidden_from_the_gates_stay_the_same_over_a_sentence(cell):
    layer, _ = layer_and_peer(cell)
    layer.recurrent_dropout = 0.5
    lengths = torch.tensor([4, 4, 4])
    x = torch.randn(4, 3, INPUTS, dtype=torch.float64)
    torch.manual_seed(5)
    output = layer.train()(x, lengths)
    torch.manual_seed(5)
    mask = variational_mask((2, 3, WIDTH // 2), 0.5, training=True)
    assert mask is not None

    weights = layer.weights
    for direction, steps in enumerate((range(4), reversed(range(4)))):
        state = CELLS[cell].state(torch.zeros(3, WIDTH // 2, dtype=torch.float64))
        for step in steps:
            x_gates = x[step] @ weights.weight_ih[direction].T + weights.bias_ih[direction]
            seen = state[0] * mask[direction]
            h_gates = seen @ weights.weight_hh[direction].T + weights.bias_hh[direction]
            state = CELLS[cell].advance(x_gates, h_gates, state)
            half = output[step].chunk(2, dim=-1)[direction]
            torch.testing.assert_close(half, state[0])
    assert not torch.equal(layer.eval()(x, lengths), output)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_under_autocast_the_state_stays_float32_and_all_is_close(cell):
    layer, _ = layer_and_peer(cell, torch.float32)
    x = torch.randn(int(LENGTHS.max()), len(LENGTHS), INPUTS, requires_grad=True)
    exact = layer(x, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = layer(x, LENGTHS)
    assert narrow.dtype == torch.float32
    assert (narrow - exact).norm() < 0.02 * exact.norm()
    wanted = [x, *layer.parameters()]
    for found, expected in zip(gradients(narrow, wanted), gradients(exact, wanted), strict=True):
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 0.04 * expected.norm()


def test_an_lstm_starts_with_an_open_forget_gate_and_recurrent_matrices_start_orthogonal():
    weights = RecurrentWeights(CELLS["lstm"], INPUTS, WIDTH)
    assert weights.bias_ih.view(4, WIDTH).tolist() == [[0] * WIDTH, [1] * WIDTH, [0] * WIDTH, [0] * WIDTH]
    for stack in ((), (2,)):
        recurrent = RecurrentWeights(CELLS["gru"], INPUTS, WIDTH, stack).weight_hh.view(-1, WIDTH, WIDTH)
        torch.testing.assert_close(
            recurrent @ recurrent.transpose(1, 2), torch.eye(WIDTH).expand_as(recurrent)
        )


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_state_is_float32_or_wider_and_its_memory_empty(cell, dtype):
    h = torch.randn(2, 3).to(dtype)
    state = CELLS[cell].state(h)
    assert len(state) == CELLS[cell].parts
    assert {part.dtype for part in state} == {torch.float64 if dtype == torch.float64 else torch.float32}
    torch.testing.assert_close(state[0], h, check_dtype=False)
    assert not any(part.any() for part in state[1:])

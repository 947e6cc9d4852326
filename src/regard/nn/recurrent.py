"""Gated recurrent cells and the bidirectional encoder made of them.

Weights have the layout of `torch.nn.GRU` and `torch.nn.LSTM`, gates stacked along the first axis, so that
either loads the other's. A cell is split in two: products with matrices, which `Shared` takes care of, and
the gates, whose backward pass is written out here because automatic differentiation would keep and revisit a
dozen intermediates a step.

Sources: GRU: Cho et al. 2014, arXiv:1406.1078, eqs. 5–8, with the reset gate after the product as in cuDNN;
LSTM: Hochreiter and Schmidhuber 1997, with forget gates by Gers et al. 2000.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from regard.nn.dropout import drop, variational_mask
from regard.nn.precision import wide
from regard.nn.shared import Shared

State = tuple[Tensor, ...]
"""(h,) for a GRU and (h, c) for an LSTM, each (…, W), in float32 or wider."""


class _GRUGates(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_gates: Tensor, h_gates: Tensor, h: Tensor) -> Tensor:
        width = h.shape[-1]
        ctx.dtypes = x_gates.dtype, h_gates.dtype
        x_gates, h_gates = wide(x_gates), wide(h_gates)
        reset_update = torch.sigmoid(x_gates[..., : 2 * width] + h_gates[..., : 2 * width])
        reset, update = reset_update[..., :width], reset_update[..., width:]
        recalled = h_gates[..., 2 * width :]
        new = torch.tanh(torch.addcmul(x_gates[..., 2 * width :], reset, recalled))
        ctx.save_for_backward(reset_update, new, recalled, h)
        return torch.lerp(new, h, update)

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_next: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        reset_update, new, recalled, h = ctx.saved_tensors
        width = h.shape[-1]
        reset, update = reset_update[..., :width], reset_update[..., width:]
        dx = dh_next.new_empty(*h.shape[:-1], 3 * width)
        d_reset_update, d_new = dx[..., : 2 * width], dx[..., 2 * width :]
        dh = dh_next * update
        torch.mul(dh_next - dh, 1 - new * new, out=d_new)
        torch.mul(d_new, recalled, out=d_reset_update[..., :width])
        torch.mul(dh_next, h - new, out=d_reset_update[..., width:])
        d_reset_update.mul_(reset_update).mul_(1 - reset_update)
        d_recalled = d_new * reset
        x_dtype, h_dtype = ctx.dtypes
        return dx.to(x_dtype), torch.cat([d_reset_update, d_recalled], dim=-1).to(h_dtype), dh


def _gru(x_gates: Tensor, h_gates: Tensor, state: State) -> State:
    return (_GRUGates.apply(x_gates, h_gates, state[0]),)  # pyright: ignore[reportReturnType]


class _LSTMGates(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_gates: Tensor, h_gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        width = c.shape[-1]
        ctx.dtypes = x_gates.dtype, h_gates.dtype
        gates = wide(x_gates) + wide(h_gates)
        gates[..., : 2 * width].sigmoid_()
        gates[..., 2 * width : 3 * width].tanh_()
        gates[..., 3 * width :].sigmoid_()
        enter, forget, new, leave = gates.split(width, dim=-1)
        c_next = torch.addcmul(enter * new, forget, c)
        squashed = torch.tanh(c_next)
        ctx.save_for_backward(gates, squashed, c)
        return leave * squashed, c_next

    @staticmethod
    @once_differentiable
    def backward(ctx, dh: Tensor, dc_next: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        gates, squashed, c = ctx.saved_tensors
        width = c.shape[-1]
        enter, forget, new, leave = gates.split(width, dim=-1)
        dc_next = torch.addcmul(dc_next, dh * leave, 1 - squashed * squashed)
        d_gates = gates * (1 - gates)
        d_gates[..., :width] *= dc_next * new
        d_gates[..., width : 2 * width] *= dc_next * c
        torch.mul(dc_next * enter, 1 - new * new, out=d_gates[..., 2 * width : 3 * width])
        d_gates[..., 3 * width :] *= dh * squashed
        x_dtype, h_dtype = ctx.dtypes
        return d_gates.to(x_dtype), d_gates.to(h_dtype), dc_next * forget


def _lstm(x_gates: Tensor, h_gates: Tensor, state: State) -> State:
    return _LSTMGates.apply(x_gates, h_gates, state[1])  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Cell:
    """What distinguishes one gated cell from another.

    ``advance(x_gates, h_gates, state)`` takes the products of the input and of the previous output with their
    matrices, each (…, gates · W), and gives the next state. Its output is ``state[0]``.
    """

    gates: int
    parts: int
    advance: Callable[[Tensor, Tensor, State], State]

    def state(self, h: Tensor) -> State:
        """The state whose output is h (…, W) and whose memory, where there is one, is empty."""
        h = wide(h)
        return (h, *(torch.zeros_like(h) for _ in range(self.parts - 1)))


CELLS: dict[str, Cell] = {"gru": Cell(3, 1, _gru), "lstm": Cell(4, 2, _lstm)}
CellName = Literal["gru", "lstm"]


class RecurrentWeights(nn.Module):
    """The matrices of one recurrent layer, or of several side by side.

    Args:
        cell: whose gates they feed.
        inputs: I, the features of the input.
        width: W, the features of the state.
        stack: leading axes, such as (2,) for two directions.
    """

    def __init__(self, cell: Cell, inputs: int, width: int, stack: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(*stack, cell.gates * width, inputs))
        self.weight_hh = nn.Parameter(torch.empty(*stack, cell.gates * width, width))
        self.bias_ih = nn.Parameter(torch.zeros(*stack, cell.gates * width))
        self.bias_hh = nn.Parameter(torch.zeros(*stack, cell.gates * width))
        with torch.no_grad():
            for gate in self.weight_ih.view(-1, width, inputs):
                nn.init.xavier_uniform_(gate)
            for gate in self.weight_hh.view(-1, width, width):
                nn.init.orthogonal_(gate)
            if cell.gates == 4:  # a forget gate that starts open: Jozefowicz et al. 2015
                self.bias_ih[..., width : 2 * width] = 1.0


def reversing_index(lengths: Tensor, steps: int) -> Tensor:
    """(B, S) positions that read each sentence backwards and leave its padding where it is."""
    position = torch.arange(steps, device=lengths.device)
    backwards = lengths[:, None] - 1 - position
    return torch.where(backwards >= 0, backwards, position)


class BidirectionalLayer(nn.Module):
    """Reads a sentence forwards and backwards; both outputs side by side.

    Both directions advance in one product.

    Args:
        cell: "gru" or "lstm".
        inputs: I, the features of the input.
        width: W, the features of the output, half of them for each direction.
        recurrent_dropout: share of the state's features hidden from the gates, the same ones over a sentence.
    """

    def __init__(self, cell: CellName, inputs: int, width: int, recurrent_dropout: float = 0.0) -> None:
        super().__init__()
        self.cell, self.width, self.recurrent_dropout = CELLS[cell], width // 2, recurrent_dropout
        self.weights = RecurrentWeights(self.cell, inputs, self.width, stack=(2,))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Read x (S, B, I) of the given lengths (B,); gives (S, B, W), zero behind a sentence's end."""
        steps, batch = x.shape[:2]
        index = reversing_index(lengths, steps).T[..., None]
        both = torch.stack([x, x.gather(0, index.expand_as(x))])
        weights = self.weights
        x_gates = torch.einsum("dsbi,dgi->sdbg", both, weights.weight_ih) + weights.bias_ih[:, None]
        recurrent = Shared(weights.weight_hh)
        mask = variational_mask(
            (2, batch, self.width), self.recurrent_dropout, training=self.training, batch_axis=1
        )
        state = self.cell.state(x.new_zeros(2, batch, self.width))
        outputs = []
        for gates in x_gates.unbind(0):
            h_gates = recurrent(drop(state[0], mask)) + weights.bias_hh[:, None]
            state = self.cell.advance(gates, h_gates, state)
            outputs.append(state[0])
        forwards, backwards = torch.stack(outputs, dim=1)
        backwards = backwards.gather(0, index.expand_as(backwards))
        real = (torch.arange(steps, device=lengths.device)[:, None] < lengths)[..., None]
        return torch.cat([forwards, backwards], dim=-1).masked_fill(~real, 0.0)

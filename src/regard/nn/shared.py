"""A matrix that is used at every step of a loop, its gradient taken once.

A recurrent network multiplies by the same matrix at each step. Left to itself, automatic differentiation then
forms one weight gradient a step and adds them up: as many small products, and as many passes over a matrix
that does not fit the cache. The sum of those products is one product of the stacked steps,

    dW = Σ_t dy_tᵀ x_t = [dy_1; …; dy_T]ᵀ [x_1; …; x_T],

so `Shared` remembers every step's input and output gradient, and forms it when the last of them is there. The
same holds for the keys and the values of a sentence, which are the matrices that every query of that sentence
is multiplied by.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.nn.precision import product_dtype


class Shared:
    """A matrix, or a stack of them, to be applied at many steps: ``y = x Wᵀ``.

    Args:
        weight: (…, N, K), with K features in and N features out.
        narrow: whether the products are computed in the dtype of `torch.autocast` where that is on, as
            `torch.nn.functional.linear` would; else always in that of the weight.

    Calling it with x (…, M, K) gives (…, M, N); leading axes must be those of the weight. It can be
    differentiated once.
    """

    def __init__(self, weight: Tensor, *, narrow: bool = True) -> None:
        self.dtype = product_dtype(weight) if narrow else weight.dtype
        self.weight = weight.detach().to(self.dtype)
        self.steps = _Steps()
        tracked = torch.is_grad_enabled() and weight.requires_grad
        self.handle = _Collect.apply(weight, self.steps) if tracked else None

    def __call__(self, x: Tensor) -> Tensor:
        if self.handle is None:
            return _product(x.to(self.dtype), self.weight)
        return _Apply.apply(x, self.handle, self.weight, self.steps)  # pyright: ignore[reportReturnType]


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x Wᵀ, in the dtype that both have."""
    if x.dtype == torch.float32 and torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return x @ weight.transpose(-1, -2)
    return x @ weight.transpose(-1, -2)


# Apart from `Shared`, whose handle holds the graph, which holds this: as one object they would be a cycle,
# and the keys and values of batch after batch would stay until Python's collector of cycles comes by.
class _Steps:
    """What the way back has seen so far: each step's input (…, M, K), its output's gradient (…, M, N)."""

    def __init__(self) -> None:
        self.way_back = -1
        self.inputs: list[Tensor] = []
        self.output_gradients: list[Tensor] = []

    def add(self, x: Tensor, dy: Tensor) -> None:
        """Put a step aside. What a way back left that did not ask for the matrix's gradient is forgotten."""
        if self.way_back != (now := torch._C._current_graph_task_id()):
            self.way_back, self.inputs, self.output_gradients = now, [], []
        self.inputs.append(x)
        self.output_gradients.append(dy)

    def gradient(self) -> Tensor:
        """The gradient of the matrix, (…, N, K), from all of them; they are forgotten."""
        dy, x = torch.cat(self.output_gradients, dim=-2), torch.cat(self.inputs, dim=-2)
        self.inputs, self.output_gradients = [], []
        return dy.transpose(-1, -2) @ x


class _Collect(torch.autograd.Function):
    """The node that all steps hang from: the engine runs it after the last of them."""

    @staticmethod
    def forward(ctx, weight: Tensor, steps: _Steps) -> Tensor:
        ctx.steps, ctx.dtype = steps, weight.dtype
        return weight.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, *_: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.steps.gradient().to(ctx.dtype), None


class _Apply(torch.autograd.Function):
    """One step: the input's gradient is formed now, what the weight's needs is put aside."""

    @staticmethod
    def forward(ctx, x: Tensor, handle: Tensor, weight: Tensor, steps: _Steps) -> Tensor:
        ctx.dtypes, ctx.steps = (x.dtype, handle.dtype), steps
        x = x.to(weight.dtype)
        ctx.save_for_backward(x, weight)
        return _product(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        x_dtype, handle_dtype = ctx.dtypes
        dy = dy.to(weight.dtype)
        ctx.steps.add(x, dy)
        dx = (dy @ weight).to(x_dtype) if ctx.needs_input_grad[0] else None
        return dx, dy.new_empty(0, dtype=handle_dtype), None, None

"""A matrix that is used at every step of a loop, its gradient taken once.

A recurrent network multiplies by the same matrix at each step. Left to itself, automatic differentiation then forms one
weight gradient a step and adds them up: as many small products, and as many passes over a matrix that does not fit the
cache. The sum of those products is one product of the stacked steps,

    dW = Σ_t dy_tᵀ x_t = [dy_1; …; dy_T]ᵀ [x_1; …; x_T],

so `Shared` remembers every step's input and output gradient, and forms it when the last of them is there. The same holds
for the keys and the values of a sentence, which are the matrices that every query of that sentence is multiplied by.
"""

import torch
from torch import Tensor


class Shared:
    """A matrix, or a stack of them, to be applied at many steps: ``y = x Wᵀ``.

    Args:
        weight: (…, N, K), with K features in and N features out.

    Calling it with x (…, M, K) gives (…, M, N); leading axes must be those of the weight. Under `torch.autocast` the
    products are computed in its dtype, as `torch.nn.functional.linear` would.
    """

    def __init__(self, weight: Tensor) -> None:
        self.dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
        self.weight = weight.detach().to(self.dtype)
        self.inputs: list[Tensor] = []
        self.output_gradients: list[Tensor] = []
        tracked = torch.is_grad_enabled() and weight.requires_grad
        self.handle = _Collect.apply(weight, self) if tracked else None

    def __call__(self, x: Tensor) -> Tensor:
        if self.handle is None:
            return x.to(self.dtype) @ self.weight.transpose(-1, -2)
        return _Apply.apply(x, self.handle, self)  # pyright: ignore[reportReturnType]

    def gradient(self) -> Tensor:
        """The gradient of the matrix, (…, N, K), from all the steps seen on the way back."""
        dy, x = torch.cat(self.output_gradients, dim=-2), torch.cat(self.inputs, dim=-2)
        self.output_gradients.clear()
        self.inputs.clear()
        return dy.transpose(-1, -2) @ x


class _Collect(torch.autograd.Function):
    """The node that all steps hang from: the engine runs it after the last of them."""

    @staticmethod
    def forward(ctx, weight: Tensor, shared: Shared) -> Tensor:
        ctx.shared, ctx.dtype = shared, weight.dtype
        return weight.new_empty(0)

    @staticmethod
    def backward(ctx, *_: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.shared.gradient().to(ctx.dtype), None


class _Apply(torch.autograd.Function):
    """One step: the input's gradient is formed now, what the weight's needs is put aside."""

    @staticmethod
    def forward(ctx, x: Tensor, handle: Tensor, shared: Shared) -> Tensor:
        ctx.dtype, ctx.shared = x.dtype, shared
        ctx.x = x.to(shared.dtype)
        ctx.handle = handle
        return ctx.x @ shared.weight.transpose(-1, -2)

    @staticmethod
    def backward(ctx, dy: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        shared: Shared = ctx.shared
        dy = dy.to(shared.dtype)
        shared.inputs.append(ctx.x)
        shared.output_gradients.append(dy)
        dx = (dy @ shared.weight).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return dx, torch.empty_like(ctx.handle), None

"""A matrix used at many steps is the same as a product at each step; only its gradient is formed at once."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from regard.nn.shared import Shared

# (…, N, K) of the matrix and (…, M, K) of a step's input
SHAPES = [((3, 4), (5, 4)), ((2, 3, 4), (2, 1, 4)), ((2, 3, 4), (2, 5, 4))]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def made(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def plain(x: Tensor, weight: Tensor) -> Tensor:
    """What one step is, by PyTorch's own functions."""
    return F.linear(x, weight) if weight.dim() == 2 else torch.bmm(x, weight.transpose(1, 2))


def recurred(apply, x: Tensor, steps: int = 4) -> Tensor:
    """A loop in which each step's input depends on the step before."""
    for _ in range(steps):
        y = apply(x)
        x = torch.tanh(x + F.pad(y, (0, x.shape[-1] - y.shape[-1])))
    return x.square().sum()


@pytest.mark.parametrize(("matrix", "step"), SHAPES)
def test_outputs_and_gradients_are_those_of_a_product_at_each_step(matrix, step):
    weight, x = made(*matrix), made(*step)
    loss = recurred(Shared(weight), x)
    expected = recurred(lambda x: plain(x, weight), x)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, (weight, x)), torch.autograd.grad(expected, (weight, x))
    )


@pytest.mark.parametrize(("matrix", "step"), SHAPES)
def test_gradients_are_those_of_finite_differences(matrix, step):
    def loss(weight: Tensor, x: Tensor) -> Tensor:
        return recurred(Shared(weight), x, steps=3)

    assert torch.autograd.gradcheck(loss, (made(*matrix), made(*step)))


def test_the_matrix_may_be_a_view_that_is_itself_computed():
    keys, query = made(2, 5, 3), made(2, 1, 5)
    projection = made(3, 3)

    def context(apply) -> Tensor:
        return sum((apply(query * step).square().sum() for step in (1.0, 2.0)), torch.zeros(()))

    values = F.linear(keys, projection).transpose(1, 2)
    gradients = torch.autograd.grad(context(Shared(values)), (keys, projection, query))
    values = F.linear(keys, projection).transpose(1, 2)
    expected = torch.autograd.grad(context(lambda x: plain(x, values)), (keys, projection, query))
    torch.testing.assert_close(gradients, expected)


def test_steps_that_the_loss_leaves_out_count_nothing():
    weight, x = made(3, 4), made(5, 4)
    shared = Shared(weight)
    outputs = [shared(x * step) for step in (1.0, 2.0, 3.0)]
    gradient = torch.autograd.grad(outputs[0].sum() + outputs[2].square().sum(), weight)
    expected = torch.autograd.grad((x @ weight.T).sum() + (3 * x @ weight.T).square().sum(), weight)
    torch.testing.assert_close(gradient, expected)


def test_the_way_back_can_be_gone_twice_where_the_graph_is_kept():
    weight, x = made(3, 4), made(5, 4)
    loss = recurred(Shared(weight), x)
    first = torch.autograd.grad(loss, (weight, x), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, (weight, x), retain_graph=True), first)
    loss.backward()
    torch.testing.assert_close((weight.grad, x.grad), first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_gradient_of_the_input_alone_leaves_nothing_behind():
    weight, x = made(3, 4), made(5, 4)
    shared = Shared(weight)
    outputs = [shared(x), shared(2 * x)]
    torch.autograd.grad(outputs[0].sum(), x, retain_graph=True)
    torch.autograd.grad(outputs[1].sum(), x, retain_graph=True)
    (gradient,) = torch.autograd.grad(outputs[1].square().sum(), weight)
    (expected,) = torch.autograd.grad((2 * x @ weight.T).square().sum(), weight)
    torch.testing.assert_close(gradient, expected)


def test_two_that_share_a_parameter_add_their_gradients():
    weight, x = made(3, 4), made(5, 4)
    (Shared(weight)(x).sum() + Shared(weight)(x).square().sum()).backward()
    expected = torch.autograd.grad((x @ weight.T).sum() + (x @ weight.T).square().sum(), weight)
    torch.testing.assert_close((weight.grad,), expected)


def test_what_needs_no_gradient_gets_none():
    weight, x = made(3, 4), made(5, 4)
    (dx,) = torch.autograd.grad(Shared(weight.detach())(x).sum(), x)
    torch.testing.assert_close(dx, torch.autograd.grad((x @ weight.T).sum(), x)[0])
    loss = Shared(weight)(x.detach()).sum()
    torch.testing.assert_close(
        torch.autograd.grad(loss, weight), torch.autograd.grad((x @ weight.T).sum(), weight)
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_is_a_plain_product(mode):
    weight, x = made(3, 4), made(5, 4)
    with mode():
        y = Shared(weight)(x)
    assert not y.requires_grad
    torch.testing.assert_close(y, F.linear(x, weight).detach())


def test_a_gradient_of_the_gradient_is_refused_rather_than_wrong():
    weight, x = made(3, 4), made(5, 4)
    (dx,) = torch.autograd.grad(Shared(weight)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


@pytest.mark.parametrize(("matrix", "step"), SHAPES)
def test_under_autocast_products_are_in_its_dtype_and_gradients_in_that_of_the_parameters(matrix, step):
    weight, x = made(*matrix, dtype=torch.float32), made(*step, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = Shared(weight)(x)
        torch.testing.assert_close(y, plain(x, weight))
        loss = recurred(Shared(weight), x, steps=2)
    assert y.dtype == torch.bfloat16
    gradients = torch.autograd.grad(loss, (weight, x))
    expected = torch.autograd.grad(recurred(lambda x: plain(x, weight), x, steps=2), (weight, x))
    assert [g.dtype for g in gradients] == [torch.float32, torch.float32]
    for gradient, close in zip(gradients, expected, strict=True):
        assert (gradient - close).norm() < 0.02 * close.norm()


@pytest.mark.parametrize("back", [True, False])
def test_what_a_pass_has_kept_is_freed_with_it(back):
    weight = made(3, 4)
    gc.collect()
    gc.disable()  # a training loop does not wait for the collector of cycles
    try:
        shared, x = Shared(weight), torch.ones(5, 4, dtype=torch.float64)
        y = shared(x).sum()
        if back:
            y.backward()
        matrix, step = weakref.ref(shared), weakref.ref(x)
        del x, y
        assert step() is None
        del shared
        assert matrix() is None
    finally:
        gc.enable()


def test_what_is_not_narrow_is_multiplied_in_its_own_dtype_under_autocast():
    weight, x = made(3, 4, dtype=torch.float32), made(5, 4, dtype=torch.float32)
    expected = x @ weight.T
    slopes = torch.autograd.grad(expected.sum(), (weight, x))
    with torch.autocast("cpu", torch.bfloat16):
        found = Shared(weight, narrow=False)(x)
        assert torch.equal(Shared(weight.detach(), narrow=False)(x), expected)
        assert Shared(weight)(x).dtype == torch.bfloat16
    assert torch.equal(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), (weight, x)), slopes)

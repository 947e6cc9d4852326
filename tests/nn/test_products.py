"""Products with matrices in the order that oneDNN wants are those of PyTorch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from regard.nn import products
from regard.nn.products import Linear, packed, product

packs = pytest.mark.skipif(not products._available(), reason="this processor gains nothing by it")


@pytest.fixture
def packings(monkeypatch):
    """How often a matrix was packed."""
    made = []
    pack = torch.ops.mkldnn._reorder_linear_weight
    monkeypatch.setattr(
        torch.ops.mkldnn, "_reorder_linear_weight", lambda weight: made.append(weight.shape) or pack(weight)
    )
    return made


@packs
@pytest.mark.parametrize("shape", [(300, 64), (7, 40, 64), (2, 3, 50, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_is_that_of_pytorch_whatever_the_rows(shape, bias, packings):
    linear = Linear(64, 500, bias=bias)
    with torch.inference_mode(), packed():
        for rows in (shape[-2], 2 * shape[-2], 100 * shape[-2]):
            x = torch.randn(*shape[:-2], rows, 64)
            torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias))
    assert len(packings) == 1


@packs
def test_a_matrix_that_was_changed_in_between_is_packed_anew():
    linear, x = Linear(64, 500), torch.randn(300, 64)
    for _ in range(2):
        with torch.no_grad(), packed():
            torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias))
        with torch.no_grad():
            linear.weight.mul_(-2.0)


@packs
def test_within_one_another_they_share_what_is_packed(packings):
    linear, x = Linear(64, 500), torch.randn(300, 64)
    with torch.no_grad(), packed():
        with packed():
            linear(x)
        linear(x)
    assert len(packings) == 1
    with torch.no_grad():
        linear(x)
    assert products._packs is None
    assert len(packings) == 1


@packs
def test_what_learns_or_is_small_or_of_another_dtype_is_left_to_pytorch(packings):
    linear, x = Linear(64, 500), torch.randn(300, 64)
    with packed():
        linear(x).sum().backward()
        assert linear.weight.grad is not None
        with torch.no_grad():
            linear(x[:3])
            Linear(64, 500).double()(x.double())
            with torch.autocast("cpu", torch.bfloat16):
                assert linear(x).dtype == torch.bfloat16
    assert packings == []


def test_where_it_is_not_to_be_had_products_are_plain(monkeypatch):
    monkeypatch.setattr(products, "_available", lambda: False)
    x, weight = torch.randn(300, 64), torch.randn(500, 64)
    with torch.no_grad(), packed():
        assert torch.equal(product(x, weight), F.linear(x, weight))


def test_it_is_a_linear_of_pytorch():
    linear = Linear(4, 3)
    plain = nn.Linear(4, 3)
    plain.load_state_dict(linear.state_dict())
    x = torch.randn(2, 4)
    assert torch.equal(linear(x), plain(x))

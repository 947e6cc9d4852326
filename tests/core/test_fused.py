"""PyTorch's kernel gives what the plain version gives, gradients of both orders included."""

import pytest

from regard.core import fused, scores
from regard.core.attention import attend, attention

torch = pytest.importorskip("torch")

B, H, Q, K, D = 2, 4, 300, 300, 8
MASK = torch.rand(B, 1, Q, K, generator=torch.Generator().manual_seed(1)) < 0.5
MASK[0, 0, 5] = False
LIMITS = {
    "none": {},
    "causal": {"causal": True},
    "causal from before the keys": {"causal": True, "query_offset": -9},
    "window": {"causal": True, "window": 7},
    "mask": {"mask": MASK},
    "mask (Q, K)": {"mask": MASK[0, 0]},
    "mask (K,)": {"mask": MASK[0, 0, 0]},
    "key mask": {"key_mask": MASK[:, 0, 0]},
    "both": {"mask": MASK, "key_mask": MASK[:, 0, 0], "causal": True},
    "bias": {"bias": torch.linspace(-2, 2, K, dtype=torch.float64).masked_fill(MASK[0, 0, 1], -torch.inf)},
    "grouped": {"grouped": True, "causal": True},
}


def tensors(*, heads=H, dtype=torch.float64, needs=False):
    generator = torch.Generator().manual_seed(0)
    shapes = [(B, H, Q, D), (B, heads, K, D), (B, heads, K, D)]
    found = [torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes]
    return [array.requires_grad_(needs) for array in found]


@pytest.fixture
def calls(monkeypatch):
    """How often the kernel ran."""
    counted = []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def counting(*args, **options):
        counted.append(1)
        return kernel(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
    return counted


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("score", [scores.scaled_dot, scores.dot])
@pytest.mark.parametrize("limit", LIMITS)
def test_the_kernel_gives_the_same(monkeypatch, calls, limit, score, small):
    if small:
        monkeypatch.setattr(fused, "MASK_SIZE", 40 * K)
    arrays = tensors(heads=2 if limit == "grouped" else H)
    found = attend(*arrays, **LIMITS[limit], score=score)
    assert calls
    torch.testing.assert_close(found, attention(*arrays, **LIMITS[limit], score=score).context)


@pytest.mark.parametrize("limit", LIMITS)
def test_gradients_of_both_orders_are_those_of_the_plain_version(calls, limit):
    results = []
    for function in (attend, lambda *a, **o: attention(*a, **o).context):
        arrays = tensors(heads=2 if limit == "grouped" else H, needs=True)
        context = function(*arrays, **LIMITS[limit])
        first = torch.autograd.grad(context.square().sum(), arrays, retain_graph=True)
        again = torch.autograd.grad(context.square().sum(), arrays, create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in again), arrays)
        results.append([context, *first, *again, *second])
    assert calls
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("needs", [False, True])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("limit", ["causal", "mask", "key mask"])
def test_what_is_hidden_reaches_neither_result_nor_gradient(limit, number, needs):
    limits = dict(LIMITS[limit])
    hidden = -1
    if limit == "mask":
        limits["mask"] = MASK & (torch.arange(K) < K - 1)
    elif limit == "key mask":
        limits["key_mask"] = MASK[:, 0, 0] & (torch.arange(K) < K - 1)
    rows = slice(None) if limit != "causal" else slice(0, Q - 1)
    results = []
    for value in (0.0, number):
        arrays = tensors()
        arrays[1][:, :, hidden], arrays[2][:, :, hidden] = value, value
        arrays = [array.requires_grad_(needs) for array in arrays]
        context = attend(*arrays, **limits)[..., rows, :]
        results.append([context.detach()])
        if needs:
            results[-1] += torch.autograd.grad(context.square().sum(), arrays)
    for clean, dirty in zip(*results, strict=True):
        torch.testing.assert_close(dirty, clean, rtol=1e-9, atol=1e-11)


def test_scores_that_overflow_share_alike_as_in_the_plain_version():
    query, keys, values = tensors()
    large = query.square() * 1e200, keys.square() * 1e200, values
    found = attend(*large)
    assert found.isfinite().all()
    torch.testing.assert_close(found, attention(*large).context)


def test_a_bias_gets_its_gradient():
    arrays = tensors()
    bias = torch.zeros(Q, K, dtype=torch.float64, requires_grad=True)
    attend(*arrays, bias=bias).square().sum().backward()
    assert bias.grad is not None and bias.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_agrees_within_its_own_rounding(dtype):
    arrays = tensors(dtype=dtype)
    found = attend(*arrays, causal=True)
    assert found.dtype == dtype
    plain = attention(*arrays, causal=True).context
    torch.testing.assert_close(found, plain, rtol=2e-2, atol=1e-2 if dtype == torch.bfloat16 else 2e-3)


def test_autocast_does_not_round():
    arrays = tensors(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = attend(*arrays)
    torch.testing.assert_close(within, attend(*arrays), rtol=0, atol=0)


def test_transforms_of_functions_are_computed_plainly(calls):
    query, keys, values = tensors()
    torch.vmap(attend)(query, keys, values)
    torch.func.grad(lambda q: attend(q, keys, values).sum())(query)
    assert not calls


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_forward_mode_gradients_are_right():
    query, keys, values = tensors()
    _, expected = torch.func.jvp(lambda q: attend(q, keys, values), (query,), (torch.ones_like(query),))
    for function in (attend, lambda *a: attention(*a).context):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(query, torch.ones_like(query))
            tangent = torch.autograd.forward_ad.unpack_dual(function(dual, keys, values)).tangent
            assert tangent is not None
            torch.testing.assert_close(tangent, expected)

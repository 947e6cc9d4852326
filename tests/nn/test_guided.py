"""The loss that tells attention where to look, against a loop."""

import math

import pytest
import torch

from regard.errors import ShapeError
from regard.models.recurrent import RecurrentConfig, RecurrentTranslator
from regard.models.transformer import TransformerConfig, TransformerTranslator
from regard.nn.guided import guided_loss


def wishes(batch: int, steps: int, keys: int, seed: int) -> torch.Tensor:
    """A wish for about half of the steps, of one or two keys."""
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(batch, steps, keys, generator=generator) < 0.3).float()
    return chosen / chosen.sum(-1, keepdim=True).clamp(min=1)


def test_the_loss_is_the_sum_over_single_links():
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(2, 3, 4, generator=generator).softmax(-1)
    wished = wishes(2, 3, 4, 2)
    expected = -sum(
        wished[b, t, k].item() * math.log(weights[b, t, k].item())
        for b in range(2)
        for t in range(3)
        for k in range(4)
    )
    assert guided_loss(weights, wished).item() == pytest.approx(expected, rel=1e-5)


def test_no_weights_are_better_than_those_that_are_wished():
    wished = wishes(1, 5, 6, 3)
    best = guided_loss(wished, wished)
    for seed in range(20):
        others = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(seed)).softmax(-1)
        assert guided_loss(others, wished) >= best


def test_a_weight_of_nothing_has_a_finite_loss_and_gradient():
    weights = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    loss = guided_loss(weights, torch.tensor([[[1.0, 0.0]]]))
    loss.backward()
    assert loss.isfinite() and weights.grad is not None and weights.grad.isfinite().all()


def test_weights_and_wishes_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"\(1, 2, 3\) but what is wished is \(1, 2, 4\)"):
        guided_loss(torch.ones(1, 2, 3), torch.ones(1, 2, 4))


def networks() -> list:
    small = TransformerConfig(
        width=16, heads=2, feed_forward=32, encoder_layers=2, decoder_layers=2, dropout=0.0, alignment_head=2
    )
    return [
        TransformerTranslator(small, 20),
        TransformerTranslator(TransformerConfig(**{**vars(small), "alignment_head": 0}), 20),
        RecurrentTranslator(
            RecurrentConfig(embedding=8, width=16, dropout=0.0, embedding_dropout=0.0, recurrent_dropout=0.0),
            20,
        ),
    ]


SOURCE = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
LENGTHS = torch.tensor([4, 2])
GIVEN = torch.tensor([[2, 11, 12], [2, 13, 0]])
WANTED = torch.tensor([[11, 12, 3], [13, 3, 0]])


def wished_of_batch() -> torch.Tensor:
    wished = wishes(2, 3, 4, 5)
    wished[1, :, 2:] = 0
    wished[1, 2] = 0
    return wished


@pytest.mark.parametrize("kind", range(3))
def test_a_network_adds_the_loss_of_the_alignment_that_it_shows(kind):
    torch.manual_seed(0)
    network, wished = networks()[kind].eval(), wished_of_batch()
    plain = network.loss(SOURCE, LENGTHS, GIVEN, WANTED, smoothing=0.1)
    guided = network.loss(SOURCE, LENGTHS, GIVEN, WANTED, smoothing=0.1, wished=0.5 * wished)
    shown = network(SOURCE, LENGTHS, GIVEN)[1]
    torch.testing.assert_close(guided, plain + 0.5 * guided_loss(shown, wished), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", range(3))
def test_following_its_gradient_the_network_looks_where_is_wished(kind):
    torch.manual_seed(0)
    network = networks()[kind].train()
    wished = torch.zeros(2, 3, 4)
    wished[0, [0, 1, 2], [3, 0, 2]] = 1
    wished[1, [0, 1], [1, 0]] = 1
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        network.loss(SOURCE, LENGTHS, GIVEN, WANTED, wished=wished).backward()
        optimizer.step()
    shown = network.eval()(SOURCE, LENGTHS, GIVEN)[1]
    assert (shown * wished).sum().item() > 0.9 * wished.sum().item()


def test_one_head_of_a_transformer_is_guided_and_shown_alone():
    torch.manual_seed(0)
    network = networks()[0].eval()
    heads = network.look(SOURCE, LENGTHS, GIVEN, ["cross.0"])["cross.0"]
    torch.testing.assert_close(network(SOURCE, LENGTHS, GIVEN)[1], heads[:, 1])
    wished = wished_of_batch()
    query = network.decoder.layers[0].cross_attention.query.weight
    plain, guided = (
        torch.autograd.grad(network.loss(SOURCE, LENGTHS, GIVEN, WANTED, wished=w), query)[0]
        for w in (None, wished)
    )
    torch.testing.assert_close(plain[:8], guided[:8], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(plain[8:], guided[8:], atol=1e-4)


def test_with_two_passes_over_a_batch_each_counts_half():
    torch.manual_seed(0)
    network, wished = networks()[0].eval(), wished_of_batch()
    plain = network.loss(SOURCE, LENGTHS, GIVEN, WANTED, consistency=1.0)
    guided = network.loss(SOURCE, LENGTHS, GIVEN, WANTED, consistency=1.0, wished=wished)
    once = guided_loss(network(SOURCE, LENGTHS, GIVEN)[1], wished)
    torch.testing.assert_close(guided - plain, once, rtol=1e-4, atol=1e-4)


def test_a_layer_that_was_left_out_is_not_guided():
    config = TransformerConfig(
        width=16, heads=2, feed_forward=32, encoder_layers=1, decoder_layers=1, layer_drop=0.999, dropout=0.0
    )
    network = TransformerTranslator(config, 20).train()
    torch.manual_seed(1)
    assert network.loss(SOURCE, LENGTHS, GIVEN, WANTED, wished=wished_of_batch()).isfinite()

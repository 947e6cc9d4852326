"""Every head's weights in words, against the network's own in tokens."""

import numpy as np
import pytest
import torch

from regard.data.tokenization import START, Tokenizer
from regard.decoding.heads import heads
from regard.decoding.looking import look
from regard.decoding.translator import Model
from regard.errors import InputError
from regard.models.recurrent import RecurrentConfig, RecurrentTranslator
from regard.models.transformer import TransformerConfig, TransformerTranslator

CONFIG = {
    "width": 16,
    "heads": 2,
    "feed_forward": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "dropout": 0.0,
}
TEXTS = ["the old house is over there.", "a house"]
TARGETS = ["das alte Haus ist dort.", "ein Haus"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    tokenizer = Tokenizer.train([*TEXTS, *TARGETS] * 2, vocabulary=50)
    return Model(TransformerTranslator(TransformerConfig(**CONFIG), len(tokenizer)), tokenizer, name="small")


def weights_of(model, name, number):
    """The weights (H, Q, K) between the tokens of a pair, as the network gives them."""
    source, target = (model.tokenizer.ids([side[number]])[0] for side in (TEXTS, TARGETS))
    given = [START, *target[:-1]]
    sides = torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([given])
    with torch.inference_mode():
        return model.network.eval().look(*sides)[name][0].numpy(), source, target


def by_words(model, ids):
    """The tokens of each word."""
    numbers = model.tokenizer.words([model.tokenizer.tokens[i] for i in ids])
    return [[i for i, number in enumerate(numbers) if number == word] for word in range(max(numbers) + 1)]


@pytest.mark.parametrize(("kind", "layers"), [("encoder", 3), ("decoder", 2), ("cross", 2)])
def test_there_is_a_map_for_each_layer_and_head_and_its_weights_are_the_networks(model, kind, layers):
    records = heads(model, TEXTS, TARGETS, kind=kind)
    assert len(records) == 2
    for number, record in enumerate(records):
        assert record.axes == ("layer", "head", "query", "key") and record.weights.shape[:2] == (layers, 2)
        assert record.statistics["entropy"].shape == (layers, 2)
        assert ("previous" in record.statistics) == (kind == "encoder")
        assert dict(record.metadata) == {"kind": kind} and record.title == f"small {kind}"
        for layer in range(layers):
            weights, source, target = weights_of(model, f"{kind}.{layer}", number)
            rows = by_words(model, source if kind == "encoder" else target)
            columns = by_words(model, source)
            if kind == "decoder":
                last = len(target) - 1
                columns = [[0], *([i + 1 for i in word if i < last] for word in by_words(model, target))]
                columns = [column for column in columns if column]
            for head in range(2):
                expected = [[weights[head][np.ix_(q, k)].sum(1).mean() for k in columns] for q in rows]
                np.testing.assert_allclose(record.weights[layer, head], expected, atol=1e-6)


def test_words_are_spelt_and_the_decoders_first_key_is_the_start(model):
    (record,) = heads(model, TEXTS[1:], TARGETS[1:], kind="decoder", layer=1, head=0)
    assert record.query_tokens == ("ein", "Haus")
    assert record.key_tokens[:2] == ("<s>", "ein")
    assert record.weights[0, 0, 0, 2:].sum() == 0
    (record,) = heads(model, TEXTS[1:], TARGETS[1:], kind="encoder", layer=0, head=1)
    assert record.title == "small encoder, layer 0, head 1"
    assert record.query_tokens == record.key_tokens == ("a", "house")


def test_the_mean_over_heads_of_the_layer_that_is_shown_is_the_alignment(model):
    shown = model.network.config.shown_layer
    (record,) = heads(model, TEXTS[:1], TARGETS[:1], layer=shown)
    (aligned,) = model.align(TEXTS[:1], TARGETS[:1])
    np.testing.assert_allclose(record.alignment, aligned.weights, atol=1e-6)


def test_empty_texts_have_empty_maps(model):
    for kind, shapes in (("encoder", [(0, 0), (2, 2)]), ("cross", [(2, 0), (0, 2)])):
        records = heads(model, ["", "a house"], ["ein Haus", ""], kind=kind, layer=0, head=0)
        assert [record.alignment.shape for record in records] == shapes
    heads(model, ["", "a house"], ["ein Haus", ""], kind="decoder")


def test_what_a_model_copies_by_is_one_head(model):
    torch.manual_seed(1)
    network = TransformerTranslator(TransformerConfig(**CONFIG, copy=True), len(model.tokenizer))
    copier = Model(network, model.tokenizer)
    (record,) = heads(copier, TEXTS[:1], TARGETS[:1], kind="copy")
    (aligned,) = copier.align(TEXTS[:1], TARGETS[:1])
    np.testing.assert_allclose(record.weights[0, 0], aligned.weights, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "sideways"}, "kind is one of encoder, decoder, cross; got 'sideways'"),
        ({"kind": "copy"}, "kind is one of"),
        ({"layer": 2}, "layer is from 0 to 1 in the cross; got 2"),
        ({"kind": "encoder", "layer": 3}, "layer is from 0 to 2 in the encoder; got 3"),
        ({"head": 2}, "head is from 0 to 1; got 2"),
        ({"layer": -1}, "layer is from 0"),
    ],
)
def test_what_the_model_has_not_got_is_refused_with_what_it_has(model, asked, message):
    with pytest.raises(InputError, match=message):
        heads(model, TEXTS, TARGETS, **asked)


def test_a_recurrent_model_has_no_heads(model):
    network = RecurrentTranslator(RecurrentConfig(embedding=8, width=16), len(model.tokenizer))
    with pytest.raises(InputError, match="no layers of heads"):
        heads(Model(network, model.tokenizer), TEXTS, TARGETS)


def test_look_shows_single_heads_of_what_is_said(model):
    view = look(model, TEXTS[0], target=TARGETS[0], kind="encoder", layer=1)
    assert [record.weights.shape[:2] for record in view.records] == [(1, 2)]
    said = look(model, TEXTS, head=1)
    assert [record.weights.shape[:2] for record in said.records] == [(2, 1)] * 2
    with pytest.raises(InputError, match="nbest is 2"):
        look(model, TEXTS[0], nbest=2, head=1)

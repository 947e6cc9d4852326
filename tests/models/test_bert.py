"""A BERT from regard's own blocks is the one of transformers, number by number."""

import json

import pytest
import torch
from torch.nn import functional as F

from regard.errors import InputError, RunError
from regard.models.bert import Bert, BertConfig

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "max_position_embeddings": 300,
}


def written(folder, kind="BertForMaskedLM", **changes):
    """A model of transformers with random weights, none of them zero, and the folder it was written to."""
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES | changes, attn_implementation="eager")
    theirs = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    theirs.tie_weights()
    theirs.save_pretrained(folder)
    return theirs


def padded(lengths, side, vocabulary=97):
    """Tokens (B, L) and their mask, texts of these lengths padded at a side."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    mask = mask.flip(1) if side == "left" else mask
    generator = torch.Generator().manual_seed(1)
    return torch.randint(5, vocabulary, mask.shape, generator=generator) * mask, mask


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("lengths", [(7, 3, 1), (5,), (290, 40)])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_features_logits_and_weights_are_those_of_transformers(side, lengths, activation, tmp_path):
    theirs = written(tmp_path, hidden_act=activation)
    ours = Bert.from_huggingface(tmp_path)
    tokens, mask = padded(lengths, side)
    kinds = (torch.arange(tokens.shape[1]) > 1).long().expand_as(tokens)
    asked = {"attention_mask": mask.long(), "token_type_ids": kinds}
    with torch.no_grad():
        expected = theirs(tokens, **asked, output_hidden_states=True, output_attentions=True)
        seen = ours.look(tokens, mask=mask, kinds=kinds)
        features = ours(tokens, mask=mask, kinds=kinds)
        logits = ours.logits(features)
    assert ours.attentions == list(seen) == ["encoder.0", "encoder.1", "encoder.2"]
    torch.testing.assert_close(features[mask], expected.hidden_states[-1][mask], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(logits[mask], expected.logits[mask], atol=1e-4, rtol=1e-4)
    for name, weights in zip(seen, expected.attentions, strict=True):
        for own, other, real in zip(seen[name], weights, mask, strict=True):
            torch.testing.assert_close(own[:, real], other[:, real], atol=1e-5, rtol=1e-4)
            assert not own[:, real][..., ~real].any()


def test_a_text_is_made_one_vector_as_transformers_does(tmp_path):
    theirs = written(tmp_path, "BertModel")
    ours = Bert.from_huggingface(tmp_path)
    tokens, mask = padded((6, 4), "right")
    with torch.no_grad():
        expected = theirs(tokens, attention_mask=mask.long()).pooler_output
        torch.testing.assert_close(ours.pooled(ours(tokens, mask=mask)), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="has no layer that says tokens"):
        ours.logits(torch.zeros(1, 2, 32))


def test_gradients_are_those_of_transformers(tmp_path):
    theirs = written(tmp_path)
    ours = Bert.from_huggingface(tmp_path)
    tokens, _ = padded((6, 6), "right")
    loss = F.cross_entropy(ours.logits(ours(tokens)).flatten(0, 1), tokens.flatten())
    loss.backward()
    theirs(tokens, labels=tokens).loss.backward()
    other = theirs.bert.encoder.layer[1].attention.self.key.weight.grad
    torch.testing.assert_close(ours.layers[1].attention.keys.weight.grad, other, atol=1e-6, rtol=1e-3)


def test_it_trains_on_what_it_is_given():
    torch.manual_seed(0)
    sizes = {"vocabulary": 20, "width": 16, "heads": 2, "feed_forward": 32, "layers": 1, "longest": 8}
    bert = Bert(BertConfig(**sizes, dropout=0.0, attention_dropout=0.0)).train()
    tokens = torch.randint(0, 20, (16, 8))
    optimizer = torch.optim.Adam(bert.parameters(), 0.01)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(bert.logits(bert(tokens)).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(1, 301, dtype=torch.long), "a text of 301 tokens, but this model knows 300 positions"),
        (torch.zeros(1, 0, dtype=torch.long), "at least one a text"),
        (torch.zeros(4, dtype=torch.long), r"tokens are \(B, L\)"),
        (torch.tensor([[3, 97]]), "tokens from 3 to 97, but the vocabulary has the numbers 0 to 96"),
    ],
)
def test_tokens_that_it_cannot_read_are_refused(tokens, message):
    config = BertConfig(vocabulary=97, width=8, heads=2, feed_forward=8, layers=1, longest=300)
    with pytest.raises(InputError, match=message):
        Bert(config)(tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, "a model of the kind 'roberta', which Bert is not"),
        ({"position_embedding_type": "relative_key"}, "a BERT with relative_key positions"),
        ({"is_decoder": True}, "a BERT with a decoder"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"num_hidden_layers": 4}, "is missing; not a whole BERT"),
        ({"hidden_size": 64}, "its weights are not those that config.json describes"),
    ],
)
def test_other_models_and_damaged_ones_are_refused(changes, message, tmp_path):
    written(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(about | changes), encoding="utf-8")
    with pytest.raises(RunError, match=message):
        Bert.from_huggingface(tmp_path)

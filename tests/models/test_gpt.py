"""GPTs from regard's own blocks are those of transformers, number by number, and say the same."""

import json

import pytest
import torch
from torch.nn import functional as F

from regard.errors import InputError, RunError
from regard.models.gpt import Gpt, GptConfig

transformers = pytest.importorskip("transformers")

GPT2 = {"vocab_size": 97, "n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 300, "n_inner": 48}
LLAMA = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "max_position_embeddings": 300,
    "rope_theta": 500.0,
}
CASES = [
    ("gpt2", {}),
    ("gpt2", {"activation_function": "relu"}),
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    ("llama", {"head_dim": 6, "num_key_value_heads": 4}),
]


def written(folder, kind, **changes):
    """A model of transformers with random weights, none of them zero, and the folder it was written to."""
    torch.manual_seed(0)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if kind == "gpt2":
        config = transformers.GPT2Config(**GPT2 | ends | changes, attn_implementation="eager")
        theirs = transformers.GPT2LMHeadModel(config).eval()
    else:
        config = transformers.LlamaConfig(**LLAMA | ends | changes, attn_implementation="eager")
        theirs = transformers.LlamaForCausalLM(config).eval()
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
@pytest.mark.parametrize("lengths", [(7, 3, 1), (290, 40)])
@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_logits_and_weights_are_those_of_transformers(kind, changes, lengths, side, tmp_path):
    theirs = written(tmp_path, kind, **changes)
    ours = Gpt.from_huggingface(tmp_path)
    tokens, mask = padded(lengths, side)
    places = torch.arange(tokens.shape[1])[None].expand_as(tokens)
    with torch.no_grad():
        expected = theirs(tokens, attention_mask=mask.long(), position_ids=places, output_attentions=True)
        logits = ours.logits(ours(tokens, mask=mask))
        seen = ours.look(tokens, mask=mask)
    assert ours.attentions == list(seen) == ["decoder.0", "decoder.1", "decoder.2"]
    torch.testing.assert_close(logits[mask], expected.logits[mask], atol=1e-4, rtol=1e-4)
    for name, weights in zip(seen, expected.attentions, strict=True):
        for own, other, real in zip(seen[name], weights, mask, strict=True):
            torch.testing.assert_close(own[:, real], other[:, real], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_it_goes_on_as_transformers_does_and_as_without_a_cache(kind, changes, tmp_path):
    theirs = written(tmp_path, kind, **changes)
    ours = Gpt.from_huggingface(tmp_path)
    tokens, mask = padded((5, 5), "right")
    asked = {"attention_mask": mask.long(), "max_new_tokens": 12, "do_sample": False}
    expected = theirs.generate(tokens, **asked, eos_token_id=None)
    said = ours.generate(tokens, 12)
    assert said.tolist() == expected.tolist()
    with torch.no_grad():
        whole, kept, parts = ours(said), (), []
        for part in said.split([4, 1, 3, 1, 8], dim=1):
            features, kept = ours.step(part, kept)
            parts.append(features)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-4, rtol=1e-4)


def test_a_text_that_has_ended_says_no_more(tmp_path):
    written(tmp_path, "gpt2")
    ours = Gpt.from_huggingface(tmp_path)
    tokens, _ = padded((5, 5), "right")
    free = ours.generate(tokens, 6)
    end = int(free[0, 6])
    said = ours.generate(tokens, 6, end=end)
    for row, unended in zip(said.tolist(), free.tolist(), strict=True):
        stop = unended.index(end, 5) if end in unended[5:] else len(unended)
        assert row[:stop] == unended[:stop]
        assert set(row[stop:]) <= {end}
    alone = ours.generate(tokens[:1], 6, end=end)[0].tolist()
    assert alone == free[0, : free[0].tolist().index(end, 5) + 1].tolist()


def test_what_is_drawn_follows_the_probabilities_and_the_generator():
    torch.manual_seed(0)
    gpt = Gpt(GptConfig(vocabulary=5, width=8, heads=2, feed_forward=8, layers=1, longest=8)).eval()
    with torch.no_grad():
        gpt.tokens.weight.mul_(40)
    tokens = torch.zeros(4000, 1, dtype=torch.long)
    drawn = gpt.generate(tokens, 1, temperature=2.0, generator=torch.Generator().manual_seed(3))
    again = gpt.generate(tokens, 1, temperature=2.0, generator=torch.Generator().manual_seed(3))
    assert drawn.tolist() == again.tolist()
    with torch.no_grad():
        expected = torch.softmax(gpt.logits(gpt(tokens[:1]))[0, 0] / 2.0, dim=-1)
    counted = torch.bincount(drawn[:, 1], minlength=5) / 4000
    torch.testing.assert_close(counted, expected, atol=0.03, rtol=0)
    with pytest.raises(InputError, match="temperature is at least 0"):
        gpt.generate(tokens, 1, temperature=-1.0)


def test_gradients_are_those_of_transformers(tmp_path):
    theirs = written(tmp_path, "llama")
    ours = Gpt.from_huggingface(tmp_path)
    tokens, _ = padded((6, 6), "right")
    logits = ours.logits(ours(tokens))
    F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    theirs(tokens, labels=tokens).loss.backward()
    other = theirs.model.layers[1].self_attn.k_proj.weight.grad
    torch.testing.assert_close(ours.layers[1].attention.keys.weight.grad, other, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(1, 9, dtype=torch.long), "a text of 9 tokens, but this model knows 8 positions"),
        (torch.zeros(1, 0, dtype=torch.long), "at least one a text"),
        (torch.tensor([[-1, 4]]), "tokens from -1 to 4, but the vocabulary has the numbers 0 to 4"),
    ],
)
def test_tokens_that_it_cannot_read_are_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        Gpt(GptConfig(vocabulary=5, width=8, heads=2, feed_forward=8, layers=1, longest=8))(tokens)


def test_no_more_is_said_than_there_are_positions():
    gpt = Gpt(GptConfig(vocabulary=5, width=8, heads=2, feed_forward=8, layers=1, longest=8)).eval()
    assert gpt.generate(torch.zeros(1, 5, dtype=torch.long), 4).shape == (1, 9)
    with pytest.raises(InputError, match=r"a text of 9 tokens, .* say fewer tokens more"):
        gpt.generate(torch.zeros(1, 5, dtype=torch.long), 5)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("llama", {"model_type": "mistral"}, "a model of the kind 'mistral'; Gpt reads gpt2 and llama"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ("llama", {"attention_bias": True}, "attention_bias is True, which Gpt does not have"),
        ("llama", {"num_hidden_layers": 4}, "is missing; not a whole llama"),
        ("gpt2", {"activation_function": "mish"}, "activation_function is 'mish'"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ("gpt2", {"n_positions": 8}, "its weights are not those that config.json describes"),
    ],
)
def test_other_models_and_damaged_ones_are_refused(kind, changes, message, tmp_path):
    written(tmp_path, kind)
    about = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(about | changes), encoding="utf-8")
    with pytest.raises(RunError, match=message):
        Gpt.from_huggingface(tmp_path)

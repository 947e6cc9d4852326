"""A real BERT and a real GPT: the same numbers as transformers, and the heads known to be in them."""

import numpy as np
import pytest
import torch

from regard.inspection.capture import capture
from regard.models.bert import Bert
from regard.models.gguf import GgufFile
from regard.models.gpt import Gpt

transformers = pytest.importorskip("transformers")

TEXTS = ["The law will be perfect, but its application should be just.", "Where do the words look?"]


@pytest.fixture(scope="module")
def bert(minilm):
    return transformers.AutoModel.from_pretrained(minilm, attn_implementation="sdpa").eval()


@pytest.fixture(scope="module")
def bert_tokenizer(minilm):
    return transformers.AutoTokenizer.from_pretrained(minilm)


@pytest.fixture(scope="module")
def gpt(smollm):
    pytest.importorskip("accelerate")
    return transformers.AutoModelForCausalLM.from_pretrained(
        smollm.parent, gguf_file=smollm.name, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()


@pytest.fixture(scope="module")
def gpt_tokenizer(smollm):
    return GgufFile(smollm).tokenizer


def plain(model, given):
    """The model's output and weights (L, B, H, Q, K) with attn_implementation="eager"."""
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            outputs = model(**given, output_attentions=True)
    finally:
        model.set_attn_implementation("sdpa")
    return torch.stack(outputs.attentions).numpy()


@pytest.mark.parametrize("side", ["right", "left"])
def test_captured_weights_of_the_bert_are_those_of_eager_attention(bert, bert_tokenizer, side):
    bert_tokenizer.padding_side = side
    given = dict(bert_tokenizer(TEXTS, return_tensors="pt", padding=True))
    with torch.no_grad():
        before = bert(**given).last_hidden_state
    captured = capture(bert, given, tokenizer=bert_tokenizer)
    torch.testing.assert_close(captured.outputs.last_hidden_state, before, rtol=0, atol=1e-5)
    weights, there = plain(bert, given), given["attention_mask"].bool().numpy()
    for text in range(2):
        own = weights[:, text][..., there[text]][..., there[text], :]
        np.testing.assert_allclose(captured.record(text=text).weights, own, atol=1e-5)


def test_in_the_bert_layer_0_head_2_looks_at_the_previous_token(bert, bert_tokenizer):
    record = capture(bert, TEXTS[0], tokenizer=bert_tokenizer).record()
    previous = record.statistics["previous"]
    assert np.unravel_index(previous.argmax(), previous.shape) == (0, 2) and previous[0, 2] > 0.9
    assert record.query_tokens[:4] == ("[CLS]", "the", "law", "will")


def test_our_bert_gives_the_same(minilm, bert, bert_tokenizer):
    ours = Bert.from_huggingface(minilm)
    given = dict(bert_tokenizer(TEXTS, return_tensors="pt", padding=True))
    mask = given["attention_mask"].bool()
    captured = capture(ours, {"tokens": given["input_ids"], "mask": mask})
    theirs = capture(bert, given)
    torch.testing.assert_close(
        captured.outputs[mask], theirs.outputs.last_hidden_state[mask], rtol=0, atol=1e-4
    )
    for text in range(2):
        np.testing.assert_allclose(
            captured.record(text=text).weights, theirs.record(text=text).weights, atol=1e-5
        )


@pytest.mark.parametrize("side", ["right", "left"])
def test_captured_weights_of_the_gpt_are_those_of_eager_attention(gpt, gpt_tokenizer, side):
    rows = [encoding.ids for encoding in gpt_tokenizer.encode_batch(TEXTS)]
    longest = max(map(len, rows))
    mask = torch.tensor([[n < len(row) for n in range(longest)] for row in rows])
    tokens = torch.tensor([row + [2] * (longest - len(row)) for row in rows])
    if side == "left":
        mask = mask.flip(1)
        tokens = torch.tensor([[2] * (longest - len(row)) + row for row in rows])
    given = {"input_ids": tokens, "attention_mask": mask.long()}
    with torch.no_grad():
        before = gpt(**given).logits
    captured = capture(gpt, given)
    torch.testing.assert_close(captured.outputs.logits, before, rtol=0, atol=1e-5)
    weights = plain(gpt, given)
    for text in range(2):
        there = mask[text].numpy()
        own = weights[:, text][..., there][..., there, :]
        np.testing.assert_allclose(captured.record(text=text).weights, own, atol=1e-5)


def test_our_gpt_gives_the_same_from_the_gguf_file(smollm, gpt, gpt_tokenizer):
    ours = Gpt.from_gguf(smollm)
    tokens = torch.tensor([gpt_tokenizer.encode(TEXTS[0]).ids])
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(tokens)), gpt(tokens).logits, rtol=0, atol=1e-4)
    theirs = gpt.generate(tokens, max_new_tokens=8, do_sample=False, pad_token_id=2)
    assert ours.generate(tokens, 8).tolist() == theirs.tolist()


def test_the_vocabulary_of_the_gguf_file_is_read_as_transformers_reads_it(smollm, gpt_tokenizer):
    theirs = transformers.AutoTokenizer.from_pretrained(smollm.parent, gguf_file=smollm.name)
    for text in (*TEXTS, " In 2024\n\tça va?  <|im_end|>", "日本語 🙂"):
        assert gpt_tokenizer.encode(text).ids == theirs(text)["input_ids"]


def test_in_the_gpt_layer_18_head_6_is_an_induction_head_and_the_first_token_a_sink(gpt):
    generator = torch.Generator().manual_seed(0)
    once = torch.randint(100, 40_000, (1, 60), generator=generator)
    tokens = torch.cat([torch.tensor([[1]]), once, once], dim=1)
    record = capture(gpt, {"input_ids": tokens}).record()
    induction = record.statistics["induction"]
    assert np.unravel_index(induction.argmax(), induction.shape) == (18, 6) and induction[18, 6] > 0.7
    assert record.statistics["sink"].max() > 0.95 and record.statistics["sink"].mean() > 0.25


def test_a_long_text_is_described_without_its_weights(gpt):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(100, 40_000, (1, 300), generator=generator)
    whole, small = capture(gpt, {"input_ids": tokens}), capture(gpt, {"input_ids": tokens}, memory=1)
    assert small.record().pooled == (2, 2) and small.record().weights.shape == (30, 9, 150, 150)
    for name, numbers in whole.record().statistics.items():
        np.testing.assert_allclose(
            small.record().statistics[name], numbers, rtol=1e-3, atol=1e-4, err_msg=name
        )
    part = small.part(18, 6, slice(200, 300), slice(100, 200))
    np.testing.assert_allclose(part, whole.record().weights[18, 6, 200:300, 100:200], atol=1e-5)

"""What is captured is what the model used, by its own plain attention, and the model computes as before."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from regard.errors import InputError
from regard.inspection.capture import capture
from regard.models.bert import Bert, BertConfig
from regard.models.gpt import Gpt, GptConfig

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {"num_key_value_heads": 2}
PAIR = {"vocab_size": 97, "d_model": 32, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2}
SIZES = {"vocabulary": 97, "width": 32, "heads": 4, "feed_forward": 48, "layers": 3, "longest": 64}
MODELS = {
    "bert": lambda t: (t.BertModel, t.BertConfig(**SMALL)),
    "albert": lambda t: (t.AlbertModel, t.AlbertConfig(**SMALL, embedding_size=16)),
    "gpt2": lambda t: (
        t.GPT2LMHeadModel,
        t.GPT2Config(
            vocab_size=97, n_embd=32, n_head=4, n_layer=3, n_positions=64, bos_token_id=1, eos_token_id=2
        ),
    ),
    "llama": lambda t: (t.LlamaForCausalLM, t.LlamaConfig(**SMALL, **GROUPED)),
    "mistral": lambda t: (t.MistralForCausalLM, t.MistralConfig(**SMALL, **GROUPED, sliding_window=4)),
    "t5": lambda t: (
        t.T5ForConditionalGeneration,
        t.T5Config(**PAIR, d_kv=8, d_ff=48, num_layers=3, num_heads=4),
    ),
    "bart": lambda t: (
        t.BartForConditionalGeneration,
        t.BartConfig(
            **PAIR,
            encoder_layers=3,
            decoder_layers=3,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_position_embeddings=64,
            bos_token_id=1,
            forced_eos_token_id=2,
        ),
    ),
    # with a limit to scores, sinks, and an attention of their own: eager alone
    "gemma2": lambda t: (
        t.Gemma2ForCausalLM,
        t.Gemma2Config(
            **SMALL,
            **GROUPED,
            head_dim=8,
            sliding_window=4,
            attn_logit_softcapping=1.0,
            query_pre_attn_scalar=4,
        ),
    ),
    "gpt-oss": lambda t: (
        t.GptOssForCausalLM,
        t.GptOssConfig(
            **SMALL, **GROUPED, head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=4
        ),
    ),
    "bloom": lambda t: (
        t.BloomForCausalLM,
        t.BloomConfig(
            vocab_size=97, hidden_size=32, n_head=4, n_layer=3, bos_token_id=1, eos_token_id=2, pad_token_id=0
        ),
    ),
}
PLAIN_ONLY = ("gemma2", "gpt-oss", "bloom")


def made(name, attention):
    """A model with random weights, large enough for heads to differ."""
    torch.manual_seed(0)
    kind, config = MODELS[name](transformers)
    model = kind._from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    return model


def inputs_for(model, side="right"):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, 97, (2, 9), generator=generator)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    mask = mask.flip(1) if side == "left" else mask
    given = {"input_ids": tokens * mask, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = torch.randint(5, 97, (2, 5), generator=generator)
    return given


def plain_weights(name, given):
    """All weights by kind, (L, B, H, Q, K), as the model's plain attention returns them."""
    model = made(name, "eager")
    with torch.no_grad():
        outputs = model(**given, output_attentions=True)
    own = "encoder" if name in ("bert", "albert") else "decoder"
    found = {own: getattr(outputs, "attentions", None)}
    for kind in ("encoder", "decoder", "cross"):
        found[kind] = getattr(outputs, f"{kind}_attentions", None) or found.get(kind)
    return {kind: torch.stack(layers).numpy() for kind, layers in found.items() if layers}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("name", "attention"),
    [(name, "eager") for name in MODELS] + [(name, "sdpa") for name in MODELS if name not in PLAIN_ONLY],
)
def test_weights_are_those_of_plain_attention_while_the_model_computes_as_before(name, attention, side):
    model = made(name, attention)
    given = inputs_for(model, side)
    with torch.no_grad():
        before = model(**given)
    captured = capture(model, given)
    assert torch.equal(captured.outputs[0], before[0])
    assert model.config._attn_implementation == attention
    expected, there = plain_weights(name, given), given["attention_mask"].bool().numpy()
    assert {record.metadata["kind"] for record in captured.records} == set(expected)
    for kind, weights in expected.items():
        for text in range(2):
            own = weights[:, text]
            if kind == "cross":
                own = own[..., there[text]]
            elif own.shape[-1] == 9:
                own = own[..., there[text]][..., there[text], :]
            record = captured.record(kind, text)
            assert record.axes == ("layer", "head", "query", "key")
            np.testing.assert_allclose(record.weights, own, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "llama", "mistral", "t5"])
def test_of_a_long_text_means_and_numbers_are_those_of_the_whole_map(name):
    model = made(name, "sdpa")
    tokens = torch.randint(5, 30, (1, 50), generator=torch.Generator().manual_seed(2))
    given = {"input_ids": tokens} | ({"decoder_input_ids": tokens[:, :33]} if name == "t5" else {})
    whole, pooled = capture(model, given), capture(model, given, memory=0, side=8)
    for record in whole.records:
        kind = record.metadata["kind"]
        small = pooled.record(kind)
        assert not small.whole and record.whole
        rows, columns = small.pooled
        for row in range(small.weights.shape[-2]):
            for column in range(small.weights.shape[-1]):
                block = record.weights[..., rows * row :, columns * column :][..., :rows, :columns]
                np.testing.assert_allclose(small.weights[..., row, column], block.mean((-1, -2)), atol=1e-6)
                np.testing.assert_allclose(small.largest[..., row, column], block.max((-1, -2)), atol=1e-6)
        assert small.statistics.keys() == record.statistics.keys()
        for number in record.statistics:
            np.testing.assert_allclose(
                small.statistics[number], record.statistics[number], atol=1e-4, err_msg=number
            )
        part = pooled.part(1, 3, slice(10, 20), slice(5, 30), kind=kind)
        np.testing.assert_allclose(part, record.weights[1, 3, 10:20, 5:30], atol=1e-6)
        same = whole.part(1, 3, slice(10, 20), slice(5, 30), kind=kind)
        np.testing.assert_array_equal(same, record.weights[1, 3, 10:20, 5:30])


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "t5"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_a_model_says_by_itself_is_rows_below_those_of_what_it_was_given(name, side):
    if side == "right" and name != "t5":
        pytest.skip("decoders are padded on the left to go on")
    model = made(name, "sdpa")
    given = inputs_for(model, side)
    given.pop("decoder_input_ids", None)
    captured = capture(model, given, generate=4)
    said = captured.outputs
    if name == "t5":
        again = {**given, "decoder_input_ids": said[:, :-1]}
    else:
        mask = nn.functional.pad(given["attention_mask"], (0, said.shape[1] - 10), value=1)
        places = (mask.cumsum(1) - 1).clamp_min(0)
        again = {"input_ids": said[:, :-1], "attention_mask": mask, "position_ids": places}
    whole = capture(model, again)
    for record in captured.records:
        other = whole.record(record.metadata["kind"], int(record.metadata["text"]))
        np.testing.assert_allclose(record.weights, other.weights, atol=1e-5)
        assert record.query_tokens == other.query_tokens


def test_a_cache_of_fixed_size_shows_no_room_that_is_empty():
    model = made("llama", "sdpa")
    model.generation_config.cache_implementation = "static"
    model.generation_config.disable_compile = True
    given = inputs_for(model, "left")
    captured = capture(model, given, generate=4)
    model.generation_config.cache_implementation = None
    other = capture(model, given, generate=4)
    for record, expected in zip(captured.records, other.records, strict=True):
        np.testing.assert_allclose(record.weights, expected.weights, atol=1e-5)


def test_in_training_weights_are_those_before_dropout():
    model = made("llama", "sdpa")
    given = inputs_for(model)
    expected = capture(model, given).record(text=0).weights
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    model.train()
    np.testing.assert_allclose(capture(model, given).record(text=0).weights[0], expected[0], atol=1e-5)


def test_pytorchs_own_transformer_is_captured_and_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True).eval()
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    later = nn.Transformer.generate_square_subsequent_mask(4)
    given = {
        "src": source,
        "tgt": target,
        "tgt_mask": later,
        "src_key_padding_mask": hidden,
        "memory_key_padding_mask": hidden,
    }
    before = model(**given)
    captured = capture(model, given)
    torch.testing.assert_close(captured.outputs, before)
    first = model.encoder.layers[0].self_attn
    assert "forward" not in vars(first)
    looks = {"average_attn_weights": False}
    _, weights = first(source, source, source, key_padding_mask=hidden, **looks)
    np.testing.assert_allclose(captured.record("encoder", 1).weights[0], weights[1].detach(), atol=1e-6)
    own = model.decoder.layers[0].self_attn
    _, weights = own(target, target, target, attn_mask=later, **looks)
    np.testing.assert_allclose(captured.record("decoder", 1).weights[0], weights[1].detach(), atol=1e-6)
    assert captured.record("cross", 1).weights[..., 3:].max() == 0


@pytest.mark.parametrize("options", [{}, {"add_zero_attn": True}])
def test_multi_head_attention_is_captured_in_any_layout(options):
    torch.manual_seed(0)

    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=5, **options)

        def forward(self, query, keys, values):
            return self.attention(query, keys, values, need_weights=True, average_attn_weights=False)

    model = Looking().eval()
    given = {"query": torch.randn(4, 1, 8), "keys": torch.randn(7, 1, 6), "values": torch.randn(7, 1, 5)}
    if options:
        with pytest.raises(InputError, match="add_zero_attn"):
            capture(model, given)
        return
    captured = capture(model, given)
    np.testing.assert_allclose(
        captured.record("cross").weights[0], captured.outputs[1][0].detach(), atol=1e-6
    )


@pytest.mark.parametrize("long", [False, True])
def test_our_own_bert_and_gpt_are_captured(long):
    torch.manual_seed(0)
    tokens, mask = torch.randint(5, 97, (1, 40)), torch.ones(1, 40, dtype=torch.bool)
    bert = Bert(BertConfig(**SIZES)).eval()
    gpt = Gpt(GptConfig(**SIZES, key_heads=2, positions="rotary")).eval()
    for model, kind in ((bert, "encoder"), (gpt, "decoder")):
        given = {"tokens": tokens, "mask": mask}
        captured = capture(model, given, **({"memory": 0, "side": 40} if long else {}))
        own = model.look(tokens, mask=mask)
        expected = torch.stack([own[name][0] for name in model.attentions]).detach()
        np.testing.assert_allclose(captured.record(kind).weights, expected, atol=1e-6)
        torch.testing.assert_close(captured.outputs, model(tokens, mask=mask))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "bart"])
def test_with_value_norms_each_weight_is_the_length_of_what_it_brings(name):
    model = made(name, "sdpa")
    given = inputs_for(model)
    captured = capture(model, given)
    own = "encoder" if name in ("bert", "bart") else "decoder"
    found = captured.by_value_norm(own).weights[0]
    layer = {
        "bert": lambda: (
            model.encoder.layer[0].attention.self.value,
            model.encoder.layer[0].attention.output,
        ),
        "gpt2": lambda: (None, model.transformer.h[0].attn),
        "llama": lambda: (model.model.layers[0].self_attn.v_proj, model.model.layers[0].self_attn),
        "bart": lambda: (
            model.model.encoder.layers[0].self_attn.v_proj,
            model.model.encoder.layers[0].self_attn,
        ),
    }[name]()
    told = {}
    module = layer[0] if layer[0] is not None else layer[1].c_attn
    hook = module.register_forward_hook(lambda module, inputs, output: told.update(values=output[0]))
    with torch.no_grad():
        model(**given)
    hook.remove()
    values = told["values"][:, -32:] if name == "gpt2" else told["values"]
    out = {"bert": "dense", "gpt2": "c_proj", "llama": "o_proj", "bart": "out_proj"}[name]
    weight = getattr(layer[1], out).weight.detach()
    weight = weight.T if name == "gpt2" else weight
    for head in range(4):
        shared = head // 2 if name == "llama" else head
        brought = values[:, 8 * shared : 8 * shared + 8] @ weight[:, 8 * head : 8 * head + 8].T
        expected = captured.record(own).weights[0, head] * brought.norm(dim=-1).detach().numpy()
        np.testing.assert_allclose(found[head], expected, rtol=1e-4, atol=1e-6)


def test_what_keys_bring_is_not_told_where_it_is_not_known():
    model = made("llama", "sdpa")
    given = {"input_ids": torch.randint(5, 97, (1, 20))}
    with pytest.raises(InputError, match="only rectangles are kept"):
        capture(model, given, memory=0, side=4).by_value_norm()
    with pytest.raises(InputError, match="no projection after its attention was found"):
        capture(made("bloom", "eager"), given).by_value_norm()


def test_our_own_gpt_goes_on_by_itself_too():
    torch.manual_seed(0)
    gpt = Gpt(GptConfig(**SIZES, positions="rotary")).eval()
    tokens = torch.randint(5, 97, (1, 6))
    captured = capture(gpt, {"tokens": tokens}, generate=3)
    assert captured.outputs.tolist() == gpt.generate(tokens, 3).tolist()
    whole = capture(gpt, {"tokens": captured.outputs[:, :-1]})
    np.testing.assert_allclose(captured.record().weights, whole.record().weights, atol=1e-6)
    with pytest.raises(InputError, match="generates nothing"):
        capture(Bert(BertConfig(**SIZES)), {"tokens": tokens}, generate=3)


def test_an_image_has_patches_for_words():
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=8,
        patch_size=4,
    )
    model = transformers.ViTModel(config).eval()
    record = capture(model, {"pixel_values": torch.randn(1, 3, 8, 8)}).record()
    assert record.query_tokens == ("[CLS]", "1,1", "1,2", "2,1", "2,2")


def test_speech_is_captured_too():
    config = transformers.WhisperConfig(
        vocab_size=97,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=10,
        num_mel_bins=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    given = {"input_features": torch.randn(1, 8, 20), "decoder_input_ids": torch.tensor([[1, 5, 6]])}
    captured = capture(model, given)
    assert captured.record("cross").weights.shape == (2, 4, 3, 10)
    np.testing.assert_allclose(captured.record("cross").weights.sum(-1), 1, rtol=1e-5)


def test_an_attention_that_is_something_else_is_refused_not_shown_wrong():
    def other(module, query, key, value, attention_mask, **options):
        weights = torch.sigmoid(query @ key.transpose(2, 3))
        return (weights @ value).transpose(1, 2), None

    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    model = made("bert", "sdpa")
    given = inputs_for(model)
    ALL_ATTENTION_FUNCTIONS.register("sigmoid", other)
    try:
        model.config._attn_implementation_internal = "sigmoid"
        with pytest.raises(InputError, match="'sigmoid', which is not understood"):
            capture(model, given)
        own = ALL_ATTENTION_FUNCTIONS["sdpa"]
        ALL_ATTENTION_FUNCTIONS.register("sdpa", other)
        model.config._attn_implementation_internal = "sdpa"
        with pytest.raises(InputError, match=r"encoder\.layer\.0\.attention\.self .* something else"):
            capture(model, given)
        assert model.config._attn_implementation == "sdpa"
    finally:
        del ALL_ATTENTION_FUNCTIONS._global_mapping["sigmoid"]
        ALL_ATTENTION_FUNCTIONS.register("sdpa", own)


def test_maps_of_windows_are_no_maps_of_a_text():
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    with pytest.raises(InputError, match="maps of different sizes"):
        capture(transformers.SwinModel(config).eval(), {"pixel_values": torch.randn(1, 3, 32, 32)})
    config = transformers.LongformerConfig(**SMALL, attention_window=4, max_position_embeddings=64)
    model = transformers.LongformerModel(config).eval()
    with pytest.raises(InputError, match="of windows or parts"):
        capture(model, {"input_ids": torch.randint(5, 97, (1, 9))})


def test_a_model_that_goes_by_the_name_of_its_attention_computes_as_before():
    config = transformers.FalconConfig(
        vocab_size=97,
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=2,
        alibi=True,
        new_decoder_architecture=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = transformers.FalconForCausalLM(config).eval()
    given = inputs_for(model)
    with torch.no_grad():
        before = model(**given).logits
    assert torch.equal(capture(model, given).outputs.logits, before)


def test_what_cannot_be_captured_says_why():
    model = made("bert", "sdpa")
    with pytest.raises(InputError, match="no attention of Linear was heard"):
        capture(nn.Linear(2, 2), {"input": torch.ones(1, 2)})
    with pytest.raises(InputError, match="needs tokenizer="):
        capture(model, "a text")
    with pytest.raises(InputError, match="text is empty"):
        capture(model, "  ")
    with pytest.raises(InputError, match="kinds are of encoder, decoder, cross; got 'all'"):
        capture(model, inputs_for(model), kinds=["all"])
    with pytest.raises(InputError, match="kind is one of encoder, text from 0 to 1; got 'cross', 0"):
        capture(model, inputs_for(model)).record("cross")
    with pytest.raises(InputError, match="captured one by one"):
        capture(model, inputs_for(model), memory=0, side=4)


class Letters:
    """A tokenizer of letters, with 0 to fill up with."""

    pad_token_id = 0

    def __call__(self, text, **options):
        return {"input_ids": [ord(letter) - 92 for letter in text]}

    def convert_ids_to_tokens(self, number):
        return chr(number + 92) if number > 4 else "[PAD]"


def test_texts_of_several_lengths_go_on_as_each_does_alone():
    model = made("llama", "sdpa")
    both = capture(model, ["abcdefgh", "xy"], tokenizer=Letters(), generate=4)
    alone = capture(model, "xy", tokenizer=Letters(), generate=4)
    assert both.record(text=1).query_tokens == alone.record().query_tokens
    np.testing.assert_allclose(both.record(text=1).weights, alone.record().weights, atol=1e-5)


def test_what_fills_up_after_the_end_of_a_text_is_left_out():
    model = made("llama", "sdpa")
    given = {"input_ids": torch.randint(5, 97, (2, 5), generator=torch.Generator().manual_seed(3))}
    said = capture(model, given, generate=6).outputs
    end = int(said[0, 6])  # the second token of the first text, which the other does not say there
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = 0
    captured = capture(model, given, generate=6)
    ended = (captured.outputs == end).int().argmax(-1)
    assert len(captured.record(text=0).query_tokens) == min(int(ended[0]) + 1, 10)


def test_a_tokenizer_that_fills_up_and_cuts_is_seen_through():
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "a": 5, "b": 6, "c": 7}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=12)
    model = made("bert", "sdpa")
    assert capture(model, "a b c", tokenizer=tokenizer).record().query_tokens == ("a", "b", "c")
    tokenizer.enable_truncation(2)
    with pytest.raises(InputError, match="cuts texts after 2 tokens"):
        capture(model, "a b c", tokenizer=tokenizer)


def test_a_decoder_without_a_mask_is_a_decoder():
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True).eval()
    captured = capture(model, {"src": torch.randn(1, 5, 16), "tgt": torch.randn(1, 1, 16)})
    assert [record.metadata["kind"] for record in captured.records] == ["encoder", "decoder", "cross"]


def test_threads_and_captures_inside_each_other_do_not_mix():
    models = [made("llama", "sdpa"), made("gpt2", "sdpa")]
    texts = [{"input_ids": torch.randint(5, 97, (1, length))} for length in (12, 30)]
    expected = [capture(*pair).record().weights for pair in zip(models, texts, strict=True)]

    def work(number):
        return [capture(models[number % 2], texts[number % 2]).record().weights for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(work, range(4))):
            for weights in found:
                np.testing.assert_allclose(weights, expected[number % 2], atol=1e-6)
    inner = []
    hook = models[0].register_forward_hook(lambda *_: inner.append(capture(models[1], texts[1])))
    outer = capture(models[0], texts[0])
    hook.remove()
    np.testing.assert_allclose(outer.record().weights, expected[0], atol=1e-6)
    np.testing.assert_allclose(inner[0].record().weights, expected[1], atol=1e-6)


def test_our_own_models_are_captured_in_training_too():
    torch.manual_seed(0)
    bert = Bert(BertConfig(**SIZES, attention_dropout=0.5)).train()
    assert capture(bert, {"tokens": torch.randint(5, 97, (1, 9))}).record().weights.shape == (3, 4, 9, 9)
    with pytest.raises(InputError, match="add it to the text"):
        capture(bert, "a b", tokenizer=Letters(), target="c")


def test_longer_than_the_models_positions_is_said_before_it_is_run():
    model = made("gpt2", "sdpa")
    with pytest.raises(InputError, match="a text of 70 tokens, but the model knows 64 positions"):
        capture(model, {"input_ids": torch.randint(5, 97, (1, 70))})
    with pytest.raises(InputError, match="a text of 66 tokens"):
        capture(model, {"input_ids": torch.randint(5, 97, (1, 60))}, generate=6)


def test_a_model_that_tells_its_weights_goes_on_by_itself_too():
    model = made("bloom", "eager")
    given = {"input_ids": torch.randint(5, 97, (1, 6))}
    captured = capture(model, given, generate=3)
    whole = capture(model, {"input_ids": captured.outputs[:, :-1]})
    np.testing.assert_allclose(captured.record().weights, whole.record().weights, atol=1e-6)


def test_two_encoders_side_by_side_are_not_put_in_one_record():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(
        text_config=sizes | ends | {"vocab_size": 50, "max_position_embeddings": 9},
        vision_config=sizes | {"image_size": 4, "patch_size": 2},
    )
    model = transformers.CLIPModel(config).eval()
    pixels = torch.rand(1, 3, 4, 4)
    inputs = {"input_ids": torch.ones(1, 5, dtype=torch.long), "pixel_values": pixels}  # as many as patches
    with pytest.raises(InputError, match=r"several stacks .*vision_model.*text_model.*capture\(model\."):
        capture(model, inputs)
    assert capture(model.vision_model, {"pixel_values": pixels}).record().weights.shape == (2, 2, 5, 5)


def test_an_encoder_that_was_not_heard_is_not_left_out_without_a_word():
    config = transformers.LongT5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_decoder_layers=1, num_heads=2,
        encoder_attention_type="local", local_radius=3, decoder_start_token_id=0,
    )  # fmt: skip
    model = transformers.LongT5ForConditionalGeneration(config).eval()
    ones = torch.ones(1, 6, dtype=torch.long)
    inputs = {"input_ids": ones, "decoder_input_ids": ones[:, :3]}
    with pytest.raises(InputError, match=r"encoder of LongT5.* not heard.*kinds="):
        capture(model, inputs)
    found = capture(model, inputs, kinds=["decoder", "cross"])
    assert [record.metadata["kind"] for record in found.records] == ["decoder", "cross"]


def test_an_encoder_decoder_that_only_tells_its_weights_goes_on_by_itself():
    config = transformers.FSMTConfig(
        langs=["en", "de"], src_vocab_size=50, tgt_vocab_size=50, d_model=16, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, max_position_embeddings=40, eos_token_id=49, pad_token_id=1,
        decoder={"vocab_size": 50, "bos_token_id": 2},
    )  # fmt: skip
    model = transformers.FSMTForConditionalGeneration(config).eval()
    inputs = {"input_ids": torch.tensor([[3, 4, 5, 6, 7]]), "decoder_input_ids": torch.tensor([[2]])}
    found = capture(model, inputs, generate=4)
    said = found.outputs[:, :-1]
    told = model(**inputs | {"decoder_input_ids": said}, output_attentions=True)
    wanted = {
        "encoder": told.encoder_attentions,
        "decoder": told.decoder_attentions,
        "cross": told.cross_attentions,
    }
    for kind, layers in wanted.items():
        weights = torch.stack([layer[0] for layer in layers]).detach()
        np.testing.assert_allclose(found.record(kind).weights, weights, atol=1e-6)
    assert found.record("cross").query_tokens == tuple(map(str, said[0].tolist()))

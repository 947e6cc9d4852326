"""Other weights than a model's own, and what is said of its own after trying them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from regard.errors import InputError
from regard.inspection.capture import capture, prepare
from regard.inspection.faithfulness import Belief, believe, gradient_weights, spearman
from regard.inspection.intervention import ablation, changed, permuted, say, unchanged, uniform, without
from regard.models.bert import Bert, BertConfig
from regard.models.gpt import Gpt, GptConfig

transformers = pytest.importorskip("transformers")

SIZES = {"vocabulary": 97, "width": 32, "heads": 4, "feed_forward": 48, "layers": 3, "longest": 64}


def ours(kind):
    torch.manual_seed(0)
    model = (Bert(BertConfig(**SIZES)) if kind == "bert" else Gpt(GptConfig(**SIZES))).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    return model


def theirs(attention="sdpa"):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        num_hidden_layers=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    return model


def inputs_of(model):
    tokens = torch.randint(5, 97, (1, 9), generator=torch.Generator().manual_seed(1))
    return {"tokens": tokens} if isinstance(model, Bert | Gpt) else {"input_ids": tokens}


@pytest.mark.parametrize("make", [lambda: ours("bert"), lambda: ours("gpt"), theirs])
def test_with_its_own_weights_a_model_says_the_same(make):
    model = make()
    prepared = prepare(model, inputs_of(model), None)
    with torch.no_grad():
        before = say(model, prepared, -1)
        with changed(model, prepared, unchanged):
            after = say(model, prepared, -1)
    torch.testing.assert_close(after.vector, before.vector, rtol=1e-4, atol=1e-5)
    assert before.moved(after) < 1e-4


def test_looking_everywhere_alike_is_what_queries_of_zero_do():
    model = ours("gpt")
    prepared = prepare(model, inputs_of(model), None)
    with torch.no_grad():
        with changed(model, prepared, uniform):
            even = say(model, prepared, -1)
        for layer in model.layers:
            layer.attention.query.weight.zero_()
            layer.attention.query.bias.zero_()
        torch.testing.assert_close(even.vector, say(model, prepared, -1).vector)


def test_a_head_that_finds_nothing_is_one_whose_projection_is_zero():
    model = theirs()
    prepared = prepare(model, inputs_of(model), None)
    found = ablation(model, prepared, -1, "decoder", (3, 4))
    assert found.shape == (3, 4) and (found > 0).all()
    with torch.no_grad():
        before = say(model, prepared, -1)
        with changed(model, prepared, without([(1, 2)], "decoder")):
            after = say(model, prepared, -1)
        model.model.layers[1].self_attn.o_proj.weight[:, 16:24] = 0
        torch.testing.assert_close(after.vector, say(model, prepared, -1).vector)
    assert found[1, 2] == pytest.approx(before.moved(after))


def test_weights_change_places_among_the_keys_that_are_seen():
    torch.manual_seed(0)
    seen = torch.ones(1, 2, 6, 6, dtype=torch.bool).tril()
    weights = torch.rand(1, 2, 6, 6).masked_fill(~seen, 0)
    found = permuted(torch.Generator().manual_seed(0))("decoder", 0, weights, seen)
    torch.testing.assert_close(found.sort(-1).values, weights.sort(-1).values)
    assert (found[~seen] == 0).all() and not torch.equal(found, weights)


def test_pytorchs_own_modules_take_other_weights():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    source = torch.randn(1, 5, 16)
    prepared = prepare(model, {"src": source}, None)
    with torch.no_grad():
        before = model(source)
        with changed(model, prepared, unchanged):
            torch.testing.assert_close(model(source), before)
        with changed(model, prepared, uniform):
            even = model(source)
        for each in model.layers:
            each.self_attn.in_proj_weight[:16] = 0
            each.self_attn.in_proj_bias[:16] = 0
        torch.testing.assert_close(even, model(source))


def test_what_is_believed_of_a_model_is_what_trying_it_by_hand_gives():
    model = theirs()
    given = inputs_of(model)
    belief = believe(model, given, position=7, top=2)
    weights = capture(model, given).record().weights[:, :, 7].mean((0, 1))
    np.testing.assert_allclose(belief.importance, weights, atol=1e-6)
    order = [at for at in np.argsort(-weights[:8]).tolist() if at != 7]
    assert belief.top == tuple(order[:2]) and len(belief.effects_random) == 20
    with torch.no_grad():
        mask = torch.ones_like(given["input_ids"])
        mask[0, list(belief.top)] = 0
        places = torch.arange(9)[None]
        before = torch.softmax(model(**given).logits[0, 7], -1)
        after = torch.softmax(model(**given, attention_mask=mask, position_ids=places).logits[0, 7], -1)
    assert belief.effect_top == pytest.approx(float((before - after).abs().sum() / 2), abs=1e-5)
    embeddings = model.get_input_embeddings()(given["input_ids"]).detach().requires_grad_(True)
    logits = theirs("eager")(inputs_embeds=embeddings).logits[0, 7]
    torch.log_softmax(logits, -1).max().backward()
    gradients = (embeddings.grad * embeddings).sum(-1)[0].abs().detach()
    np.testing.assert_allclose(belief.gradients, gradients, rtol=1e-3, atol=1e-5)
    assert model(**given).logits.isfinite().all() and not model.training


@pytest.mark.parametrize("make", [theirs, lambda: ours("bert")])
def test_gradient_weights_are_what_a_small_change_of_each_weight_does(make):
    model = make()
    given = inputs_of(model)
    prepared = prepare(model, given, None)
    record = gradient_weights(model, given)
    assert record.weights.shape == (3, 4, 9, 9)
    before = say(model, prepared, -1)
    for place in ((0, 1, 8, 2), (1, 3, 4, 4), (2, 0, 8, 7)):
        sizes = []
        for step in (-1e-2, 1e-2):

            def nudged(kind, layer, weights, seen, step=step, place=place):
                if layer != place[0]:
                    return weights
                weights = weights.clone()
                weights[0, place[1], place[2], place[3]] *= 1 + step
                return weights

            with torch.no_grad(), changed(model, prepared, nudged):
                sizes.append(float(say(model, prepared, -1).size(before)))
        assert record.weights[place] == pytest.approx((sizes[1] - sizes[0]) / 2e-2, rel=0.05, abs=2e-4)


def test_of_features_and_of_one_head_too():
    belief = believe(ours("bert"), inputs_of(ours("bert")), position=0, layer=1, head=3)
    assert not belief.likely and belief.importance.sum() == pytest.approx(1, abs=1e-5)
    assert 0 not in belief.top


def test_the_verdict_follows_from_what_was_found():
    found = Belief(
        ("a", "b", "c", "d"),
        3,
        np.array([0.6, 0.3, 0.1, 0.0]),
        (0,),
        0.8,
        np.full(20, 0.1),
        0.5,
        np.full(20, 0.5),
        np.array([3.0, 2, 1, 0]),
        1.0,
        True,
    )
    assert found.beaten == 1 and "point at words that matter here" in found.verdict
    assert "100% of which move it less" in str(found) and "«a»" in str(found)
    against = replace(found, effect_top=0.05)
    assert against.beaten == 0 and "do not show what matters" in against.verdict
    unclear = replace(found, correlation=0.0)
    assert "as a hint" in unclear.verdict
    idle = replace(found, effect_uniform=0.0, effects_permuted=np.zeros(20))
    assert "hardly depends" in idle.verdict


def test_rank_correlation_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(10):
        one, other = rng.integers(0, 5, 12), rng.random(12)
        assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert spearman(np.ones(4), np.arange(4)) is None


def test_what_cannot_be_tried_says_why():
    model = theirs()
    given = inputs_of(model)
    with pytest.raises(InputError, match="position is from 0 to 8; got 9"):
        believe(model, given, position=9)
    with pytest.raises(InputError, match="sees 1 others, too few to hide 3"):
        believe(model, given, position=1)
    with pytest.raises(InputError, match="takes one text"):
        believe(model, {"input_ids": given["input_ids"].repeat(2, 1)})
    with pytest.raises(InputError, match="head is from 0 to 3; got 4"):
        believe(model, given, head=4)


def test_what_fills_up_is_taken_off_before_anything_is_tried():
    model = theirs()
    given = inputs_of(model)
    expected = believe(model, given, position=8)
    for side in ((4, 0), (0, 4)):
        mask = nn.functional.pad(torch.ones(1, 9, dtype=torch.long), side)
        padded = {"input_ids": nn.functional.pad(given["input_ids"], side), "attention_mask": mask}
        found = believe(model, padded, position=8)
        assert found.top == expected.top and found.effect_top == pytest.approx(expected.effect_top)
        weights = gradient_weights(model, padded, position=8).weights
        np.testing.assert_allclose(weights, gradient_weights(model, given, position=8).weights, atol=1e-5)


def test_a_model_whose_attention_cannot_be_changed_is_refused():
    config = transformers.BloomConfig(
        vocab_size=97, hidden_size=32, n_head=4, n_layer=3, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    model = transformers.BloomForCausalLM(config)
    for attempt in (believe, gradient_weights):
        with pytest.raises(InputError, match="can be seen but not changed"):
            attempt(model, {"input_ids": torch.randint(5, 97, (1, 9))})


def test_each_module_is_left_in_the_mode_it_was_in():
    model = theirs().train()
    model.model.embed_tokens.eval()
    believe(model, inputs_of(model))
    assert model.training and not model.model.embed_tokens.training
    assert gradient_weights(model, inputs_of(model)).weights.any() and model.training

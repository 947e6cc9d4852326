"""The Transformer, against PyTorch's own layers, against itself step by step, and against its plain parts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from regard.data.tokenization import END, PAD, START
from regard.errors import InputError
from regard.models.transformer import TransformerConfig, TransformerTranslator
from regard.nn.guided import guided_loss
from regard.nn.losses import smoothed_cross_entropy

VOCABULARY = 19
TINY = TransformerConfig(width=8, heads=2, feed_forward=12, encoder_layers=2, decoder_layers=2, dropout=0.0)

VARIANTS = {
    "pre": {},
    "post": {"norm": "post"},
    "gelu": {"activation": "gelu"},
    "swiglu": {"activation": "swiglu"},
    "learned positions": {"positions": "learned", "longest": 12},
    "rotary": {"positions": "rotary"},
    "alibi": {"positions": "alibi"},
    "relative": {"positions": "relative"},
    "one key head": {"key_heads": 1},
    "window": {"encoder_window": 2, "positions": "rotary"},
    "no bias": {"bias": False},
    "target tied": {"tied": "target"},
    "nothing tied": {"tied": "none"},
    "first layer shown": {"alignment_layer": 1},
    "last layer shown": {"alignment_layer": 2},
    "copying": {"copy": True},
    "copying without looking twice": {"copy": True, "coverage_loss": 0.5, "normalizer": "entmax15"},
    **{
        f"score {name}": {"score": name}
        for name in (
            "dot",
            "general",
            "additive",
            "concat",
            "cosine",
            "negative_squared_distance",
            "learned_query",
        )
    },
    **{
        f"normalizer {name}": {"normalizer": name, "top_k": 2}
        for name in ("sink", "sparsemax", "entmax15", "entmax", "sigmoid", "top_k", "hardmax")
    },
}


def made(seed: int = 0, **settings) -> TransformerTranslator:
    torch.manual_seed(seed)
    model = TransformerTranslator(dataclasses.replace(TINY, **settings), VOCABULARY).double()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            nn.init.normal_(parameter, mean=1.0 if name.endswith("norm.weight") else 0.0, std=0.3)
    return model.eval()


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three pairs of different lengths: source, lengths, given, wanted."""
    generator = torch.Generator().manual_seed(seed)
    lengths, targets = torch.tensor([6, 3, 5]), torch.tensor([4, 7, 2])
    source = torch.randint(4, VOCABULARY, (3, 6), generator=generator)
    target = torch.randint(4, VOCABULARY, (3, 7), generator=generator)
    source[torch.arange(6) >= lengths[:, None]] = PAD
    target[torch.arange(7) >= targets[:, None]] = PAD
    given = torch.cat([torch.full((3, 1), START), target], dim=1)
    wanted = torch.cat([target, torch.full((3, 1), PAD)], dim=1)
    wanted[torch.arange(3), targets] = END
    return source, lengths, given, wanted


def torch_attention(theirs: nn.MultiheadAttention, ours: nn.Module) -> None:
    parts = (ours.query, ours.keys, ours.values)
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def torch_model(model: TransformerTranslator) -> nn.Transformer:
    """PyTorch's own Transformer with the same weights."""
    config = model.config
    theirs = nn.Transformer(
        config.width,
        config.heads,
        config.encoder_layers,
        config.decoder_layers,
        config.feed_forward,
        dropout=0.0,
        activation=config.activation,
        batch_first=True,
        norm_first=config.norm == "pre",
    ).double()
    with torch.no_grad():
        for name in ("encoder", "decoder"):
            for their_layer, our_layer in zip(
                getattr(theirs, name).layers, getattr(model, name).layers, strict=True
            ):
                torch_attention(their_layer.self_attn, our_layer.attention)
                norms = [our_layer.attention_norm, our_layer.feed_forward_norm]
                if name == "decoder":
                    torch_attention(their_layer.multihead_attn, our_layer.cross_attention)
                    norms.insert(1, our_layer.cross_attention_norm)
                for number, norm in enumerate(norms, 1):
                    getattr(their_layer, f"norm{number}").load_state_dict(norm.state_dict())
                their_layer.linear1.load_state_dict(our_layer.feed_forward.inner.state_dict())
                their_layer.linear2.load_state_dict(our_layer.feed_forward.outer.state_dict())
            if config.norm == "pre":
                getattr(theirs, name).norm.load_state_dict(getattr(model, name).norm.state_dict())
            else:
                getattr(theirs, name).norm = None
    return theirs.eval()


def waves(length: int, width: int) -> Tensor:
    """Sinusoidal positions by the formula, all sines first."""
    table = torch.empty(length, width, dtype=torch.float64)
    for position in range(length):
        for i in range(width // 2):
            angle = torch.tensor(position / 10000 ** (2 * i / width), dtype=torch.float64)
            table[position, i], table[position, width // 2 + i] = angle.sin(), angle.cos()
    return table


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_it_computes_what_pytorchs_own_transformer_computes(norm: str, activation: str) -> None:
    model = made(norm=norm, activation=activation)
    source, lengths, given, _ = batch()
    x, y = (
        embedding(tokens) * 8**0.5 + waves(tokens.shape[1], 8)
        for embedding, tokens in ((model.source_embedding, source), (model.target_embedding, given))
    )
    padding = torch.arange(6) >= lengths[:, None]
    theirs = torch_model(model)(
        x,
        y,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(8, dtype=torch.float64),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
        tgt_is_causal=True,
    )
    torch.testing.assert_close(model(source, lengths, given)[0], theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_going_step_by_step_gives_what_going_along_known_words_gives(settings: dict) -> None:
    model = made(**settings)
    source, lengths, given, _ = batch()
    with torch.no_grad():
        features, weights = model(source, lengths, given)
        expected = model.log_probabilities(features, weights, source)
        steps, state = model.start(model.encode(source, lengths))
        hypotheses = torch.arange(3).repeat_interleave(2)  # two of each sentence, the same words
        state = state.select(hypotheses)
        for t in range(given.shape[1]):
            said, looked, state = model.step(steps, state, given[hypotheses, t])
            torch.testing.assert_close(said, expected[hypotheses, t], rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(looked, weights[hypotheses, t], rtol=1e-6, atol=1e-6)
            if t == 2:  # as beam search goes on: the second sentence is done, others change places
                hypotheses = torch.tensor([0, 0, 2, 2])
                state, steps = state.select(torch.tensor([1, 0, 4, 4])), steps.select(torch.tensor([0, 2]))


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_padding_and_the_other_sentences_change_nothing(settings: dict) -> None:
    model = made(**settings)
    source, lengths, given, _ = batch()
    with torch.no_grad():
        together = model(source, lengths, given)[0]
        for row, length in enumerate(lengths.tolist()):
            alone = model(source[row : row + 1, :length], lengths[row : row + 1], given[row : row + 1])[0]
            torch.testing.assert_close(together[row], alone[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_no_word_knows_what_comes_after_it(settings: dict) -> None:
    model = made(**settings)
    source, lengths, given, _ = batch()
    with torch.no_grad():
        before = model(source, lengths, given)[0]
        changed = given.clone()
        changed[:, 4:] = 5
        after = model(source, lengths, changed)[0]
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_weight_gets_a_gradient(settings: dict) -> None:
    model = made(**settings).train()
    source, lengths, given, wanted = batch()
    model.loss(source, lengths, given, wanted, smoothing=0.1).backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    if settings.get("positions") == "relative":  # clipped distances that no text here is long enough for
        untouched = [name for name in untouched if ".positions." not in name]
    # A softmax does not see what is added to all scores of a query: the keys' bias.
    shift_free = settings.get("normalizer") in (None, "sparsemax", "entmax15", "entmax", "top_k", "hardmax")
    if shift_free and "score" not in settings:
        untouched = [name for name in untouched if not name.endswith("keys.bias")]
    if settings.get("score") == "learned_query":
        untouched = [n for n in untouched if ".query." not in n and "cross_attention_norm" not in n]
    assert not untouched


def test_the_loss_is_the_cross_entropy_of_what_it_says() -> None:
    model = made()
    source, lengths, given, wanted = batch()
    features, _ = model(source, lengths, given)
    plain = smoothed_cross_entropy(
        features.flatten(0, 1), model.output.weight, model.output.bias, wanted.flatten(), 0.1
    )
    torch.testing.assert_close(
        model.loss(source, lengths, given, wanted, smoothing=0.1).double(),
        plain.double(),
        rtol=1e-6,
        atol=1e-5,
    )


@pytest.mark.parametrize("coverage", [0.0, 0.5])
def test_the_loss_of_a_model_that_copies_is_of_what_it_says_and_of_looking_twice(coverage: float) -> None:
    model = made(copy=True, coverage_loss=coverage)
    source, lengths, given, wanted = batch()
    features, weights = model(source, lengths, given)
    said = model.log_probabilities(features, weights, source)
    torch.testing.assert_close(said.exp().sum(-1), torch.ones(given.shape, dtype=torch.float64))
    expected = -said.gather(-1, wanted[..., None])[..., 0][wanted != PAD].sum()
    for t in range(1, given.shape[1]):
        twice = torch.minimum(weights[:, :t].sum(1), weights[:, t]).sum(-1)
        expected = expected + coverage * twice[wanted[:, t] != PAD].sum()
    torch.testing.assert_close(model.loss(source, lengths, given, wanted), expected)
    wished = torch.softmax(weights.detach().roll(1, dims=1), -1)
    guided = model.loss(source, lengths, given, wanted, wished=wished)
    torch.testing.assert_close(guided - expected, guided_loss(weights, wished))


def test_a_model_that_copies_says_nearly_the_same_in_bfloat16() -> None:
    model, narrow = made(copy=True), made(copy=True).to(torch.bfloat16)
    source, lengths, given, wanted = batch()
    with torch.no_grad():
        said, nearly = (
            each.log_probabilities(*each(source, lengths, given), source) for each in (model, narrow)
        )
        shares, nearly_shares = (each.copy_shares(source, lengths, given, wanted) for each in (model, narrow))
        stepped = narrow.step(*narrow.start(narrow.encode(source, lengths)), given[:, 0])[0]
    assert nearly.dtype == nearly_shares.dtype == stepped.dtype == torch.float32
    torch.testing.assert_close(nearly.double(), said, rtol=0.05, atol=0.15)
    torch.testing.assert_close(nearly_shares.double(), shares, rtol=0.0, atol=0.05)
    torch.testing.assert_close(stepped, nearly[:, 0], rtol=0.05, atol=0.15)


def test_words_are_copied_by_the_look_that_is_shown() -> None:
    model = made(copy=True)
    source, lengths, given, _ = batch()
    weights = model.look(source, lengths, given, ["copy.0"])["copy.0"]
    features, shown = model(source, lengths, given)
    torch.testing.assert_close(shown, weights[:, 0])
    wanted = source[:, :1].expand_as(given)
    shares = model.copy_shares(source, lengths, given, wanted)
    p = model.log_probabilities(features, shown, source).exp().gather(-1, wanted[..., None])[..., 0]
    pointed = (shown * (source == source[:, :1])[:, None]).sum(-1) * torch.sigmoid(-features[..., -1])
    torch.testing.assert_close(shares, pointed / p)


def test_two_passes_without_dropout_agree_so_that_r_drop_adds_nothing() -> None:
    model = made().train()
    once = model.loss(*batch(), smoothing=0.1)
    twice = model.loss(*batch(), smoothing=0.1, consistency=5.0)
    torch.testing.assert_close(once, twice)


def test_with_dropout_r_drop_asks_for_agreement() -> None:
    model = made(dropout=0.4).train()
    torch.manual_seed(3)
    little = model.loss(*batch(), consistency=1e-9)
    torch.manual_seed(3)
    much = model.loss(*batch(), consistency=10.0)
    assert much > little + 0.1


def test_bfloat16_weights_give_nearly_the_same_loss_and_gradients() -> None:
    model = made(width=32, feed_forward=48).float().train()
    narrow = made(width=32, feed_forward=48).to(torch.bfloat16).train()
    losses = [each.loss(*batch(), smoothing=0.1) for each in (model, narrow)]
    for loss in losses:
        loss.backward()
    assert abs(losses[0].item() - losses[1].item()) < 0.02 * losses[0].item()
    for (name, one), (_, other) in zip(model.named_parameters(), narrow.named_parameters(), strict=True):
        if one.grad.norm() > 1e-3:
            cosine = nn.functional.cosine_similarity(one.grad.flatten(), other.grad.float().flatten(), dim=0)
            assert cosine > 0.98, name


def test_every_heads_weights_come_on_request() -> None:
    model = made()
    source, lengths, given, _ = batch()
    looks = model.look(source, lengths, given)
    assert sorted(looks) == ["cross.0", "cross.1", "decoder.0", "decoder.1", "encoder.0", "encoder.1"]
    assert looks["encoder.1"].shape == (3, 2, 6, 6)
    assert looks["decoder.0"].shape == (3, 2, 8, 8)
    assert looks["cross.1"].shape == (3, 2, 8, 6)
    for name, weights in looks.items():
        real = weights[0].sum(-1)
        torch.testing.assert_close(real, torch.ones_like(real), msg=name)
    assert not looks["cross.0"][1, :, :, 3:].any()  # padding
    assert not looks["decoder.0"].triu(1).any()  # the future
    torch.testing.assert_close(model(source, lengths, given)[1], looks["cross.0"].mean(1))
    assert list(model.look(source, lengths, given, ["cross.1"])) == ["cross.1"]


def test_layers_are_left_out_while_training_alone() -> None:
    source, lengths, given, _ = batch()
    model = made(layer_drop=0.5)
    with torch.no_grad():
        torch.testing.assert_close(model(source, lengths, given)[0], model(source, lengths, given)[0])
        model.train()
        torch.manual_seed(0)
        found = {round(float(model.features(source, lengths, given).sum()), 6) for _ in range(30)}
    assert 4 < len(found) <= 16  # two layers twice, each there or not


def test_dropout_repeats_with_the_generators_state() -> None:
    model = made(dropout=0.3, attention_dropout=0.2, activation_dropout=0.1).train()
    torch.manual_seed(5)
    one = model.features(*batch()[:3])
    other = model.features(*batch()[:3])
    torch.manual_seed(5)
    again = model.features(*batch()[:3])
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"width": 10, "heads": 4}, ["model.heads is 4", "model.width 10"]),
        ({"heads": 0}, ["model.heads is 0"]),
        ({"width": 12, "heads": 6, "key_heads": 4}, ["model.key_heads is 4", "model.heads 6"]),
        ({"width": 12, "heads": 4, "positions": "rotary"}, ["rotary", "model.width 12", "model.heads 4"]),
        ({"width": 9, "heads": 3}, ["model.width is 9", "sinusoidal"]),
        ({"encoder_window": 4, "positions": "relative"}, ["model.encoder_window is 4", "relative"]),
        ({"encoder_window": 4, "positions": "alibi"}, ["model.encoder_window is 4", "alibi"]),
        ({"alignment_layer": 3}, ["model.alignment_layer is 3", "model.decoder_layers is only 2"]),
        ({"copy": True, "normalizer": "sigmoid"}, ["model.copy is true", "model.normalizer sigmoid"]),
        ({"copy": True, "alignment_layer": 1}, ["model.copy is true", "model.alignment_layer is 1"]),
        ({"coverage_loss": 1.0}, ["model.coverage_loss is 1.0", "model.copy to true"]),
        ({"norm": "sandwich"}, ["model.norm is one of pre, post", "'sandwich'"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_naming_both(
    settings: dict, named: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        dataclasses.replace(TINY, **settings)
    assert all(part in str(error.value) for part in named)

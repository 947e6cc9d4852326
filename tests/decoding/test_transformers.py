"""What holds of a search with the recurrent model holds with Transformers of all kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regard.data.tokenization import END, PAD, START, Tokenizer
from regard.decoding.beam import beam_search
from regard.decoding.ensemble import Ensemble
from regard.decoding.greedy import greedy
from regard.decoding.sampling import Sampling, sample
from regard.decoding.translator import Model, Search
from regard.errors import InputError
from regard.models.transformer import TransformerConfig, TransformerTranslator

KINDS = [
    {},
    {"norm": "pre", "positions": "rotary", "activation": "swiglu", "encoder_window": 2},
    {"positions": "learned", "longest": 30, "key_heads": 1},
    {"positions": "alibi", "normalizer": "sparsemax"},
]
TEXTS = ["ab b, ab a, b", "a b", "b, a, ab b b a"]


def transformer(seed: int, vocabulary: int = 9, **settings) -> TransformerTranslator:
    """A model in evaluation mode with decided opinions."""
    torch.manual_seed(seed)
    sizes = {"width": 8, "heads": 2, "feed_forward": 16, "encoder_layers": 2, "decoder_layers": 2}
    model = TransformerTranslator(TransformerConfig(**sizes | settings), vocabulary).double()
    with torch.no_grad():
        model.output.weight.mul_(4)
    return model.eval()


@torch.no_grad()
def forced(model, source, tokens: list[int]) -> tuple[float, torch.Tensor]:
    """The log-probability of some tokens with the end, and the weights (T, S), by running along them."""
    features, weights = model(source[None], torch.tensor([len(source)]), torch.tensor([[START, *tokens]]))
    said = model.log_probabilities(features, weights)[0]
    return float(said.gather(1, torch.tensor([*tokens, END])[:, None]).sum()), weights[0, : len(tokens)]


def batch(seed: int, count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (count,), generator=generator)
    source = torch.randint(4, 9, (count, int(lengths.max())), generator=generator)
    return source.masked_fill(torch.arange(source.shape[1]) >= lengths[:, None], PAD), lengths


@pytest.mark.parametrize("search", ["beam", "greedy", "sample", "ensemble"])
@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_scores_and_alignments_are_those_of_being_made_to_say_it_alone(seed, settings, search):
    model = transformer(seed, **settings)
    if search == "ensemble":
        model = Ensemble([model, transformer(seed + 10, **settings)]).eval()
    source, lengths = batch(seed)
    limits = torch.tensor([6, 1, 3, 9, 4])
    if search == "greedy":
        found = [[hypothesis] for hypothesis in greedy(model, source, lengths, limits)]
    elif search == "sample":
        found = sample(model, source, lengths, limits, Sampling(samples=3, seed=seed))
    else:
        found = beam_search(model, source, lengths, limits, beam=4)
    for row, hypotheses in enumerate(found):
        assert hypotheses
        for hypothesis in hypotheses:
            log_probability, weights = forced(model, source[row, : lengths[row]], hypothesis.tokens)
            assert hypothesis.log_probability == pytest.approx(log_probability, abs=1e-6)
            np.testing.assert_allclose(hypothesis.weights, weights.numpy(), atol=1e-6)


@pytest.mark.parametrize("settings", KINDS)
def test_rules_hold_and_texts_say_alone_what_they_say_together(settings):
    tokenizer = Tokenizer.train(TEXTS * 3, vocabulary=9)
    network = transformer(1, len(tokenizer), **settings)
    model = Model(network, tokenizer, search=Search(longest_ratio=1.0, longest_extra=6))
    for options in (
        {"beam": 4, "nbest": 4, "block_ngrams": 2, "forbid": ["ab"]},
        {"beam": 12, "require": ["ab", "b"], "min_length": 5},
        {"prefix": "a b", "beam": 1},
        {"samples": 2, "nbest": 2, "seed": 1, "top_p": 0.9, "min_length": 2},
    ):
        together = model.predict(TEXTS, **options)
        for number, (text, prediction) in enumerate(zip(TEXTS, together, strict=True)):
            (alone,) = model.predict([text], **options, first=number)
            assert [o.text for o in alone.alternatives] == [o.text for o in prediction.alternatives]
            assert [o.score for o in alone.alternatives] == pytest.approx(
                [o.score for o in prediction.alternatives]
            )
            for option in prediction.alternatives:
                words = option.text.replace(",", " , ").split()
                assert not ("forbid" in options and "ab" in words)
                assert not ("require" in options and not {"ab", "b"} <= {*words})
                assert option.text.startswith(options.get("prefix", ""))


def test_texts_beyond_learned_positions_are_refused_and_outputs_end_before_them():
    tokenizer = Tokenizer.train(TEXTS * 3, vocabulary=9)
    network = transformer(1, len(tokenizer), positions="learned", longest=12)
    with torch.no_grad():
        network.output.bias[END] = -1e4
    model = Model(network, tokenizer)
    (prediction,) = model.predict(["a a a"], beam=3)
    assert len(tokenizer.encode([prediction.text])[0].ids) <= 12
    with pytest.raises(
        InputError, match=r"text 2 of 2 has 13 tokens; at most 12 are read \(model\.longest\)"
    ):
        model.predict(["a", "a " * 13])

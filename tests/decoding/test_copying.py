"""Which words were copied is told by the model itself, of whole words, for each hypothesis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regard.data.tokenization import END, START, UNKNOWN, Tokenizer
from regard.decoding.copying import mark_copied, whole_words
from regard.decoding.hypothesis import Hypothesis
from regard.decoding.translator import Model
from regard.models.recurrent import RecurrentConfig, RecurrentTranslator
from regard.models.transformer import TransformerConfig, TransformerTranslator

TEXTS = ["the cat reads", "a dog writes a letter", "nobody reads the old book", "cat dog book"]
CONFIGS = [
    RecurrentConfig(embedding=8, width=8, copy=True),
    TransformerConfig(width=8, heads=2, feed_forward=8, encoder_layers=1, decoder_layers=1, copy=True),
]
ASKED = [{"beam": 3, "nbest": 3}, {"beam": 1}, {"samples": 4, "nbest": 4, "seed": 1}]


def made(config, seed: int = 0) -> Model:
    """A model of whole words that nobody has trained, which copies about as often as it says something."""
    tokenizer = Tokenizer.train(TEXTS, kind="word", vocabulary=60)
    torch.manual_seed(seed)
    make = RecurrentTranslator if isinstance(config, RecurrentConfig) else TransformerTranslator
    network = make(config, len(tokenizer)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
        network.output.bias[UNKNOWN] -= 10
        network.output.bias[END] += 1
    return Model(network, tokenizer)


@torch.no_grad()
def shares(model: Model, source: list[int], said: list[int]) -> list[float]:
    """The share of copying in the probability of each token, from the parts that it is made of."""
    given = torch.tensor([[START, *said[:-1]]])
    features, weights = model.network(torch.tensor([source]), torch.tensor([len(source)]), given)
    found = []
    for step, token in enumerate(said):
        gate = torch.sigmoid(features[0, step, -1])
        spoken = gate * torch.softmax(model.network.logits(features[0, step, :-1]), -1)[token]
        pointed = (1 - gate) * sum(weights[0, step, j] for j, other in enumerate(source) if other == token)
        found.append(float(pointed / (spoken + pointed)))
    return found


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.architecture)
@pytest.mark.parametrize("options", ASKED, ids=["beam", "greedy", "samples"])
def test_the_words_shown_as_copied_are_those_that_most_likely_were(config, options):
    copied = said = 0
    for seed in range(3):
        model = made(config, seed)
        for text, prediction in zip(TEXTS, model.predict(TEXTS, **options), strict=True):
            (source,) = model.tokenizer.ids([text])
            for option in prediction.alternatives:
                (tokens,) = model.tokenizer.ids([option.text])
                expected = {i for i, share in enumerate(shares(model, source, tokens)) if share > 0.5}
                assert option.alignment.copied == expected, option.text
                copied, said = copied + len(expected), said + len(tokens)
    assert 0 < copied < said


def test_a_model_that_never_copies_is_not_asked():
    hypotheses = [[Hypothesis([5], 0.0, 0.0, np.ones((1, 1)))], []]
    assert mark_copied(object(), [[5], [6]], hypotheses) == hypotheses


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.architecture)
def test_what_outputs_were_told_to_begin_with_is_not_copied(config):
    for prediction in made(config).predict(TEXTS, prefix="the old "):
        assert prediction.text.startswith("the old")
        assert not prediction.alignment.copied & {0, 1}


def test_a_word_of_several_tokens_is_copied_where_all_of_them_are():
    copied = np.array([True, True, False, True, True, False])
    assert whole_words(copied, [0, 0, 1, 1, 2, 3]) == {0, 1, 4}
    assert whole_words(np.array([], dtype=bool), []) == set()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.architecture)
def test_an_ensemble_copies_where_its_members_do_on_average(config):
    models = [made(config, seed) for seed in (0, 1)]
    together = Model.ensemble(models)
    for text, prediction in zip(TEXTS, together.predict(TEXTS), strict=True):
        (source,), (said,) = (together.tokenizer.ids([each]) for each in (text, prediction.text))
        means = np.mean([shares(model, source, said) for model in models], axis=0) if said else []
        assert prediction.alignment.copied == {i for i, share in enumerate(means) if share > 0.5}

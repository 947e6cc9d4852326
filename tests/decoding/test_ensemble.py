"""An ensemble says what its members say on average."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys

from regard.data.tokenization import START
from regard.decoding.beam import beam_search
from regard.decoding.ensemble import Ensemble
from regard.decoding.translator import Model
from regard.errors import InputError


def test_a_wide_beam_finds_all_by_the_mean_of_the_probabilities():
    models = [toys.toy("word", seed) for seed in range(3)]
    together = Model.ensemble(models)
    mean = toys.Table(torch.stack([model.network.table.exp() for model in models]).mean(0).log())
    (prediction,) = together.predict(["a"], nbest=5000)
    expected = sorted(mean.said(tokens) for tokens in toys.outputs(models[0]))
    assert sorted(option.score for option in prediction.alternatives) == pytest.approx(expected)


@pytest.mark.parametrize("settings", [[{}, {}], [{"attention": "additive"}, {"cell": "lstm"}, {}]])
def test_its_alignment_is_the_mean_of_its_members_being_made_to_say_the_same(settings, tiny, sentences):
    networks = [tiny(seed, vocabulary=9, **options) for seed, options in enumerate(settings)]
    ensemble = Ensemble(networks).eval()
    source, lengths = sentences(0, vocabulary=9, count=4)
    for row, hypotheses in enumerate(beam_search(ensemble, source, lengths, lengths + 2, beam=4)):
        for hypothesis in hypotheses:
            given = torch.tensor([[START, *hypothesis.tokens]])
            part = source[row : row + 1, : lengths[row]], lengths[row : row + 1]
            with torch.no_grad():
                features, weights = ensemble(*part, given)
                said = ensemble.log_probabilities(features, weights)[0]
                alone = [network(*part, given) for network in networks]
                each = [
                    network.log_probabilities(*found) for network, found in zip(networks, alone, strict=True)
                ]
            np.testing.assert_allclose(hypothesis.weights, weights[0, :-1].numpy(), atol=1e-6)
            mean = torch.stack([found[1] for found in alone]).mean(0)
            np.testing.assert_allclose(weights.numpy(), mean.numpy(), atol=1e-6)
            torch.testing.assert_close(said, torch.stack(each).exp().mean(0).log()[0])
            wanted = [*hypothesis.tokens, 3]
            total = sum(float(said[step, word]) for step, word in enumerate(wanted))
            assert hypothesis.log_probability == pytest.approx(total)


def test_a_model_with_itself_says_what_it_says_alone():
    model = toys.toy("bpe", limit=8)
    for options in ({"beam": 3}, {"beam": 1}, {"samples": 2, "seed": 1}):
        alone, together = (
            m.predict(["a", "b a"], **options) for m in (model, Model.ensemble([model, model]))
        )
        assert [p.text for p in alone] == [p.text for p in together]


def test_models_of_other_vocabularies_and_no_models_are_refused():
    models = [toys.toy("word"), toys.toy("bpe")]
    models[0].name, models[1].name = "left", "right"
    with pytest.raises(InputError, match="'left' and 'right' have different vocabularies"):
        Model.ensemble(models)
    with pytest.raises(InputError, match="at least one model"):
        Model.ensemble([])
    with pytest.raises(InputError, match="at least one network"):
        Ensemble([])

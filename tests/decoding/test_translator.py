"""Texts in, texts out: what is shown is words, in the order asked for, and what is unknown is copied."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regard.data.tokenization import END, UNKNOWN, Tokenizer
from regard.decoding import translator
from regard.decoding.greedy import greedy
from regard.decoding.looking import look
from regard.decoding.translator import Model, Search
from regard.errors import InputError, TrainingError
from regard.models.recurrent import RecurrentConfig, RecurrentTranslator

TEXTS = [
    "a man rides a horse",
    "the dog, a brown one, sleeps",
    "two men (and a dog) run!",
    "ein Mann reitet ein Pferd",
    "der Hund, ein brauner, schläft",
    "zwei Männer (und ein Hund) rennen!",
]


class Rows:
    """Tensors with a row for each sentence or hypothesis."""

    def __init__(self, *parts: Tensor) -> None:
        self.parts = parts

    def select(self, rows: Tensor) -> Rows:
        return Rows(*(part[rows] for part in self.parts))


class Echo(nn.Module):
    """Says the source again, word by word, each time looking at the word it says; in doubt it says less."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.sentences: list[int] = []

    def encode(self, source: Tensor, lengths: Tensor) -> Rows:
        self.sentences.append(len(source))
        return Rows(source, lengths)

    def start(self, encoded: Rows) -> tuple[Rows, Rows]:
        return encoded, Rows(torch.zeros(len(encoded.parts[0]), dtype=torch.long))

    def step(self, steps: Rows, state: Rows, words: Tensor) -> tuple[Tensor, Tensor, Rows]:
        (position,) = state.parts
        times = len(words) // len(steps.parts[0])
        source, lengths = (part.repeat_interleave(times, 0) for part in steps.parts)
        at = position.clamp(max=source.shape[1] - 1)
        wanted = torch.where(position < lengths, source.gather(1, at[:, None])[:, 0], END)
        logits = torch.zeros(len(words), self.vocabulary)
        logits[:, END] = 1.0
        logits.scatter_(1, wanted[:, None], 4.0)
        looked = nn.functional.one_hot(at, source.shape[1]).float()
        return torch.log_softmax(logits, dim=-1), looked, Rows(position + 1)


class Damaged(Echo):
    """An echo whose weights have overflowed."""

    def step(self, steps: Rows, state: Rows, words: Tensor) -> tuple[Tensor, Tensor, Rows]:
        said, looked, state = super().step(steps, state, words)
        return torch.full_like(said, math.nan), looked, state


def tokenizer(kind: Any = "word", **options: Any) -> Tokenizer:
    return Tokenizer.train(TEXTS, kind, vocabulary=120, **options)


def echo(kind: Any = "word", network: type[Echo] = Echo, **search: Any) -> Model:
    """A model that says what it is told."""
    words = tokenizer(kind)
    return Model(network(len(words)), words, search=Search(**search), name="echo")


@pytest.fixture(scope="module", params=["bpe", "word", "character"])
def random_model(request: pytest.FixtureRequest) -> Model:
    """A model that has learned nothing, but has opinions."""
    torch.manual_seed(0)
    words = tokenizer(request.param)
    network = RecurrentTranslator(RecurrentConfig(embedding=8, width=8), len(words))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
        network.output.bias[UNKNOWN] = -2.0
    return Model(network.double(), words, search=Search(beam=3, longest_extra=4), name="random")


def test_a_text_goes_through_and_each_word_looks_at_its_source():
    (prediction,) = echo().predict(["the dog, a brown one, sleeps"])
    record = prediction.alignment
    assert str(prediction) == prediction.text == "the dog, a brown one, sleeps"
    assert record.query_tokens == record.key_tokens == ("the", "dog", ",", "a", "brown", "one", ",", "sleeps")
    np.testing.assert_array_equal(record.weights, np.eye(8))
    assert record.title == "echo"
    assert prediction.unknown == 0
    assert not record.copied


def test_what_is_shown_are_words_not_subwords():
    model = echo("bpe")
    assert len(model.tokenizer.encode(["schläft"])[0].tokens) > 1
    (prediction,) = model.predict(["der Hund, schläft"])
    assert prediction.alignment.query_tokens == ("der", "Hund", ",", "schläft")
    np.testing.assert_allclose(prediction.alignment.weights.sum(1), 1.0)
    np.testing.assert_allclose(prediction.alignment.weights, np.eye(4))


@pytest.mark.parametrize("beam", [1, 4])
def test_a_word_never_seen_is_copied_from_where_the_model_looks(beam):
    source = "the Xylophon , a Quux sleeps"
    (prediction,) = echo().predict([source], beam=beam)
    assert prediction.text == source
    assert prediction.unknown == 2
    assert prediction.alignment.copied == {1, 4}
    assert prediction.alignment.query_tokens == tuple(source.split())
    (left,) = echo(replace_unknown=False).predict([source], beam=beam)
    assert left.text == "the <unk> , a <unk> sleeps"
    assert left.alignment.query_tokens == ("the", "<unk>", ",", "a", "<unk>", "sleeps")
    assert not left.alignment.copied


def test_characters_never_seen_are_predicted_around_and_counted():
    for kind in ("bpe", "character"):
        (prediction,) = echo(kind).predict(["a Ωdog 🐎"])
        assert prediction.text == "a Ωdog 🐎"
        assert prediction.unknown == 2
    assert [p.unknown for p in echo("character").predict(["a dog", "☃☃☃", ""])] == [0, 3, 0]


@pytest.mark.parametrize("beam", [1, 3])
def test_an_empty_text_gives_an_empty_text(random_model, beam):
    empty = ["", "   ", "\t\n", "\u3000"]
    predictions = random_model.predict([*empty, "a man"], beam=beam)
    for prediction in predictions[:-1]:
        assert (prediction.text, prediction.score, prediction.unknown) == ("", 0.0, 0)
        assert prediction.alignment.weights.shape == (0, 0)
        assert prediction.alternatives == ()
    assert random_model.predict([]) == []
    assert [p.text for p in random_model.predict(empty)] == [""] * 4


def test_spaces_around_a_text_do_not_matter(random_model):
    plain, spaced = random_model.predict(["a man", "  a man \n"])
    assert plain.text == spaced.text
    np.testing.assert_allclose(plain.alignment.weights, spaced.alignment.weights, atol=1e-6)


@pytest.mark.parametrize("beam", [1, 3])
def test_predictions_come_in_the_order_of_the_texts_whatever_the_batches(random_model, beam, monkeypatch):
    texts = [*TEXTS, "", "dog", TEXTS[0]]
    together = random_model.predict(texts, beam=beam)
    one_by_one = [random_model.predict([text], beam=beam)[0] for text in texts]
    monkeypatch.setattr(translator, "BATCH_TOKENS", 40)
    batched = random_model.predict(texts, beam=beam)
    for text, *same in zip(texts, together, one_by_one, batched, strict=True):
        for prediction in same:
            assert "".join(prediction.alignment.key_tokens).replace(" ", "") == text.replace(" ", "")
            assert prediction.text == same[0].text
            assert prediction.score == pytest.approx(same[0].score, abs=1e-5)
            np.testing.assert_allclose(prediction.alignment.weights, same[0].alignment.weights, atol=1e-6)


def test_batches_are_bounded_in_positions_and_hypotheses(monkeypatch):
    monkeypatch.setattr(translator, "BATCH_TOKENS", 64)
    model = echo(beam=2)
    done: list[int] = []
    model.predict(["a dog"] * 10 + ["a " * 20 + "dog"] * 2 + [""], progress=done.append)
    assert model.network.sentences == [10, 1, 1]
    assert done == [10, 11, 12]
    monkeypatch.setattr(translator, "BATCH_SCORES", 8 * len(model.tokenizer))
    model.predict(["a dog"] * 10)
    assert model.network.sentences[3:] == [4, 4, 2]


def test_the_best_alternatives_come_first_and_the_first_is_the_prediction(random_model):
    for prediction in random_model.predict(TEXTS, nbest=3):
        assert len(prediction.alternatives) == 3
        first = prediction.alternatives[0]
        assert (first.text, first.score) == (prediction.text, prediction.score)
        scores = [option.score for option in prediction.alternatives]
        assert scores == sorted(scores, reverse=True)
        for option in prediction.alternatives:
            assert option.alignment.weights.shape == (
                len(option.alignment.query_tokens),
                len(option.alignment.key_tokens),
            )
    assert all(len(p.alternatives) == 1 for p in random_model.predict(TEXTS))


def test_the_score_is_the_log_probability_by_the_length_penalty_greedy_or_not():
    model = echo()
    words, alpha, others = len(TEXTS[0].split()), 0.7, len(model.tokenizer) - 1
    word = 4 - math.log(math.exp(4) + math.exp(1) + others - 1)  # beside the end, which has a logit of 1
    end = 4 - math.log(math.exp(4) + others)
    log_probability = words * word + end
    for beam in (1, 4):
        (prediction,) = model.predict([TEXTS[0]], beam=beam, length_penalty=alpha)
        assert prediction.score == pytest.approx(log_probability / (words + 1) ** alpha, abs=1e-5)
        (prediction,) = model.predict([TEXTS[0]], beam=beam, length_penalty=0.0)
        assert prediction.score == pytest.approx(log_probability, abs=1e-5)


def test_a_beam_of_one_is_greedy_search(random_model):
    source = random_model.tokenizer.encode([TEXTS[0]])[0]
    ids, lengths = torch.tensor([source.ids]), torch.tensor([len(source.ids)])
    (expected,) = greedy(random_model.network.eval(), ids, lengths, 2 * lengths + 4)
    (prediction,) = random_model.predict([TEXTS[0]], beam=1)
    assert UNKNOWN not in expected.tokens
    pieces = [random_model.tokenizer.tokens[i] for i in expected.tokens]
    assert prediction.text == random_model.tokenizer.join(pieces)


def test_an_output_is_no_longer_than_the_search_allows():
    class Chatter(Echo):
        def step(self, steps: Rows, state: Rows, words: Tensor) -> tuple[Tensor, Tensor, Rows]:
            said, looked, state = super().step(steps, state, words)
            said[:, END] = -50.0
            return said, looked, state

    for beam in (1, 3):
        model = echo(network=Chatter, beam=beam, longest_ratio=1.5, longest_extra=1)
        lengths = [len(p.alignment.query_tokens) for p in model.predict(["dog", "a dog", "a dog sleeps ,"])]
        assert lengths == [2, 4, 7]


@pytest.mark.parametrize("beam", [1, 3])
def test_probabilities_that_are_not_numbers_are_an_error_that_says_so(beam):
    with pytest.raises(TrainingError, match=r"not numbers.*learning_rate"):
        echo(network=Damaged).predict(["a dog"], beam=beam)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.predict("a dog"), r"list of texts.*predict\(\[text\]\)"),
        (lambda model: model.predict(["a dog"], beam=0), "beam is at least 1; got 0"),
        (lambda model: model.predict(["a dog"], nbest=3, beam=2), "nbest=3 with beam=2"),
        (lambda model: model.predict(["a dog"], nbest=0), "nbest=0"),
        (lambda model: model.align("a dog", "ein Hund"), r"align\(\[source\], \[target\]\)"),
        (lambda model: model.align(["a dog"], []), "1 sources but 0 targets"),
    ],
)
def test_what_cannot_be_meant_is_an_error(call, message):
    with pytest.raises(InputError, match=message):
        call(echo())


def test_to_align_what_a_model_says_is_to_show_where_it_looked(random_model):
    predictions = random_model.predict(TEXTS, beam=3)
    records = random_model.align(TEXTS, [prediction.text for prediction in predictions])
    compared = 0
    for prediction, record in zip(predictions, records, strict=True):
        assert record.key_tokens == prediction.alignment.key_tokens
        # where subwords, a copied word or a mark at the beginning are said, reading gives other tokens
        again = prediction.text[:1].isalnum() and not prediction.alignment.copied
        if again and not random_model.tokenizer.subwords:
            compared += 1
            assert record.query_tokens == prediction.alignment.query_tokens
            np.testing.assert_allclose(record.weights, prediction.alignment.weights, atol=1e-6)
    assert compared > 2 or random_model.tokenizer.subwords


def test_each_word_of_a_given_target_has_looked_once(random_model):
    pairs = list(zip(TEXTS[:3], TEXTS[3:], strict=True))
    records = random_model.align([source for source, _ in pairs], [target for _, target in pairs])
    for record in records:
        np.testing.assert_allclose(record.weights.sum(axis=1), 1.0, atol=1e-5)
        assert record.title == "random"
    if not random_model.tokenizer.characters:
        assert records[0].query_tokens == ("ein", "Mann", "reitet", "ein", "Pferd")
        assert records[1].query_tokens == ("der", "Hund", ",", "ein", "brauner", ",", "schläft")


def test_words_are_what_stands_between_spaces_where_gold_links_count_so(random_model):
    if random_model.tokenizer.characters:
        return
    source, target = "the dog, a brown one", "(der  Hund,  ein brauner) "
    (record,) = random_model.align([source], [target], at_spaces_only=True)
    assert record.key_tokens == ("the", "dog,", "a", "brown", "one")
    assert record.query_tokens == ("(der", "Hund,", "ein", "brauner)")
    (empty,) = random_model.align([source], [" "], at_spaces_only=True)
    assert empty.key_tokens == record.key_tokens
    assert empty.weights.shape == (0, 5)


def test_pairs_are_aligned_in_their_order_and_empty_ones_have_no_rows(random_model, monkeypatch):
    monkeypatch.setattr(translator, "BATCH_TOKENS", 40)
    sources, targets = [*TEXTS[:3], "", "a dog"], [*TEXTS[3:], "ein Hund", ""]
    for source, target, record in zip(sources, targets, random_model.align(sources, targets), strict=True):
        (alone,) = random_model.align([source], [target])
        assert (record.query_tokens, record.key_tokens) == (alone.query_tokens, alone.key_tokens)
        np.testing.assert_allclose(record.weights, alone.weights, atol=1e-5)
        assert len(record.query_tokens) == 0 or (source and target)


def test_a_model_shows_what_it_is(random_model):
    parameters = sum(p.numel() for p in random_model.network.parameters())
    assert repr(random_model) == (
        f"<regard Model 'random': {parameters:,} parameters, {len(random_model.tokenizer):,} tokens>"
    )


def test_looking_shows_each_text_and_each_alternative():
    model = echo()
    (record,) = look(model, "a dog").records
    assert record.query_tokens == ("a", "dog")
    assert record.metadata["score"] == f"{model.predict(['a dog'])[0].score:.3f}"
    assert len(look(model, ["a dog", "a man"]).records) == 2
    assert len(look(model, ["a dog", "a man"], nbest=7).records) == 14
    forced = look(_forcing(), "a dog", target="ein brauner Hund").records
    assert [r.query_tokens for r in forced] == [("ein", "brauner", "Hund")]
    with pytest.raises(InputError, match="1 sources but 2 targets"):
        look(model, "a dog", target=["ein Hund", "ein Mann"])


def _forcing() -> Model:
    words = tokenizer()
    return Model(RecurrentTranslator(RecurrentConfig(embedding=8, width=8), len(words)), words)


def test_an_unknown_word_is_copied_from_an_unknown_one_where_the_source_has_any():
    class Beside(Echo):
        """Looks one word beside what it says."""

        def step(self, steps: Any, state: Any, words: Tensor) -> Any:
            log_probabilities, weights, state = super().step(steps, state, words)
            return log_probabilities, 0.6 * weights.roll(1, dims=-1) + 0.4 * weights, state

    (prediction,) = echo(network=Beside).predict(["the Zyxwvut sleeps"])
    assert prediction.text == "the Zyxwvut sleeps"
    assert prediction.alignment.copied == {1}


def test_an_unknown_word_of_a_step_that_looked_nowhere_is_not_copied():
    class Blind(Echo):
        """Looks nowhere, as monotonic attention does behind the last word."""

        def step(self, steps: Any, state: Any, words: Tensor) -> Any:
            log_probabilities, weights, state = super().step(steps, state, words)
            return log_probabilities, torch.zeros_like(weights), state

    (prediction,) = echo(network=Blind).predict(["the Zyxwvut sleeps"])
    assert prediction.text == "the <unk> sleeps"
    assert not prediction.alignment.copied


@pytest.mark.parametrize("texts", [[1, 2], ["the dog", None]])
def test_what_is_no_text_is_named(texts):
    with pytest.raises(InputError, match=r"predict\(\): text \d is no text but"):
        echo().predict(texts)


def test_a_folder_is_not_taken_for_a_model():
    with pytest.raises(InputError, match=r"look\(\): model is a trained model, such as regard\.load"):
        look("runs/pairs", "the dog")  # pyright: ignore[reportArgumentType]


def test_an_alignment_is_made_when_it_is_asked_for_once_and_travels_without_the_model(random_model):
    (prediction,) = random_model.predict(TEXTS[:1], nbest=2, beam=2)
    assert "alignment" not in vars(prediction)
    assert prediction.alignment is prediction.alignment
    pickled = pickle.dumps(prediction)
    assert b"Tokenizer" not in pickled
    again = pickle.loads(pickled)
    assert again == prediction
    for one, other in zip(again.alternatives, prediction.alternatives, strict=True):
        np.testing.assert_array_equal(one.alignment.weights, other.alignment.weights)
        assert one.alignment.query_tokens == other.alignment.query_tokens

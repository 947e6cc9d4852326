"""The model as its users meet it: texts in, texts out, with scores and alignments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from regard.data.batches import rectangle
from regard.data.tokenization import START, UNKNOWN, Encoded, Tokenizer
from regard.decoding.beam import beam_search, length_penalty
from regard.decoding.constraints import NEVER
from regard.decoding.copying import mark_copied, whole_words
from regard.decoding.ensemble import Ensemble
from regard.decoding.greedy import greedy
from regard.decoding.hypothesis import Hypothesis
from regard.decoding.prediction import Alignment, Prediction
from regard.decoding.sampling import Sampling, sample
from regard.decoding.spelling import Spelling
from regard.decoding.wishes import Phrases, Texts, Wishes, make_wishes
from regard.errors import InputError
from regard.nn.products import packed
from regard.record import AttentionRecord

BATCH_TOKENS = 12288
"""Source positions that are decoded at once, padding included, times the hypotheses kept of each sentence."""
BATCH_SCORES = 2**23
"""Scores that a step gives at once: one for each word of the vocabulary to each hypothesis."""
ALIGNED = 3
"""How many hypotheses a text that is aligned counts as: its scores are for all steps at once."""


@dataclass(frozen=True)
class Search:
    """How to search.

    Args:
        beam: hypotheses kept at each step; 1 is greedy.
        length_penalty: α, where a log-probability is divided by length^α; 0 prefers short outputs, 1 ranks by
            the mean log-probability of a token.
        longest_ratio, longest_extra: an output has at most ratio · source + extra tokens.
        replace_unknown: whether an unknown word is copied from the source word that the model looks at.
        min_length: an output has at least so many tokens.
        block_ngrams: so many words are never said twice in the same order; 0 for any.
        longest_source: a text of more tokens is refused.
        lookahead: within how many more tokens an unfinished hypothesis must be able to overtake the best
            ended one to be waited for; 0 for any number.
    """

    beam: int = 5
    length_penalty: float = 1.0
    longest_ratio: float = 2.0
    longest_extra: int = 20
    replace_unknown: bool = True
    min_length: int = 0
    block_ngrams: int = 0
    longest_source: int = 10_000
    lookahead: int = 4


class Model:
    """A trained encoder–decoder with its tokenizer.

    Args:
        network: such as `regard.models.recurrent.RecurrentTranslator`.
        tokenizer: of source and target.
        search: how to search where `predict` is not told otherwise.
        name: what pictures are titled with.
        recipe: the settings it was trained with, for whoever wants to know.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Tokenizer,
        *,
        search: Search | None = None,
        name: str = "",
        recipe: Any = None,
    ) -> None:
        self.network, self.tokenizer, self.name, self.recipe = network, tokenizer, name, recipe
        self.search = search or Search()

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.network.parameters())
        return f"<regard Model {self.name!r}: {parameters:,} parameters, {len(self.tokenizer):,} tokens>"

    @classmethod
    def ensemble(cls, models: Sequence[Model]) -> Model:
        """Several models as one, which says what they say on average; it searches as the first one does.

        Args:
            models: trained with one and the same vocabulary.

        Raises:
            InputError: none, or their vocabularies differ.
        """
        if not models:
            raise InputError("ensemble(): at least one model is needed.")
        first = models[0]
        for model in models[1:]:
            if model.tokenizer.tokens != first.tokenizer.tokens or _cuts(model) != _cuts(first):
                raise InputError(
                    f"ensemble(): {first.name!r} and {model.name!r} have different vocabularies and do not "
                    f"mean the same by a token. Train them on the same texts with the same data settings."
                )
        network = Ensemble([model.network for model in models])
        name = " + ".join(model.name for model in models)
        return cls(network, first.tokenizer, search=first.search, name=name, recipe=first.recipe)

    @cached_property
    def spelling(self) -> Spelling:
        """What the tokens spell, for rules about words."""
        return Spelling(self.tokenizer)

    def predict(
        self,
        texts: Sequence[str],
        *,
        beam: int | None = None,
        nbest: int = 1,
        length_penalty: float | None = None,
        min_length: int | None = None,
        block_ngrams: int | None = None,
        prefix: Texts | None = None,
        require: Phrases = (),
        forbid: Phrases = (),
        samples: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        first: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Say what the model says of each text. An empty text gives an empty one.

        Args:
            texts: inputs, in any order and of any length.
            beam: hypotheses kept at each step; 1 is greedy.
            nbest: how many of them to return as `alternatives`, at most `beam`, or of `samples`.
            length_penalty: α, where a log-probability is divided by length^α.
            min_length: the fewest tokens of an output.
            block_ngrams: so many words are never said twice in the same order, large and small letters being
                the same; 0 for any. Words are what stands between spaces, and punctuation where the tokenizer
                splits it off.
            prefix: what outputs begin with, one text for all or one for each. Where it ends with a space, the
                next word begins behind it; else the model may go on with its last one.
            require: phrases that outputs contain as whole words, a list for all or one for each text. A beam
                of ten or more serves them well.
            forbid: phrases that outputs do not contain as whole words; as for `require`. Large and small
                letters differ.
            samples: draw so many outputs of each text instead of searching for the likeliest.
            temperature: what log-probabilities are divided by before drawing; 1 where None.
            top_k: draw among so many likeliest words; all where None.
            top_p: draw among the fewest words that have this share of the probability; 1 where None.
            seed: the same seed draws the same again, for a text at the same place of `texts`.
            first: the number of the first text, where these are a part of many.
            progress: called with the number of texts done after each batch.

        Raises:
            InputError: texts is one string or too long, the options contradict each other, or no output can
                keep to them.
            TrainingError: the model's probabilities are not numbers.
        """
        if isinstance(texts, str):
            raise InputError("predict(): texts is a list of texts; put one into a list: predict([text]).")
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"predict(): text {number} is no text but {text!r}.")
        drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        sampling = _sampling(samples, drawing, beam=beam, require=require)
        search = self._search_settings(beam, length_penalty, min_length, block_ngrams)
        _require_nbest(nbest, search.beam, sampling)
        wishes = make_wishes(
            self.spelling,
            len(texts),
            min_length=search.min_length,
            block_ngrams=search.block_ngrams,
            prefix=prefix,
            require=require,
            forbid=forbid,
        )
        encoded = self.tokenizer.encode([text.strip() for text in texts])
        self._require_short(encoded, search)
        predictions = [Prediction("", 0.0, Alignment(self.tokenizer, self.name, e.tokens)) for e in encoded]
        task = _Task(search, wishes, sampling, nbest, first)
        done = 0
        with packed():
            for chosen, found in self._searches(encoded, task):
                found = mark_copied(self.network, [encoded[i].ids for i in chosen], found)
                for i, hypotheses in zip(chosen, found, strict=True):
                    if not hypotheses:
                        raise InputError(
                            f"predict(): nothing was found to say of text {i + 1:,} of {len(texts):,} that "
                            f"keeps to {wishes}. Loosen one of them, or take a wider beam."
                        )
                    predictions[i] = self._prediction(encoded[i], hypotheses, i, task)
                done += len(chosen)
                if progress is not None:
                    progress(done)
        return predictions

    def _search_settings(
        self,
        beam: int | None,
        length_penalty: float | None,
        min_length: int | None,
        block_ngrams: int | None,
    ) -> Search:
        """The model's own settings but for those given here."""
        given = {
            "beam": beam,
            "length_penalty": length_penalty,
            "min_length": min_length,
            "block_ngrams": block_ngrams,
        }
        search = replace(self.search, **{name: value for name, value in given.items() if value is not None})
        if search.beam < 1:
            raise InputError(f"predict(): beam is at least 1; got {search.beam}.")
        return search

    def _require_short(self, encoded: Sequence[Encoded], search: Search) -> None:
        room = _positions(self.network)
        most = search.longest_source if room is None else min(search.longest_source, room)
        for number, sentence in enumerate(encoded, start=1):
            if len(sentence.ids) > most:
                setting = "model.longest" if most == room else "decoding.longest_source"
                raise InputError(
                    f"predict(): text {number:,} of {len(encoded):,} has {len(sentence.ids):,} tokens; at "
                    f"most {most:,} are read ({setting}). Cut it into sentences, each a text of its own."
                )

    def _limit(self, length: int, number: int, task: _Task) -> int:
        """The most tokens that the output of a text of so many may have."""
        search, room = task.search, _positions(self.network)
        limit = int(length * search.longest_ratio) + search.longest_extra
        wished = task.wishes.room(number)
        limit = max(limit, wished + search.longest_extra if wished else 0)
        return limit if room is None else min(limit, room - 1)

    def align(
        self, sources: Sequence[str], targets: Sequence[str], *, at_spaces_only: bool = False
    ) -> list[AttentionRecord]:
        """Where the model looks while it is made to say the given targets, one record a pair.

        Args:
            sources, targets: as many of one as of the other.
            at_spaces_only: whether words are what stands between spaces, punctuation included, as in files of
                gold links.

        Raises:
            InputError: one string for many, or not as many targets as sources.
        """
        if isinstance(sources, str) or isinstance(targets, str):
            raise InputError("align(): takes lists of texts: align([source], [target]).")
        if len(sources) != len(targets):
            raise InputError(
                f"align(): {len(sources)} sources but {len(targets)} targets; one is needed for each."
            )
        left, right = (self.tokenizer.encode([text.strip() for text in side]) for side in (sources, targets))
        unlooked = partial(Alignment, self.tokenizer, self.name, at_spaces_only=at_spaces_only)
        looks = [unlooked(e.tokens) for e in left]
        lengths = [len(a.ids) if b.ids else 0 for a, b in zip(left, right, strict=True)]
        for chosen in batches(lengths, ALIGNED, len(self.tokenizer)):
            source, lengths = _tensors([left[i].ids for i in chosen])
            given = torch.from_numpy(rectangle([[START, *right[i].ids[:-1]] for i in chosen]))
            with torch.inference_mode(), packed():
                self.network.eval()
                weights = self.network(source, lengths, given)[1].float().numpy()
            for row, i in enumerate(chosen):
                attention = weights[row, : len(right[i].ids), : len(left[i].ids)]
                looks[i] = replace(looks[i], target=right[i].tokens, weights=attention)
        return [look() for look in looks]

    def _searches(
        self, encoded: Sequence[Encoded], task: _Task
    ) -> Iterator[tuple[list[int], list[list[Hypothesis]]]]:
        """The numbers of the texts of each batch and their hypotheses; empty texts are left out."""
        for chosen in batches([len(e.ids) for e in encoded], task.rows, len(self.tokenizer)):
            yield chosen, self._search([encoded[i] for i in chosen], chosen, task)

    def _search(
        self, sentences: Sequence[Encoded], numbers: Sequence[int], task: _Task
    ) -> list[list[Hypothesis]]:
        """The hypotheses of some texts, the best first; none of a text of which nothing can be said."""
        source, lengths = _tensors([sentence.ids for sentence in sentences])
        limits = [self._limit(len(s.ids), i, task) for s, i in zip(sentences, numbers, strict=True)]
        self.network.eval()
        found = self._found(source, lengths, torch.tensor(limits), numbers, task, ahead=task.searches)
        lost = [row for row, hypotheses in enumerate(found) if not hypotheses]
        if lost and task.searches:  # all that was left were words that must not end
            again = torch.tensor(lost)
            width = int(lengths[again].max())
            others = self._found(
                source[again, :width],
                lengths[again],
                torch.tensor(limits)[again],
                [numbers[row] for row in lost],
                task,
                ahead=False,
            )
            for row, hypotheses in zip(lost, others, strict=True):
                found[row] = hypotheses
        return found

    def _found(
        self,
        source: Tensor,
        lengths: Tensor,
        limits: Tensor,
        numbers: Sequence[int],
        task: _Task,
        *,
        ahead: bool,
    ) -> list[list[Hypothesis]]:
        rules, choose = task.wishes.rules(numbers, ahead=ahead)
        network, alpha = self.network, task.search.length_penalty
        if task.searches:
            return beam_search(
                network,
                source,
                lengths,
                limits,
                beam=task.search.beam,
                alpha=alpha,
                nbest=task.nbest,
                lookahead=task.search.lookahead,
                rules=rules,
                choose=choose,
            )
        if task.sampling is None:
            found = [[hypothesis] for hypothesis in greedy(network, source, lengths, limits, rules=rules)]
        else:
            named = [number + task.first for number in numbers]
            found = sample(network, source, lengths, limits, task.sampling, numbers=named, rules=rules)
        return [_ranked(hypotheses, alpha, task.nbest) for hypotheses in found]

    def _prediction(
        self,
        source: Encoded,
        hypotheses: Sequence[Hypothesis],
        number: int,
        task: _Task,
    ) -> Prediction:
        spelt = [self._spelt(source, hypothesis, number, task) for hypothesis in hypotheses]
        options = tuple(
            Prediction(
                self.tokenizer.join(tokens),
                hypothesis.score,
                Alignment(
                    self.tokenizer,
                    self.name,
                    source.tokens,
                    tokens,
                    hypothesis.weights,
                    frozenset(copied),
                ),
                source.unknown,
            )
            for hypothesis, (tokens, copied) in zip(hypotheses, spelt, strict=True)
        )
        return replace(options[0], alternatives=options)

    def _spelt(
        self, source: Encoded, hypothesis: Hypothesis, number: int, task: _Task
    ) -> tuple[list[str], set[int]]:
        """The tokens of an output, unknown ones copied from where they looked, and which are of copied words.

        Those that the output was told to begin with are spelt as they were given, and nothing is copied that
        must not be said.

        A word that the model cannot say is most likely one that it cannot read: where the source has unknown
        words, the one looked at most is copied, else whichever word is. A step that looked nowhere copies
        nothing. Of a model that copies by itself a word is a copied one where all of its tokens are.
        """
        beginning = task.wishes.beginnings[number]
        given = [] if beginning is None else beginning.tokens
        tokens = [*given, *(self.tokenizer.tokens[i] for i in hypothesis.tokens[len(given) :])]
        unknown = [i for i, token in enumerate(hypothesis.tokens) if token == UNKNOWN]
        copying = task.search.replace_unknown
        copied = {i for i in unknown if i >= len(given) and copying and hypothesis.weights[i].any()}
        candidates = [j for j, token in enumerate(source.ids) if token == UNKNOWN] or range(len(source.ids))
        spelt = list(tokens)
        for i in copied:
            spelt[i] = source.tokens[max(candidates, key=hypothesis.weights[i].__getitem__)]
        if copied and not task.wishes.allow(number, spelt):
            spelt, copied = tokens, set()
        if hypothesis.copied is not None:
            copied |= whole_words(hypothesis.copied, self.tokenizer.words(spelt)) - {*range(len(given))}
        return spelt, copied


@dataclass(frozen=True)
class _Task:
    """What is asked of the model: a search or a sampling, what outputs keep to, how many are wanted."""

    search: Search
    wishes: Wishes
    sampling: Sampling | None
    nbest: int
    first: int

    @property
    def searches(self) -> bool:
        """Whether several hypotheses of each text are compared on the way."""
        return self.sampling is None and (self.search.beam > 1 or any(self.wishes.required))

    @property
    def rows(self) -> int:
        """Hypotheses kept of each text."""
        return self.search.beam if self.sampling is None else self.sampling.samples


def _sampling(
    samples: int | None, drawing: dict[str, Any], *, beam: int | None, require: Phrases
) -> Sampling | None:
    """How to draw; None where nothing is drawn."""
    given = {name: value for name, value in drawing.items() if value is not None}
    if samples is None:
        if given:
            raise InputError(
                f"predict(): {', '.join(given)} without samples: nothing is drawn. Say how many: samples=1."
            )
        return None
    if beam is not None:
        raise InputError(
            f"predict(): samples={samples} and beam={beam} contradict each other: outputs are either drawn "
            f"or searched for. Leave one out."
        )
    if len(require):
        raise InputError(
            f"predict(): samples={samples} and require contradict each other: what is drawn by chance need "
            f"not contain anything. Leave one out."
        )
    return Sampling(samples=samples, **given)


def _require_nbest(nbest: int, beam: int, sampling: Sampling | None) -> None:
    if sampling is not None and not 1 <= nbest <= sampling.samples:
        raise InputError(
            f"predict(): nbest is from 1 to samples; got nbest={nbest} with samples={sampling.samples}."
        )
    if sampling is None and not 1 <= nbest <= beam:
        raise InputError(f"predict(): nbest is from 1 to beam; got nbest={nbest} with beam={beam}.")


def _positions(network: Any) -> int | None:
    """How many positions a network knows; None for any number."""
    if isinstance(network, Ensemble):
        known = [room for member in network.networks if (room := _positions(member)) is not None]
        return min(known, default=None)
    config = getattr(network, "config", None)
    return getattr(config, "longest", None) if getattr(config, "positions", None) == "learned" else None


def _cuts(model: Model) -> str:
    """How a model's tokenizer cuts texts, as something to compare."""
    backend = getattr(model.tokenizer, "backend", None)
    return "" if backend is None else backend.to_str()


def _ranked(hypotheses: Sequence[Hypothesis], alpha: float, nbest: int) -> list[Hypothesis]:
    """The best by the score that beam search would give them; those that break a rule are left out."""
    scored = [
        replace(h, score=h.log_probability / length_penalty(len(h.tokens) + 1, alpha))
        for h in hypotheses
        if h.log_probability > NEVER
    ]
    return sorted(scored, key=lambda h: -h.score)[:nbest]


def batches(
    lengths: Sequence[int], rows: int, vocabulary: int, *, even: int | None = None
) -> Iterator[list[int]]:
    """The positions of texts that are not empty, shortest first, as many at a time as may be decoded at once.

    Args:
        lengths: tokens of each text.
        rows: hypotheses kept of each.
        vocabulary: how many words each of these has scores for.
        even: a batch of so many ends where the texts become longer; None for any number.
    """
    chosen: list[int] = []
    for i in sorted((i for i, length in enumerate(lengths) if length), key=lengths.__getitem__):
        hypotheses = (len(chosen) + 1) * rows
        full = hypotheses * lengths[i] > BATCH_TOKENS or hypotheses * vocabulary > BATCH_SCORES
        longer = even is not None and len(chosen) >= even and lengths[i] > lengths[chosen[-1]]
        if chosen and (full or longer):
            yield chosen
            chosen = []
        chosen.append(i)
    if chosen:
        yield chosen


def _tensors(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rectangle(rows)), torch.tensor([len(row) for row in rows])

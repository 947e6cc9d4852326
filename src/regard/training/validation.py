"""How good a model is: outputs against references, by the scores of the field, links against gold links."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from regard.data.corpora import Corpus
from regard.decoding.translator import Model
from regard.errors import InputError, RecipeError
from regard.evaluation.alignment import AlignmentScore, alignment_error_rate
from regard.evaluation.text import ROUGE_KINDS, Score, bleu, chrf, exact_match, rouge
from regard.record import AttentionRecord

Links = Collection[tuple[int, int]]


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a corpus.

    Args:
        sentences: how many pairs.
        bleu, chrf: with signature and 95 % confidence interval.
        exact_match: share of outputs equal to their reference, 0 to 1.
        alignment: agreement with gold links, where there are any.
        predictions: the outputs.
        rouge: ROUGE-1, ROUGE-2 and ROUGE-L where they were asked for.
    """

    sentences: int
    bleu: Score
    chrf: Score
    exact_match: float
    alignment: AlignmentScore | None
    predictions: tuple[str, ...]
    rouge: tuple[Score, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.sentences:,} pairs",
            str(self.bleu),
            str(self.chrf),
            *map(str, self.rouge),
            f"exact match {self.exact_match:.1%}",
        ]
        return "\n".join(lines if self.alignment is None else [*lines, str(self.alignment)])

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain values, ready for JSON; the outputs are left out."""
        values: dict[str, Any] = {
            "sentences": self.sentences,
            "bleu": self.bleu.to_dict(),
            "chrf": self.chrf.to_dict(),
            "exact_match": self.exact_match,
        }
        values |= {kind: score.to_dict() for kind, score in zip(ROUGE_KINDS, self.rouge, strict=False)}
        if self.alignment is not None:
            values["alignment_error_rate"] = self.alignment.error_rate
            values["alignment"] = self.alignment.to_dict()
        return values


def evaluate(
    model: Model,
    corpus: Corpus,
    *,
    links: Sequence[tuple[Links, Links]] | None = None,
    beam: int | None = None,
    bleu_tokenizer: str | None = None,
    with_rouge: bool | None = None,
    confidence: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a model.

    Args:
        model: trained.
        corpus: pairs it has not learned from.
        links: (sure, possible) gold links of each pair, from output word to input word, words being what
            stands between spaces, or characters where the model works on these. The model is made to say the
            reference, and output words without any gold link are not judged.
        beam: hypotheses kept at each step; the model's own setting where None.
        bleu_tokenizer: sacreBLEU's; the model's own setting where None.
        with_rouge: whether to count ROUGE too; None for models whose best weights it decided on.
        confidence: whether to estimate intervals, by 1,000 bootstrap samples.
        progress: called with the number of texts done.

    Raises:
        InputError: not as many gold alignments as pairs, or a link to a word that is not there.
        RecipeError: a tokenizer that is not installed.
    """
    if links is not None and len(links) != len(corpus):
        raise InputError(
            f"evaluate(): {len(corpus)} pairs but {len(links)} gold alignments; one is needed for each."
        )
    own = "13a" if model.recipe is None else model.recipe.evaluation.bleu_tokenizer
    tokenizer: str = own if bleu_tokenizer is None else bleu_tokenizer
    check_bleu_tokenizer(tokenizer)
    references = corpus.targets()
    alignment = None if links is None else _alignment(model, corpus, links)
    outputs = [
        prediction.text for prediction in model.predict(corpus.sources(), beam=beam, progress=progress)
    ]
    if with_rouge is None:
        with_rouge = model.recipe is not None and model.recipe.evaluation.metric in ROUGE_KINDS
    kinds = ROUGE_KINDS if with_rouge else ()
    return Evaluation(
        sentences=len(corpus),
        bleu=bleu(outputs, references, tokenize=tokenizer, confidence=confidence),
        chrf=chrf(outputs, references, confidence=confidence),
        exact_match=exact_match(outputs, references),
        alignment=alignment,
        predictions=tuple(outputs),
        rouge=tuple(rouge(outputs, references, kind, confidence=confidence) for kind in kinds),
    )


def _alignment(model: Model, corpus: Corpus, links: Sequence[tuple[Links, Links]]) -> AlignmentScore:
    records = model.align(corpus.sources(), corpus.targets(), at_spaces_only=True)
    found = []
    for number, (record, (sure, possible)) in enumerate(zip(records, links, strict=True), start=1):
        _require_inside(record, {*sure, *possible}, number)
        judged = {query for query, _ in (*sure, *possible)}
        found.append({(query, key) for query, key in record.links() if query in judged})
    return alignment_error_rate(found, [sure for sure, _ in links], [possible for _, possible in links])


def _require_inside(record: AttentionRecord, links: set[tuple[int, int]], number: int) -> None:
    outputs, inputs = len(record.query_tokens), len(record.key_tokens)
    for query, key in sorted(links):
        if not (0 <= query < outputs and 0 <= key < inputs):
            raise InputError(
                f"evaluate(): pair {number} has a gold link from output word {query} to input word {key}, "
                f"but only {outputs} output words and {inputs} input words, counted from 0."
            )


def check_bleu_tokenizer(name: str) -> None:
    """Some of sacreBLEU's tokenizers need packages of their own: better to hear so before training.

    Raises:
        RecipeError: the tokenizer is unknown, or does not work on this machine.
    """
    try:
        bleu(["a"], ["a"], tokenize=name, confidence=False)
    except (RuntimeError, ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"evaluation.bleu_tokenizer {name!r} does not work here: {reason}") from None


def validation_score(
    model: Model, sources: Sequence[str], references: Sequence[str], metric: str, tokenizer: str
) -> float:
    """The one number that decides which weights are best, by greedy search: from 0 to 100, the best."""
    outputs = [prediction.text for prediction in model.predict(sources, beam=1)]
    if metric == "exact_match":
        return 100 * exact_match(outputs, references)
    for kind in ROUGE_KINDS:
        if metric == kind:
            return rouge(outputs, references, kind, confidence=False).value
    if metric == "chrf":
        return chrf(outputs, references, confidence=False).value
    return bleu(outputs, references, tokenize=tokenizer, confidence=False).value

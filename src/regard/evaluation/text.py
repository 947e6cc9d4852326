"""How good are the texts: BLEU, chrF, ROUGE and exact match against one reference for each hypothesis.

BLEU and chrF are counted by sacreBLEU, so the signature of a score is sacreBLEU's own and repeats it. ROUGE
is counted by Google's `rouge-score`; its signature is written alike.
The confidence interval is the 95 % bootstrap over sentences (Koehn 2004, "Statistical significance tests for
machine translation evaluation"): 1,000 corpora of the same size are drawn with replacement from the scored
sentences, and the interval holds the middle 95 % of their scores. With the same seed sacreBLEU's command line
draws the same corpora; it prints half the width of this interval as its "±".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from sacrebleu.metrics.base import Metric

RESAMPLES = 1000
RougeKind = Literal["rouge1", "rouge2", "rougeL"]
ROUGE_KINDS: tuple[RougeKind, ...] = get_args(RougeKind)


@dataclass(frozen=True)
class Score:
    """A number about a whole corpus, with what is needed to repeat and to doubt it.

    Attributes:
        name: what was measured, such as ``BLEU``, ``chrF2`` or ``ROUGE-1``.
        value: the score, from 0 to 100.
        low, high: the ends of the 95 % confidence interval, or None when it was not asked for.
        signature: every setting that changes the score, as sacreBLEU writes it, or in its manner.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    signature: str

    def __str__(self) -> str:
        known = self.low is not None and self.high is not None
        interval = f" (95 %: {self.low:.1f} to {self.high:.1f})" if known else ""
        return f"{self.name} {self.value:.1f}{interval}  {self.signature}"

    def to_dict(self) -> dict[str, str | float | None]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
    confidence: bool = True,
    seed: int = 12345,
) -> Score:
    """Compare word sequences: the share of 1- to 4-grams found in the reference, times a penalty for brevity.

    Args:
        hypotheses: what the model wrote, one text for each sentence.
        references: what should have been written, as many.
        tokenize: how sacreBLEU cuts text into words; ``none`` for files that are tokenised already.
        lowercase: compare without regard to case.
        confidence: also compute the 95 % interval.
        seed: of the resamples behind the interval.

    Returns:
        A Score from 0 to 100.

    Raises:
        InputError: no sentences, numbers of sentences that differ, or a tokenizer sacreBLEU does not know.

    Source:
        Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation";
        Post 2018, arXiv:1804.08771, for tokenisation and signature.
    """
    from sacrebleu.metrics.bleu import BLEU

    _check_pairs("bleu", hypotheses, references)
    if tokenize not in BLEU.TOKENIZERS:
        raise InputError(f"bleu(): tokenize={tokenize!r} is not known. Known: {', '.join(BLEU.TOKENIZERS)}.")
    # force: text that looks tokenised is what the caller chose, not a mistake to warn about
    metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    return _corpus_score(metric, hypotheses, references, confidence, seed)


def chrf(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    word_order: int = 0,
    lowercase: bool = False,
    confidence: bool = True,
    seed: int = 12345,
) -> Score:
    """Compare character sequences: F2 of 1- to 6-grams of characters, spaces left out.

    Args:
        hypotheses: what the model wrote, one text for each sentence.
        references: what should have been written, as many.
        word_order: the longest word n-gram counted as well; 2 gives chrF++.
        lowercase: compare without regard to case.
        confidence: also compute the 95 % interval.
        seed: of the resamples behind the interval.

    Returns:
        A Score from 0 to 100.

    Raises:
        InputError: no sentences, or numbers of sentences that differ.

    Source:
        Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", and 2017 for chrF++.
    """
    from sacrebleu.metrics.chrf import CHRF

    _check_pairs("chrf", hypotheses, references)
    metric = CHRF(word_order=word_order, lowercase=lowercase)
    return _corpus_score(metric, hypotheses, references, confidence, seed)


def rouge(
    hypotheses: Sequence[str],
    references: Sequence[str],
    kind: RougeKind = "rouge1",
    *,
    tokenize: Literal["rouge", "unicode"] = "rouge",
    stem: bool = False,
    confidence: bool = True,
    seed: int = 12345,
) -> Score:
    """Compare summaries: F of the words, of the pairs of words, or of the longest common subsequence.

    Args:
        hypotheses: what the model wrote, one text for each reference.
        references: what should have been written, as many.
        kind: "rouge1" for words, "rouge2" for pairs of words, "rougeL" for the longest common subsequence.
        tokenize: what words are made of, without regard to case: "rouge" for runs of a–z and 0–9, as
            published scores have it; "unicode" for letters and digits of all scripts.
        stem: whether endings of English words are cut off (Porter) before they are compared.
        confidence: also compute the 95 % interval.
        seed: of the resamples behind the interval.

    Returns:
        A Score from 0 to 100, the mean over all texts of F, which weighs precision and recall alike.

    Raises:
        InputError: no texts, numbers of texts that differ, a kind that is not known, endings to be cut off
            in other scripts, or references in which ROUGE finds no word.

    Source:
        Lin 2004, "ROUGE: a package for automatic evaluation of summaries"; counted by `rouge-score`.
    """
    _check_pairs("rouge", hypotheses, references)
    for name, value, known in (("kind", kind, ROUGE_KINDS), ("tokenize", tokenize, ("rouge", "unicode"))):
        if value not in known:
            raise InputError(f"rouge(): {name}={value!r} is not known. Known: {', '.join(known)}.")
    if stem and tokenize == "unicode":
        raise InputError(
            "rouge(): stem=True is for English, tokenize='unicode' for other scripts; choose one."
        )
    words = r"[a-z0-9]" if tokenize == "rouge" else r"[^\W_]"
    if not any(re.search(words, reference.lower()) for reference in references):
        raise InputError(
            f"rouge(): no reference has a word for tokenize={tokenize!r}. ROUGE's own words are of a–z and "
            f"0–9; use tokenize='unicode' for other scripts."
        )
    values = _rouge_values(hypotheses, references, kind, tokenize, stem)
    low, high = _mean_interval(values, seed) if confidence else (None, None)
    signature = [
        "nrefs:1",
        *([f"bs:{RESAMPLES}", f"seed:{seed}"] if confidence else []),
        "case:lc",
        f"stem:{'porter' if stem else 'no'}",
        f"tok:{tokenize}",
        "mean:F1",
        f"version:rouge-score-{metadata.version('rouge-score')}",
    ]
    title = f"ROUGE-{kind.removeprefix('rouge')}"
    return Score(title, float(values.mean()), low, high, "|".join(signature))


def _rouge_values(
    hypotheses: Sequence[str], references: Sequence[str], kind: RougeKind, tokenize: str, stem: bool
) -> np.ndarray:
    """100 F of each text."""
    import numpy as np
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    # its own tokenizer is handed in, as it would log that it had chosen it
    scorer = RougeScorer(
        [kind], tokenizer=_UnicodeWords() if tokenize == "unicode" else DefaultTokenizer(stem)
    )
    pairs = zip(hypotheses, references, strict=True)
    return np.array([100 * scorer.score(reference, said)[kind].fmeasure for said, reference in pairs])


class _UnicodeWords:
    """Cuts texts for `rouge-score`, which asks for an object, into letters and digits of all scripts."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text, in lower case."""
        return re.findall(r"[^\W_]+", text.lower())


def _mean_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """The ends of the 95 % bootstrap interval of a mean."""
    import numpy as np

    generator = np.random.default_rng(seed)
    count = len(values)
    means = sorted(float(values[generator.choice(count, size=count)].mean()) for _ in range(RESAMPLES))
    tail = RESAMPLES // 40
    return means[tail], means[-tail - 1]


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Say which share of the hypotheses equals its reference, character for character.

    Args:
        hypotheses: what the model wrote, one text for each sentence.
        references: what should have been written, as many.

    Returns:
        A share from 0 to 1.

    Raises:
        InputError: no sentences, or numbers of sentences that differ.
    """
    _check_pairs("exact_match", hypotheses, references)
    hits = sum(hypothesis == reference for hypothesis, reference in zip(hypotheses, references, strict=True))
    return hits / len(references)


def _check_pairs(function: str, hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Refuse what cannot be compared sentence by sentence."""
    for name, texts in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(texts, str):
            raise InputError(f"{function}(): {name} is one text; give a list, one text for each sentence.")
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"{function}(): {name}[{position}] is {type(text).__name__}, not a text.")
    if len(hypotheses) != len(references):
        raise InputError(
            f"{function}(): {len(hypotheses)} hypotheses but {len(references)} references; "
            "one reference is needed for each hypothesis."
        )
    if not len(hypotheses):
        raise InputError(f"{function}(): no sentences; at least one hypothesis with its reference is needed.")


def _corpus_score(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[str], confidence: bool, seed: int
) -> Score:
    """Count once for each sentence, then score the sum and, when asked for, the resampled sums."""
    statistics = metric._extract_corpus_statistics(list(hypotheses), [list(references)])
    score = metric._aggregate_and_compute(statistics)
    low, high = _interval(metric, statistics, seed) if confidence else (None, None)
    return Score(score.name, float(score.score), low, high, str(metric.get_signature()))


def _interval(metric: Metric, statistics: list[list[Any]], seed: int) -> tuple[float, float]:
    """Return the ends of the 95 % bootstrap interval, and note the resamples for the metric's signature.

    sacreBLEU's own bootstrap holds all resamples in memory at once, takes its seed from the environment and
    keeps only the interval's half width; this one draws the same resamples one at a time.
    """
    import numpy as np

    counts = np.array(statistics, dtype=np.float64)
    generator = np.random.default_rng(seed)
    scores = []
    for _ in range(RESAMPLES):
        drawn = generator.choice(len(counts), size=len(counts), replace=True)
        scores.append(float(metric._compute_score_from_stats(counts[drawn].sum(0).tolist()).score))
    scores.sort()
    metric.n_bootstrap, metric.seed = RESAMPLES, str(seed)  # pyright: ignore[reportAttributeAccessIssue]
    tail = RESAMPLES // 40
    return scores[tail], scores[-tail - 1]

"""The demonstration: learn to read dates as people write them, and show what the model looks at."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from regard.data import dates
from regard.data.corpora import Corpus, from_pairs
from regard.data.dates import DatePair
from regard.decoding.translator import Model
from regard.record import AttentionRecord
from regard.training.display import Reporter
from regard.training.fit import fit
from regard.training.recipe import Recipe
from regard.training.validation import Evaluation, evaluate
from regard.viewer.view import View

TRAINING, VALIDATION, TEST = 40_000, 500, 1_000


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration found.

    Args:
        evaluation: scores on dates whose format and day were never seen together in training.
        languages, scripts: how many the corpus mixes.
        seconds: from the first line of work to the pictures.
        run: the folder of the trained model; pictures: what was drawn, in the run's folder.
        examples: test dates in several scripts, with what the model made of them.
    """

    evaluation: Evaluation
    languages: int
    scripts: int
    seconds: float
    run: Path
    pictures: tuple[Path, ...]
    examples: tuple[AttentionRecord, ...]

    def __str__(self) -> str:
        scores = self.evaluation
        pages = "\n".join(f"  {path}" for path in self.pictures)
        return (
            f"{scores.exact_match:.1%} of {scores.sentences:,} held-out dates read exactly right, "
            f"in {self.languages} languages and {self.scripts} scripts\n"
            f"{scores.alignment}\n"
            f"{self.seconds:.0f} s in all; the run is {self.run}, its pictures\n{pages}\n"
            f'Try it:  regard look {self.run} "3 mars 2021"'
        )

    def to_dict(self) -> dict[str, Any]:
        """The findings as plain values, ready for JSON."""
        alignment = self.evaluation.alignment
        return {
            "exact_match": self.evaluation.exact_match,
            "alignment_error_rate": None if alignment is None else alignment.error_rate,
            "seconds": round(self.seconds, 1),
            "languages": self.languages,
            "scripts": self.scripts,
            "test_pairs": self.evaluation.sentences,
            "run": str(self.run),
            "pictures": [str(path) for path in self.pictures],
        }


def demonstrate(out: Path, *, seed: int = 1, reporter: Reporter | None = None) -> Demonstration:
    """Train on the embedded corpus, score the model, and draw what it looks at.

    Args:
        out: the run's folder; must be free.
        seed: of the corpus and of training.
        reporter: is told how it goes.

    Raises:
        RunError: the folder is not free.
    """
    began = time.monotonic()
    splits = dates.splits(train=TRAINING, valid=VALIDATION, test=TEST, seed=seed)
    recipe = recipe_for_dates(seed)
    model = fit(_corpus(splits.train), valid=_corpus(splits.valid), recipe=recipe, out=out, reporter=reporter)
    evaluation = evaluate(
        model,
        _corpus(splits.test),
        links=[(pair.sure, pair.possible) for pair in splits.test],
        confidence=False,
    )
    examples = looked_at(model, chosen_examples(splits.test))
    view = View(list(examples))
    pictures = (view.save(out / "alignments.html"), View(examples[0]).save(out / "alignment.png"))
    return Demonstration(
        evaluation=evaluation,
        languages=len(dates.languages()),
        scripts=len(dates.scripts()),
        seconds=time.monotonic() - began,
        run=out,
        pictures=pictures,
        examples=examples,
    )


def recipe_for_dates(seed: int = 1) -> Recipe:
    """The recipe that comes with the embedded corpus."""
    with resources.as_file(resources.files("regard.training") / "recipes" / "dates.toml") as path:
        return Recipe.load(path).changed({"training": {"seed": seed}})


EXAMPLE_LANGUAGES = ("fr", "de", "ar", "hi", "ja", "ru")


def chosen_examples(pairs: list[DatePair], languages: tuple[str, ...] = EXAMPLE_LANGUAGES) -> list[DatePair]:
    """For each language the pair with the longest month, which has most to show."""
    chosen = []
    for language in languages:
        spoken = [pair for pair in pairs if pair.locale.split("_")[0] == language]
        if spoken:
            chosen.append(max(spoken, key=lambda pair: pair.fields.count("m")))
    return chosen


def looked_at(model: Model, pairs: list[DatePair]) -> tuple[AttentionRecord, ...]:
    """What the model makes of some dates; with the gold links where it is right."""
    predictions = model.predict([pair.source for pair in pairs])
    return tuple(
        replace(
            prediction.alignment,
            title=f"{dates.language_name(pair.locale)} to ISO 8601",
            sure=pair.sure if prediction.text == pair.target else frozenset(),
            possible=pair.possible if prediction.text == pair.target else frozenset(),
        )
        for prediction, pair in zip(predictions, pairs, strict=True)
    )


def _corpus(pairs: list[DatePair]) -> Corpus:
    return from_pairs([(pair.source, pair.target) for pair in pairs], name="dates")

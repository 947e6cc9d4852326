"""Runs on corpora larger than memory: found out before they are read, surveyed once, cut into tokens once."""

from __future__ import annotations

from pathlib import Path

from regard.data.corpora import Corpus, same_format
from regard.data.large import LargeCorpus, survey
from regard.data.tokenization import Tokenizer
from regard.errors import RecipeError
from regard.training.display import Reporter
from regard.training.material import Material, encode, known_corpus, sharded
from regard.training.origin import PairFiles, Pairs, files_of, read
from regard.training.recipe import Recipe

HELD_OUT = 1000
"""Pairs set aside for validation where nobody says how many."""


def large_files(pairs: Pairs, recipe: Recipe) -> PairFiles | None:
    """The files of pairs, if these are more than are to be in memory.

    Raises:
        CorpusError: they cannot be read.
        RecipeError: a setting that needs all pairs in memory.
    """
    files = files_of(pairs)
    if files is None or not files.hold_more_than(recipe.data.in_memory):
        return None
    if recipe.training.guided_alignment:
        raise RecipeError(
            f"training.guided_alignment is {recipe.training.guided_alignment}, which needs all pairs in "
            f"memory, but there are more than data.in_memory, {recipe.data.in_memory:,}. Raise that, or "
            "choose training.guided_alignment 0."
        )
    return files


def shards_of(folder: Path) -> Path:
    """Where the tokens of a run's pairs are kept; beside the run, which others may take away without them."""
    return folder.with_name(f"{folder.name}.shards")


def large_corpora(
    files: PairFiles,
    valid: Pairs | None,
    recipe: Recipe,
    folder: Path,
    tokenizer: Tokenizer | None,
    reporter: Reporter,
) -> tuple[LargeCorpus, Corpus]:
    """The pairs to train on, and those to validate on.

    Args:
        files: of the pairs.
        valid: where None, some of the pairs are set aside.
        recipe: the settings.
        folder: of the run.
        tokenizer: of a run that is gone on with; with it a corpus that was surveyed before is known.
        reporter: is told what takes time.

    Raises:
        CorpusError: a fault in the files.
    """
    corpus = None
    if tokenizer is not None:
        corpus = known_corpus(shards_of(folder), files.fingerprint(), tokenizer, files.stream)
    if corpus is None:
        reporter.note(f"more than {recipe.data.in_memory:,} pairs: reading them one by one")
        hold_out = (recipe.data.validation or HELD_OUT) if valid is None else 0
        corpus = survey(
            files.stream,
            files.name,
            files.format,
            hold_out=hold_out,
            seed=recipe.training.seed,
            mark=files.fingerprint(),
        )
    validation = corpus.validation() if valid is None else read(valid)
    if valid is not None:
        same_format(Corpus((), corpus.name, corpus.format), validation)
    return corpus, validation


def large_material(
    training: LargeCorpus,
    validation: Corpus,
    tokenizer: Tokenizer,
    recipe: Recipe,
    folder: Path,
    reporter: Reporter,
) -> Material:
    """Both corpora as tokens, those to train on in shards beside the run's folder.

    Raises:
        CorpusError: no pair is short enough.
        TrainingError: the disk is full.
    """
    shards = shards_of(folder)
    reporter.note(f"the tokens of {len(training):,} pairs are in {shards}")
    return Material(
        tokenizer,
        sharded(
            training,
            tokenizer,
            recipe.data.longest,
            folder=shards,
            dropout=recipe.data.bpe_dropout,
        ),
        encode(validation, tokenizer, recipe.data.longest),
    )

"""From the user's pairs to a trained model, in one call."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from regard.data.batches import Batches
from regard.data.corpora import Corpus, same_format, split
from regard.data.tokenization import Tokenizer
from regard.decoding.translator import Model
from regard.errors import CorpusError, RunError
from regard.training.checkpoints import last_checkpoint
from regard.training.display import Reporter, Silent
from regard.training.loop import Training
from regard.training.memory import keep_freed_memory
from regard.training.origin import Pairs, files_of, name_of, read, recorded_files
from regard.training.recipe import Recipe
from regard.training.run import RunFolder, check_free, model_of, named_weights, write_tensors
from regard.training.validation import validation_score

def fit(
    pairs: Pairs,
    *,
    valid: Pairs | None = None,
    recipe: Recipe | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> Model:
    """Train an encoder–decoder with attention.

    Args:
        pairs: a file of pairs (see `regard.data.corpora`), two files as a tuple (source, target), or the pairs themselves.
        valid: pairs to validate on; where None, some of `pairs` are set aside.
        recipe: the settings, or a TOML file of them; the default suits the size of the corpus.
        out: the run's folder; where None, ``runs/`` and the name of the corpus.
        resume: go on with the run in `out`, which must have been started with the same pairs.
        reporter: is told how it goes.

    Returns:
        The trained model, also found in `out`.

    Raises:
        CorpusError: pairs that cannot be read.
        RecipeError: a setting that cannot be meant.
        RunError: `out` is not free, or not a run of these pairs.
        TrainingError: a loss that is not a number, or a full disk.
        Interrupted: Ctrl-C; everything is saved.
    """
    settings = recipe if isinstance(recipe, Recipe) else Recipe() if recipe is None else Recipe.load(os.fspath(recipe))
    folder = Path(out) if out is not None else Path("runs") / name_of(pairs)
    if not resume:
        check_free(folder)
    recipe = RunFolder.open(folder).recipe if resume else settings
    training, validation = _corpora(pairs, valid, recipe)
    if resume:
        run, tokenizer = _reopened(folder, training, validation)
    else:
        origin = {"training_files": files_of(pairs), "validation_files": files_of(valid)}
        files = {name: value.recorded() for name, value in origin.items() if value is not None}
        run, tokenizer = _started(folder, recipe, training, validation, files)
    return _train(run, tokenizer, training, validation, reporter or Silent())


def resume(folder: str | os.PathLike[str], *, reporter: Reporter | None = None) -> Model:
    """Go on with a run where its last checkpoint is, reading the files that it was started with.

    Args:
        folder: of a run that was started from files.
        reporter: is told how it goes.

    Returns:
        The trained model.

    Raises:
        RunError: not a run, no longer whole, ended already, or started from pairs in memory.
        CorpusError: its files cannot be read any more.
    """
    run = RunFolder.open(Path(folder))
    if run.finished:
        raise RunError(f"{folder}: training has ended; there is nothing to resume.")
    pairs = recorded_files(run.about["corpus"], "training")
    if pairs is None:
        raise RunError(f"{folder}: started from pairs in memory; call regard.fit with them, out and resume=True.")
    return fit(pairs, valid=recorded_files(run.about["corpus"], "validation"), out=folder, resume=True, reporter=reporter)


def _train(run: RunFolder, tokenizer: Tokenizer, training: Corpus, validation: Corpus, reporter: Reporter) -> Model:
    recipe = run.recipe
    keep_freed_memory()
    torch.manual_seed(recipe.training.seed)
    network = run.network(tokenizer)
    model = model_of(network, tokenizer, recipe, run.path.name)
    encoded = encode(training, tokenizer, recipe.data.longest)
    reporter.note(_summary(training, validation, encoded, network, tokenizer))
    batches = Batches(
        encoded.sources, encoded.targets, tokens=recipe.training.batch_tokens, seed=recipe.training.seed
    )
    sources, references = validation.sources(), validation.targets()

    def validate() -> float:
        return validation_score(model, sources, references, recipe.evaluation.metric, recipe.evaluation.bleu_tokenizer)

    outcome = Training(run, network, batches, validate, reporter, last_checkpoint(run)).fit()
    write_tensors(run.weights, named_weights(network))
    reporter.note(
        f"{outcome.reason}: {outcome.steps:,} steps, best validation {recipe.evaluation.metric} {outcome.best:.2f}, "
        f"saved in {run.path}"
    )
    network.eval()
    return model


@dataclass(frozen=True)
class EncodedPairs:
    """Token ids of the pairs that are trained on, and how many were left out because a side is empty or too long."""

    sources: list[list[int]]
    targets: list[list[int]]
    too_long: int


def encode(corpus: Corpus, tokenizer: Tokenizer, longest: int) -> EncodedPairs:
    """Cut the pairs of a corpus into tokens, leaving out those with a side of more than `longest`.

    Raises:
        CorpusError: none is left.
    """
    sources, targets = tokenizer.ids(corpus.sources()), tokenizer.ids(corpus.targets())
    kept = [i for i in range(len(sources)) if len(sources[i]) <= longest and len(targets[i]) <= longest]
    if not kept:
        raise CorpusError(f"{corpus.name}: every pair has a side of more than {longest} tokens; raise data.longest.")
    return EncodedPairs([sources[i] for i in kept], [targets[i] for i in kept], len(sources) - len(kept))


def _started(
    folder: Path, recipe: Recipe, training: Corpus, validation: Corpus, files: dict[str, Any]
) -> tuple[RunFolder, Tokenizer]:
    """Choose what the recipe leaves open, learn the vocabulary, and make the folder."""
    data = recipe.data
    tokenizer = Tokenizer.train(
        [*training.sources(), *training.targets()],
        data.tokenizer,
        vocabulary=data.vocabulary or chosen_vocabulary(len(training)),
        split_punctuation=data.split_punctuation,
    )
    encoded = encode(training, tokenizer, data.longest)
    batches = Batches(encoded.sources, encoded.targets, tokens=recipe.training.batch_tokens)
    chosen = completed(recipe, len(tokenizer), len(batches.epoch(0)))
    about = files | {
        "training": training.name,
        "training_digest": training.digest(),
        "training_pairs": len(training),
        "validation": validation.name,
        "validation_digest": validation.digest(),
        "validation_pairs": len(validation),
        "skipped_empty": training.empty + validation.empty,
        "skipped_too_long": encoded.too_long,
    }
    return RunFolder.create(folder, chosen, about, tokenizer), tokenizer


def chosen_vocabulary(pairs: int) -> int:
    """How many subwords suit so many pairs: few enough that each is seen often, many enough that words stay whole."""
    for most, size in ((2_000, 1_000), (10_000, 4_000), (200_000, 8_000)):
        if pairs <= most:
            return size
    return 16_000


def completed(recipe: Recipe, vocabulary: int, batches_an_epoch: int) -> Recipe:
    """The recipe with every 0 that means «choose» replaced by what was chosen.

    About 30 epochs, but no fewer than 2,000 and no more than 100,000 steps; 30 validations on the way.
    """
    steps = recipe.training.steps or min(100_000, max(2_000, 30 * batches_an_epoch))
    every = recipe.training.validate_every or max(20, steps // 30)
    return replace(
        recipe,
        data=replace(recipe.data, vocabulary=vocabulary),
        training=replace(recipe.training, steps=steps, validate_every=every),
    )


def _reopened(folder: Path, training: Corpus, validation: Corpus) -> tuple[RunFolder, Tokenizer]:
    run = RunFolder.open(folder)
    recorded = run.about["corpus"]
    for corpus, role in ((training, "training"), (validation, "validation")):
        if corpus.digest() != recorded[f"{role}_digest"]:
            raise RunError(f"{folder}: the {role} pairs are not those the run was started with ({recorded[role]}).")
    return run, run.tokenizer()


def _corpora(pairs: Pairs, valid: Pairs | None, recipe: Recipe) -> tuple[Corpus, Corpus]:
    corpus = read(pairs)
    if valid is not None:
        validation = read(valid)
        same_format(corpus, validation)
        return corpus, validation
    if recipe.data.validation:
        return split(corpus, fraction=0.5, most=recipe.data.validation, seed=recipe.training.seed)
    return split(corpus, seed=recipe.training.seed)


def _summary(
    training: Corpus, validation: Corpus, encoded: EncodedPairs, network: torch.nn.Module, tokenizer: Tokenizer
) -> str:
    parts = [f"{len(encoded.sources):,} training pairs, {len(validation):,} for validation"]
    if empty := training.empty + validation.empty:
        parts.append(f"{empty:,} with an empty side skipped")
    if encoded.too_long:
        parts.append(f"{encoded.too_long:,} too long skipped")
    parameters = sum(p.numel() for p in network.parameters())
    return f"{'; '.join(parts)}; {len(tokenizer):,} tokens, {parameters:,} parameters"

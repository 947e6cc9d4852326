"""From the user's pairs to a trained model, in one call."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from regard.data.batches import Coming
from regard.data.corpora import Corpus, same_format, split
from regard.data.large import LargeCorpus
from regard.data.links import Link
from regard.data.tokenization import SPECIAL_TOKENS, Tokenizer
from regard.decoding.translator import Model
from regard.errors import Interrupted, RecipeError, RunError
from regard.models.architectures import make
from regard.models.config import RecurrentConfig
from regard.training.beginning import base, beginning, load_first, require_same_words
from regard.training.beginning import recorded as recorded_first
from regard.training.checkpoints import last_checkpoint
from regard.training.choices import chosen_vocabulary, completed, suited
from regard.training.devices import Elsewhere, chosen_device
from regard.training.display import Reporter, Silent
from regard.training.distributed import Team, team
from regard.training.files import write_tensors
from regard.training.guidance import (
    GivenLinks,
    check_links,
    given_links,
    name_of,
    recorded_links,
    require_guidable,
    require_in_memory,
    word_links,
)
from regard.training.large import large_corpora, large_files, large_material
from regard.training.loop import Training
from regard.training.material import Material, ShardedPairs
from regard.training.memory import keep_freed_memory
from regard.training.origin import Pairs, default_folder, files_of, read, recorded, recorded_files
from regard.training.overlap import Fingerprints
from regard.training.recipe import Recipe
from regard.training.run import RunFolder, check_free, load_weights, model_of, named_weights
from regard.training.validation import check_bleu_tokenizer, validation_score


def fit(
    pairs: Pairs,
    *,
    valid: Pairs | None = None,
    recipe: Recipe | str | os.PathLike[str] | None = None,
    settings: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    links: GivenLinks | None = None,
    start: str | os.PathLike[str] | None = None,
    reporter: Reporter | None = None,
) -> Model:
    """Train an encoder–decoder with attention.

    Args:
        pairs: a file of pairs (see `regard.data.corpora`), two files as a tuple (source, target), or the
            pairs themselves.
        valid: pairs to validate on; where None, some of `pairs` are set aside.
        recipe: all settings, or a TOML file with some of them. What nobody says suits the size of the corpus.
            A run that is resumed keeps its own.
        settings: more settings, such as ``"model.width=256"``, which go before those of the recipe.
        out: the run's folder; where None, ``runs/`` and the name of the corpus.
        resume: go on with the run in `out`, which must have been started with the same pairs.
        links: where `training.guided_alignment` is not 0: a file with a line of links for each pair of
            `pairs`, see `regard.evaluation.alignment.read_links`, or the links (target word, source word) of
            each; where None, links are induced. Words stand between spaces.
        start: a run that has ended, with whose weights, sizes and vocabulary this one begins; None for
            weights by chance.
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
    with team() as together:
        return _fit(pairs, valid, recipe, settings, out, resume, links, start, reporter or Silent(), together)


def _fit(
    pairs: Pairs,
    valid: Pairs | None,
    recipe: Recipe | str | os.PathLike[str] | None,
    settings: Sequence[str],
    out: str | os.PathLike[str] | None,
    resume: bool,
    links: GivenLinks | None,
    start: str | os.PathLike[str] | None,
    reporter: Reporter,
    team: Team,
) -> Model:
    """Do what `fit` does, as one of the processes that train together."""
    folder = Path(out) if out is not None else default_folder(pairs)
    run = RunFolder.open(folder) if resume else None
    if run is None and team.leads:
        check_free(folder)
    team.wait()
    reporter = reporter if team.leads else Silent()
    first = None if start is None or run is not None else beginning(start)
    plain = None if first is None else base(Recipe(), first)
    wished = _recipe(recipe, settings, plain) if run is None else run.recipe
    if first is not None:
        require_same_words(wished, first)
    check_bleu_tokenizer(wished.evaluation.bleu_tokenizer)
    chosen_device(wished.training.device)
    _require_divisible(wished, team)
    require_guidable(wished, links)
    known = run or first
    tokenizer = known and known.tokenizer()
    if files_of(pairs) is None:  # what may be read only once
        pairs = read(pairs)
    with team.leader_first():  # what it writes, the others find
        if large := large_files(pairs, wished):
            require_in_memory(wished)
            training, validation = large_corpora(large, valid, wished, folder, tokenizer, reporter)
        else:
            training, validation = _corpora(pairs, valid, wished)
        if run is not None:
            _require_same(run, training, validation)
        else:
            suits = suited(len(training), wished.model.architecture)
            wished = _recipe(recipe, settings, suits if first is None else base(suits, first))
        tokenizer = tokenizer or _vocabulary(training, wished)
        if isinstance(training, LargeCorpus):
            material = large_material(training, validation, tokenizer, wished, folder, reporter)
        else:
            material = Material.of(
                training,
                validation,
                tokenizer,
                wished.data.longest,
                dropout=wished.data.bpe_dropout,
                seed=wished.training.seed,
            )
    given = None
    if links is not None:
        whole = read(pairs)
        given = whole, given_links(links, whole)
        check_links(given[1], whole, tokenizer, name_of(links))
    about = recorded(pairs, valid) | recorded_links(links, given and given[1])
    if first is not None:
        about |= recorded_first(first)
        load_first(make(wished.model, len(tokenizer)), about)  # whether they fit, before the folder is made
    if run is not None and run.about["corpus"].get("links_digest") != about.get("links_digest"):
        raise RunError(f"{folder}: the links are not those the run was started with.")
    with team.leader_first():
        if run is None and team.leads:
            run = _started(folder, wished, material, about)
    if run is None and (folder / "regard.toml").exists():
        run = RunFolder.open(folder)
    if unseen := int(team.total(torch.tensor(int(run is None)))):
        raise RunError(
            f"{folder}: {unseen} of {team.size} processes do not find the run there. Machines that train "
            f"together share the folder."
        )
    assert run is not None
    try:
        return _train(run, material, given, reporter, team)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at once. Go on from what is saved with: {run.how_to_go_on}") from None


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
        raise RunError(
            f"{folder}: started from pairs in memory; call regard.fit with them, out and resume=True."
        )
    return fit(
        pairs,
        valid=recorded_files(run.about["corpus"], "validation"),
        out=folder,
        resume=True,
        links=run.about["corpus"].get("links_file"),
        reporter=reporter,
    )


def _train(
    run: RunFolder,
    material: Material,
    given: tuple[Corpus, Sequence[Collection[Link]]] | None,
    reporter: Reporter,
    team: Team,
) -> Model:
    recipe, tokenizer = run.recipe, material.tokenizer
    keep_freed_memory()
    torch.manual_seed(recipe.training.seed)
    network = run.network(tokenizer)
    if last_checkpoint(run) is None:
        load_first(network, run.about["corpus"])
    model = model_of(network, tokenizer, recipe, run.path.name)
    parameters = sum(p.numel() for p in network.parameters())
    reporter.note(f"{material}; {len(tokenizer):,} tokens, {parameters:,} parameters")
    learned = Fingerprints.load(run.path)
    if learned is None and team.leads:
        learned = Fingerprints.of(material.training.kept)
        learned.save(run.path)
    if learned and (seen := learned.overlap(material.validation.kept)):
        reporter.note(f"of the validation pairs, {seen}: scores on these say little")
    batches = _batches(recipe, material, given, reporter)
    sources = [pair.source for pair in material.validation.kept]
    references = [pair.target for pair in material.validation.kept]

    searched = model_of(Elsewhere(network), tokenizer, recipe, run.path.name)

    def validate() -> float:
        return validation_score(
            searched, sources, references, recipe.evaluation.metric, recipe.evaluation.bleu_tokenizer
        )

    outcome = Training(run, network, batches, validate, reporter, team).fit()
    if team.leads:
        write_tensors(run.weights, named_weights(network))
    team.wait()
    if not team.leads:
        load_weights(network.float().cpu(), run.weights)
    reporter.note(
        f"{outcome.reason}: {outcome.steps:,} steps, best validation {recipe.evaluation.metric} "
        f"{outcome.best:.2f}, saved in {run.path}"
    )
    network.eval()
    return model


def _batches(
    recipe: Recipe,
    material: Material,
    given: tuple[Corpus, Sequence[Collection[Link]]] | None,
    reporter: Reporter,
) -> Coming:
    """The training pairs in batches, with the links that guide attention, if any shall."""
    training, settings = material.training, recipe.training
    if isinstance(training, ShardedPairs) or not settings.guided_alignment:
        return training.batches(settings.batch_tokens, settings.seed)
    if given is None:
        reporter.note(f"inducing links between the words of {len(training):,} pairs")
    links = word_links(training.kept, material.tokenizer, given)
    return training.batches(settings.batch_tokens, settings.seed, links)


def _recipe(
    recipe: Recipe | str | os.PathLike[str] | None, settings: Sequence[str], suited: Recipe | None = None
) -> Recipe:
    """What was asked for, on top of what suits the corpus."""
    base = suited or Recipe()
    if isinstance(recipe, Recipe):
        base = recipe
    elif recipe is not None:
        base = Recipe.load(os.fspath(recipe), base)
    return base.with_settings(settings)


def _require_divisible(recipe: Recipe, team: Team) -> None:
    """What several processes cannot share is refused, before any work."""
    model = recipe.model
    if team.size > 1 and isinstance(model, RecurrentConfig) and model.attention == "reinforce":
        raise RecipeError(
            f"model.attention is reinforce, which compares rewards over a whole batch, but {team.size} "
            f"processes share it. Start one process, or choose model.attention gumbel."
        )
    if recipe.training.parallel == "fsdp":
        with torch.device("meta"):  # no memory is taken
            network = make(model, len(SPECIAL_TOKENS))
        for name, weight in network.named_parameters():
            if not weight.dim():
                raise RecipeError(
                    f"training.parallel is fsdp, but the weight {name} is a single number, which cannot be "
                    f"shared out. Choose training.parallel ddp, or another model.score or model.normalizer."
                )


def _vocabulary(training: Corpus | LargeCorpus, recipe: Recipe) -> Tokenizer:
    return Tokenizer.train(
        [*training.sources(), *training.targets()],
        recipe.data.tokenizer,
        vocabulary=recipe.data.vocabulary or chosen_vocabulary(len(training)),
        split_punctuation=recipe.data.split_punctuation,
    )


def _started(folder: Path, recipe: Recipe, material: Material, files: Mapping[str, Any]) -> RunFolder:
    """Choose what the recipe leaves open, and make the folder."""
    batches = material.training.batches(recipe.training.batch_tokens, recipe.training.seed)
    chosen = completed(recipe, len(material.tokenizer), batches.an_epoch())
    about = {"skipped_empty": material.empty, "skipped_too_long": material.too_long, **files}
    for role, pairs in (("training", material.training), ("validation", material.validation)):
        about[role] = pairs.corpus.name
        about[f"{role}_digest"] = pairs.corpus.digest()
        about[f"{role}_pairs"] = len(pairs)
    return RunFolder.create(folder, chosen, about, material.tokenizer)


def _require_same(run: RunFolder, training: Corpus | LargeCorpus, validation: Corpus) -> None:
    recorded = run.about["corpus"]
    for corpus, role in ((training, "training"), (validation, "validation")):
        if corpus.digest() != recorded[f"{role}_digest"]:
            raise RunError(
                f"{run.path}: the {role} pairs are not those the run was started with ({recorded[role]})."
            )


def _corpora(pairs: Pairs, valid: Pairs | None, recipe: Recipe) -> tuple[Corpus, Corpus]:
    corpus = read(pairs)
    if valid is not None:
        validation = read(valid)
        same_format(corpus, validation)
        return corpus, validation
    if recipe.data.validation > len(corpus) // 2:
        raise RecipeError(
            f"data.validation is {recipe.data.validation:,}, more than half of the {len(corpus):,} pairs of "
            f"{corpus.name}."
        )
    if recipe.data.validation:
        return split(corpus, fraction=0.5, most=recipe.data.validation, seed=recipe.training.seed)
    return split(corpus, seed=recipe.training.seed)

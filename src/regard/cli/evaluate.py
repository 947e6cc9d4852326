"""``regard evaluate``: score a model on pairs it has not seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regard.cli.output import Json, one_line, print_json, require_files, verb, write_text
from regard.cli.pairs import pair_files
from regard.errors import InputError

if TYPE_CHECKING:
    from regard.data.corpora import Corpus
    from regard.decoding.translator import Model


def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a trained run.", show_default=False)
    ],
    test: Annotated[
        Path | None, typer.Argument(metavar="TEST", help="Pairs to score on.", show_default=False)
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Source texts, a line each; with --target.")] = None,
    target: Annotated[Path | None, typer.Option(help="References, a line each; with --source.")] = None,
    source_column: Annotated[str | None, typer.Option(help="Column, key or language of the source.")] = None,
    target_column: Annotated[str | None, typer.Option(help="The same for the target.")] = None,
    links: Annotated[
        Path | None,
        typer.Option(help="Gold links of each pair: i-j sure, i?j possible, source word i, target word j."),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="Hypotheses kept at each step; 1 is greedy.", min=1)
    ] = None,
    bleu_tokenizer: Annotated[
        str | None, typer.Option(help="sacreBLEU's; by default the run's setting.")
    ] = None,
    rouge: Annotated[
        bool | None,
        typer.Option("--rouge/--no-rouge", help="Count ROUGE too; by default where it decided training."),
    ] = None,
    outputs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the outputs, a line each.")
    ] = None,
    tune_length_penalty: Annotated[
        bool,
        typer.Option(
            "--tune-length-penalty", help="Try some length penalties on these pairs, and say how good."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a model: BLEU, chrF, exact match, ROUGE of summaries, alignments against gold links."""
    with verb(as_json):
        files = pair_files(test, source, target, name="TEST", columns=(source_column, target_column))
        if files is None:
            raise InputError("nothing to score on. Give a file of pairs, or --source FILE --target FILE.")
        from regard.evaluation.alignment import read_links
        from regard.training.overlap import Fingerprints
        from regard.training.recipe import Recipe
        from regard.training.run import load
        from regard.training.validation import evaluate as score

        reads = {"TEST": test, "--source": source, "--target": target, "--links": links}
        require_files({"--outputs": outputs}, reads)
        model = load(run)
        corpus = files.read()
        if bleu_tokenizer is not None:
            Recipe().changed({"evaluation": {"bleu_tokenizer": bleu_tokenizer}})
        if tune_length_penalty:
            _tune(model, corpus, beam, bleu_tokenizer, as_json=as_json)
            return
        gold = None if links is None else list(zip(*read_links(links, transpose=True), strict=True))
        if gold is not None and len(gold) != len(corpus):
            raise InputError(
                f"{links}: {len(gold):,} lines of links but {len(corpus):,} pairs; one is needed for each."
            )
        fingerprints = Fingerprints.load(run)
        seen = None if fingerprints is None else fingerprints.overlap(corpus)
        result = score(model, corpus, links=gold, beam=beam, bleu_tokenizer=bleu_tokenizer, with_rouge=rouge)
        if outputs is not None:
            write_text(outputs, "".join(f"{one_line(text)}\n" for text in result.predictions))
        if seen:
            print(f"regard: {seen}: the scores say less of unseen texts.", file=sys.stderr)
        if corpus.empty:
            print(f"regard: {corpus.empty:,} pairs with an empty side skipped.", file=sys.stderr)
        if as_json:
            about = {"run": str(run), "test": corpus.name, "skipped_empty": corpus.empty}
            about["in_training"] = None if seen is None else {"pairs": seen.pairs, "sources": seen.sources}
            print_json(about | result.to_dict())
        else:
            print(result)


def _tune(model: Model, corpus: Corpus, beam: int | None, tokenizer: str | None, *, as_json: bool) -> None:
    """Print how good each length penalty is."""
    from regard.decoding.tuning import tune_length_penalty
    from regard.evaluation.text import bleu

    tokenize = tokenizer or model.recipe.evaluation.bleu_tokenizer
    tuning = tune_length_penalty(
        model,
        corpus.sources(),
        corpus.targets(),
        beam=beam,
        measure=lambda outputs, wanted: bleu(outputs, wanted, tokenize=tokenize, confidence=False).value,
    )
    if as_json:
        print_json({"test": corpus.name} | tuning.to_dict())
    else:
        print(tuning)

"""``regard fit``: train a model on pairs of texts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from regard.cli.output import Json, print_json, verb
from regard.cli.pairs import pair_files
from regard.errors import InputError

if TYPE_CHECKING:
    from regard.training.origin import PairFiles

Train = Annotated[
    Path | None,
    typer.Argument(metavar="TRAIN", help="Pairs: .tsv, .csv, .jsonl, .po, .mo or .tmx, each also .gz."),
]


def fit(
    train: Train = None,
    source: Annotated[Path | None, typer.Option(help="Source texts, a line each; with --target.")] = None,
    target: Annotated[Path | None, typer.Option(help="Target texts, a line each; with --source.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Pairs to validate on; else some are set aside.")] = None,
    valid_source: Annotated[Path | None, typer.Option(help="Source texts to validate on.")] = None,
    valid_target: Annotated[Path | None, typer.Option(help="Target texts to validate on.")] = None,
    source_column: Annotated[
        str | None, typer.Option(help="Column (name, or number from 1), key, or language of the source.")
    ] = None,
    target_column: Annotated[str | None, typer.Option(help="The same for the target.")] = None,
    config: Annotated[Path | None, typer.Option(help="A recipe: a TOML file of settings.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as model.width=256."),
    ] = None,
    links: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Links between words, a line a pair, for training.guided_alignment."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Begin with the weights of a run that has ended."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; by default runs/ and the file's name.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train an encoder-decoder with attention on your own pairs of texts."""
    with verb(as_json) as stream:
        columns = (source_column, target_column)
        pairs = pair_files(train, source, target, name="TRAIN", columns=columns)
        options = ("--valid-source", "--valid-target")
        validation = pair_files(
            valid, valid_source, valid_target, name="--valid", options=options, columns=columns
        )
        if resume is not None:
            if any((pairs, validation, config, settings, links, start, out, *columns)):
                raise InputError("--resume RUN goes on with the run's own files and settings; give it alone.")
            folder = _go_on(resume, stream)
        elif pairs is not None:
            folder = _start(pairs, validation, config, settings or [], links, start, out, stream)
        else:
            raise InputError("nothing to train on. Give a file of pairs, or --source FILE --target FILE.")
        if as_json:
            from regard.training.report import summary

            print_json(summary(folder))
        else:
            run = shlex.quote(str(folder))
            print(f'Try it:  regard predict {run} FILE     regard look {run} "a text"')


def _start(
    pairs: PairFiles,
    validation: PairFiles | None,
    config: Path | None,
    settings: list[str],
    links: Path | None,
    start: Path | None,
    out: Path | None,
    stream: TextIO,
) -> Path:
    from regard.training.display import reporter
    from regard.training.fit import fit as train_model
    from regard.training.origin import default_folder

    folder = out or default_folder(pairs)
    train_model(
        pairs,
        valid=validation,
        recipe=config,
        settings=settings,
        out=folder,
        links=links,
        start=start,
        reporter=reporter(stream),
    )
    return folder


def _go_on(folder: Path, stream: TextIO) -> Path:
    from regard.training.display import reporter
    from regard.training.fit import resume

    resume(folder, reporter=reporter(stream))
    return folder

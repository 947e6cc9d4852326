"""``regard predict``: one line in, one line out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regard.cli.look import utf8
from regard.cli.output import Json, print_json, require_files, verb, write_text
from regard.cli.predictions import linked, plain, printed, report_unknown
from regard.errors import InputError

if TYPE_CHECKING:
    from regard.decoding.translator import Model


def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a trained run.", show_default=False)
    ],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Texts, a line each; stdin where left out.", show_default=False),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="Hypotheses kept at each step; 1 is greedy.", min=1)
    ] = None,
    nbest: Annotated[int, typer.Option(help="Outputs of each line: «line ||| text ||| score».", min=1)] = 1,
    length_penalty: Annotated[float | None, typer.Option(help="0 prefers short outputs, 1 does not.")] = None,
    min_length: Annotated[int | None, typer.Option(help="The fewest tokens of an output.", min=0)] = None,
    block_ngrams: Annotated[
        int | None, typer.Option(help="So many words are never said twice in the same order.", min=0)
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What outputs begin with; a space at its end ends a word."),
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(metavar="PHRASE", help="Words that outputs contain; may be repeated.")
    ] = None,
    forbid: Annotated[
        list[str] | None, typer.Option(metavar="PHRASE", help="Words that they do not contain; likewise.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Draw so many outputs of each line; the best are shown.", min=1)
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of drawing: below 1 plays safe.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among so many likeliest words.", min=0)] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the likeliest words of this share together.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the same again.", min=0)] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="RUN", help="Another run of the same vocabulary to decide with."),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="regard|ctranslate2", help="Who computes; RUN may be an export to it.")
    ] = "regard",
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Answer each line of stdin at once; with --json an object a line."),
    ] = False,
    alignments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the links of each output: i-j, input word i, output word j."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write here, shard by shard; the same command goes on where it was broken off.",
        ),
    ] = None,
    shard_lines: Annotated[
        int, typer.Option(help="Lines of FILE that --out takes at a time.", min=1)
    ] = 10_000,
    as_json: Json = False,
) -> None:
    """Say what a model says of each line."""
    with verb(as_json, lines=stream):
        from regard.data.corpora import read_lines
        from regard.decoding.translator import Model
        from regard.training.recipe import Recipe
        from regard.training.run import load

        if length_penalty is not None:
            Recipe().changed({"decoding": {"length_penalty": length_penalty}})
        require_files({"--out": out, "--alignments": alignments}, {"FILE": file})
        if out is not None and (stream or file is None):
            raise InputError(
                "--out goes through a file shard by shard; name the FILE, and leave --stream out."
            )
        if stream and (file is not None or alignments is not None):
            other = f"the file {file}" if file is not None else "--alignments"
            raise InputError(
                f"--stream answers stdin line by line; it does not go with {other}. Leave one out."
            )
        options = _given(
            length_penalty=length_penalty,
            min_length=min_length,
            block_ngrams=block_ngrams,
            prefix=None if prefix is None else utf8(prefix, "--prefix"),
            require=[utf8(phrase, "--require") for phrase in require] if require else None,
            forbid=[utf8(phrase, "--forbid") for phrase in forbid] if forbid else None,
            samples=samples,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        if engine not in ("regard", "ctranslate2"):
            raise InputError(f"--engine is one of regard, ctranslate2; got {engine!r}.")
        if engine == "ctranslate2" and others:
            raise InputError(
                "--with decides with several runs, which --engine ctranslate2 does not. Leave one out."
            )
        model = _engine(run) if engine == "ctranslate2" else load(run)
        if others:
            model = Model.ensemble([model, *map(load, others)])
        if beam is None and samples is None:
            beam = max(nbest, model.search.beam)
        options |= {"nbest": nbest} | _given(beam=beam)
        if engine == "ctranslate2":
            options["alignments"] = as_json or alignments is not None
        if stream:
            _answer(model, options, as_json=as_json)
            return
        if out is not None and file is not None:
            from regard.cli.bulk import write_predictions
            from regard.decoding.shards import key_of

            key = key_of([run, *(others or ())], options | {"engine": engine})
            found = write_predictions(
                model, file, out, options, key, alignments, lines=shard_lines, as_json=as_json
            )
            if as_json:
                print_json({"run": str(run)} | found)
            return
        lines = read_lines(file) if file is not None else read_lines(sys.stdin.buffer, name="stdin")
        predictions = model.predict(lines, **options)
        report_unknown([prediction.unknown for prediction in predictions])
        said = [plain(line, prediction) for line, prediction in zip(lines, predictions, strict=True)]
        if as_json:
            unknown = sum(prediction.unknown for prediction in predictions)
            print_json({"run": str(run), "unknown": unknown, "predictions": said})
        else:
            for number, each in enumerate(said):
                sys.stdout.writelines(printed(number, each, nbest))
        if alignments is not None:
            sys.stdout.flush()
            write_text(alignments, "".join(map(linked, said)))


def _engine(run: Path) -> Model:
    """A run, or an export of it, as CTranslate2 runs it."""
    from regard.export.ctranslate2 import Engine
    from regard.training.run import load

    return Engine(run) if (run / "model.bin").is_file() else Engine.of(load(run))


@dataclass
class _AsItComes:
    """A stream whose reader gets what is there, and does not wait until there is more."""

    stream: Any

    def read(self, size: int, /) -> bytes:
        return self.stream.read1(size)


def _answer(model: Any, options: dict[str, Any], *, as_json: bool) -> None:
    """Answer each line of stdin before the next one is read."""
    from regard.data.lines import text_lines

    model.predict([], **options)  # options that contradict each other are refused before anything is read
    for number, text in text_lines(_AsItComes(sys.stdin.buffer), "stdin"):
        line = text.strip()
        try:
            (prediction,) = model.predict([line], **options, first=number - 1)
        except InputError as error:
            raise InputError(f"stdin:{number}: {error}") from None
        report_unknown([prediction.unknown])
        said = plain(line, prediction)
        if as_json:
            print_json({"line": number - 1} | said, lines=True)
        else:
            sys.stdout.writelines(printed(number - 1, said, options["nbest"]))
            sys.stdout.flush()


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}

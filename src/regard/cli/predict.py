"""``regard predict``: one line in, one line out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regard.cli.output import Json, one_line, print_json, require_file, verb

if TYPE_CHECKING:
    from regard.decoding.translator import Prediction


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
    alignments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the links of each output: i-j, input word i, output word j."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a model says of each line."""
    with verb(as_json):
        from regard.data.corpora import read_lines
        from regard.record import write_atomically
        from regard.training.recipe import Recipe
        from regard.training.run import load

        if length_penalty is not None:
            Recipe().changed({"decoding": {"length_penalty": length_penalty}})
        require_file(alignments, "--alignments")
        model = load(run)
        lines = read_lines(file) if file is not None else read_lines(sys.stdin.buffer, name="stdin")
        beam = max(nbest, model.search.beam) if beam is None else beam
        predictions = model.predict(lines, beam=beam, nbest=nbest, length_penalty=length_penalty)
        _report_unknown(predictions)
        if as_json:
            print_json(
                {
                    "run": str(run),
                    "unknown": sum(prediction.unknown for prediction in predictions),
                    "predictions": [_plain(line, p) for line, p in zip(lines, predictions, strict=True)],
                }
            )
        elif nbest == 1:
            sys.stdout.writelines(f"{one_line(prediction.text)}\n" for prediction in predictions)
        else:
            for number, prediction in enumerate(predictions):
                for option in prediction.alternatives or (prediction,):
                    print(f"{number} ||| {one_line(option.text)} ||| {option.score:.4f}")
        if alignments is not None:
            sys.stdout.flush()
            write_atomically(
                alignments, "".join(f"{links(prediction)}\n" for prediction in predictions).encode()
            )


def links(prediction: Prediction) -> str:
    """The links of an output as word aligners write them: input word, hyphen, output word, both from 0."""
    return " ".join(f"{key}-{query}" for query, key in sorted(prediction.alignment.links()))


def _report_unknown(predictions: list[Prediction]) -> None:
    unknown = sum(prediction.unknown for prediction in predictions)
    if unknown:
        texts = sum(prediction.unknown > 0 for prediction in predictions)
        print(f"regard: {unknown:,} tokens in {texts:,} texts were never seen in training.", file=sys.stderr)


def _plain(line: str, prediction: Prediction) -> dict[str, Any]:
    return (
        {"source": line}
        | _option(prediction)
        | {"alternatives": [_option(o) for o in prediction.alternatives]}
    )


def _option(prediction: Prediction) -> dict[str, Any]:
    record = prediction.alignment
    return {
        "text": prediction.text,
        "score": prediction.score,
        "input_words": list(record.key_tokens),
        "output_words": list(record.query_tokens),
        "links": [[key, query] for query, key in sorted(record.links())],
    }

"""``regard export``: a trained model as files that other engines run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from regard.cli.output import Json, print_json, verb
from regard.errors import InputError

if TYPE_CHECKING:
    from regard.decoding.translator import Model

TARGETS = ("huggingface", "ctranslate2", "onnx")


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a trained run.", show_default=False)
    ],
    to: Annotated[str, typer.Option(metavar="|".join(TARGETS), help="Who shall run it.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Where to; must not exist, or be empty.", show_default=False),
    ],
    quantization: Annotated[
        str | None,
        typer.Option(help="int8, int16, float16 or bfloat16 for ctranslate2; float32 where left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a trained model for transformers, CTranslate2 or ONNX."""
    with verb(as_json) as messages:
        if to not in TARGETS:
            raise InputError(f"--to is one of {', '.join(TARGETS)}; got {to!r}.")
        if quantization is not None and to != "ctranslate2":
            raise InputError(f"--quantization {quantization} goes with --to ctranslate2, not with --to {to}.")
        from regard.export.folders import check_free
        from regard.training.run import load

        check_free(out)
        model = load(run)
        _write(model, to, out, quantization)
        if model.search.block_ngrams and to != "onnx":
            print(
                f"regard: decoding.block_ngrams is {model.search.block_ngrams}; {to} repeats such words.",
                file=sys.stderr,
            )
        size = sum(path.stat().st_size for path in out.iterdir())
        if as_json:
            print_json(
                {"run": str(run), "to": to, "out": str(out), "quantization": quantization, "bytes": size}
            )
        else:
            print(f"{out}: {size / 1e6:.1f} MB for {to}.", file=messages)


def _write(model: Model, to: str, out: Path, quantization: str | None) -> None:
    if to == "huggingface":
        from regard.export import huggingface

        huggingface.write(model, out)
    elif to == "ctranslate2":
        from regard.export import ctranslate2

        ctranslate2.write(model, out, cast(Any, quantization))  # which it checks
    else:
        from regard.export import onnx

        onnx.write(model, out)

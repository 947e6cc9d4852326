"""``regard verify``: is somebody's attention function right, and which known mistake does it make?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regard.cli.output import Json, print_json, verb


def verify(
    function: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION",
            help="A function, module or class in a Python file, or package.module:NAME.",
            show_default=False,
        ),
    ],
    score: Annotated[
        str | None, typer.Option(help="What it is meant to compute: scaled_dot, dot, additive, cosine, …")
    ] = None,
    normalizer: Annotated[
        str | None, typer.Option(help="From scores to weights: softmax, sparsemax, sigmoid, …")
    ] = None,
    causal: Annotated[
        bool | None, typer.Option("--causal/--no-causal", help="Whether it is meant to hide the future.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Into how many heads it splits its features.", min=1)
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="How many features it is made for; for classes.", min=1)
    ] = None,
    grouped: Annotated[
        bool | None, typer.Option("--grouped/--no-grouped", help="Whether query heads share key heads.")
    ] = None,
    framework: Annotated[
        str | None, typer.Option(help="numpy, torch or jax, where it can't be told.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail too where it is right but fragile.")] = False,
    as_json: Json = False,
) -> None:
    """Judge an attention function: laws kept and broken, the mistake named. Runs its code in this process."""
    with verb(as_json):
        from rich.console import Console

        from regard.checking.loading import load
        from regard.checking.verify import verify as judge

        print(f"regard: running {function} in this process.", file=sys.stderr)
        report = judge(
            load(function, folder=Path.cwd()),
            score=score,
            normalizer=normalizer,
            causal=causal,
            heads=heads,
            width=width,
            grouped=grouped,
            framework=framework,  # type: ignore[arg-type]  # judged there
        )
        if as_json:
            print_json({"function": function} | report.to_dict())
        else:
            Console().print(report)
        if not (report.robust if strict else report.passed):
            raise typer.Exit(1)

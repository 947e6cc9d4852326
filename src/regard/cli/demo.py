"""``regard demo``: the whole of it in about a minute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regard.cli.output import Json, print_json, verb


def demo(
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; by default a new one, runs/dates.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the corpus and of training.")] = 1,
    as_json: Json = False,
) -> None:
    """Train on dates in 33 languages, predict, and show the attention: about a minute."""
    with verb(as_json) as stream:
        from rich.console import Console

        from regard.training.demo import demonstrate
        from regard.training.display import reporter
        from regard.viewer.view import View

        folder = out or fresh_folder(Path("runs/dates"))
        print("Dates as people write them, in 33 languages, to ISO 8601.", file=stream, flush=True)
        found = demonstrate(folder, seed=seed, reporter=reporter(stream))
        if as_json:
            print_json(found.to_dict())
            return
        console = Console(file=sys.stdout)
        for record in found.examples[:2]:
            console.print(View(record))
        print(found)


def fresh_folder(path: Path) -> Path:
    """The path, with the first number behind it that makes it a folder that is not there yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free

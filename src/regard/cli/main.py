"""The command ``regard``."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

import regard
from regard.cli import demo, evaluate, export, fit, look, predict, verify
from regard.training.launch import started_together

app = typer.Typer(
    name="regard",
    help="Attention you can build, train, see and check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"regard {regard.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Attention you can build, train, see and check."""


app.command("demo")(demo.demo)
app.command("fit")(fit.fit)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("look")(look.look)
app.command("export")(export.export)
app.command("verify")(verify.verify)


def main() -> None:
    """Run the command line. What goes to a file or a pipe is UTF-8, as what comes in is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    if started_together():
        _end_at_once()
    app()


def _end_at_once() -> NoReturn:
    """Run the command, and end without Python's tidying up.

    PyTorch lets threads of gloo go on behind a DistributedDataParallel that is gone; one of them may wake up
    while Python is taken apart, which aborts a process whose work is done.
    """
    status = 1
    try:
        app()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # a fault of ours, which Python would show
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        logging.shutdown()
        os._exit(status)

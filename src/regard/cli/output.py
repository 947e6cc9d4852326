"""What a verb prints: one JSON object on stdout where asked for, errors as one sentence on stderr, the exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TextIO

import typer

from regard.errors import InputError, Interrupted, RegardError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; all else goes to stderr.")]


@contextmanager
def verb(as_json: bool = False) -> Iterator[TextIO]:
    """Run the work of a verb, and turn what goes wrong into a sentence and an exit status.

    Gives the stream that progress and messages belong to: stderr where stdout is kept for JSON, else stdout.
    """
    try:
        yield sys.stderr if as_json else sys.stdout
    except Interrupted as error:
        _end(error, as_json, 130)
    except InputError as error:
        _end(error, as_json, 2)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has had enough
        raise typer.Exit(0) from None
    except (RegardError, OSError, MemoryError) as error:
        _end(error, as_json, 1)
    except KeyboardInterrupt:
        _end(RegardError("interrupted."), as_json, 130)


def _end(error: BaseException, as_json: bool, status: int) -> NoReturn:
    text = " ".join(str(error).split()) or f"{type(error).__name__}."
    print(f"regard: {text}", file=sys.stderr)
    if as_json:
        print_json({"error": text})
    raise typer.Exit(status)


def print_json(value: dict[str, Any]) -> None:
    """The one object that a verb prints with ``--json``."""
    print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=str), flush=True)

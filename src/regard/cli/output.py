"""How a verb ends: one JSON object where asked for, an error as one sentence, the exit status."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from regard.errors import InputError, Interrupted, ProcessLost, RegardError
from regard.training.launch import rank, started_together

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; all else goes to stderr.")
]

FIRST_SPEAKS = 3.0
"""Seconds in which the first of several processes says what ails all of them."""


@contextmanager
def verb(as_json: bool = False, *, lines: bool = False) -> Iterator[TextIO]:
    """Run the work of a verb, and turn what goes wrong into a sentence and an exit status.

    Where JSON is printed an object a line (`lines`), an error is a line too.

    Gives the stream that progress and messages belong to: stderr where stdout is kept for JSON, else stdout.
    Of several processes that `torchrun` has started the first speaks for all, unless one is lost, or one
    fails that is not the first.
    """
    quiet = ExitStack()
    if started_together() and rank():
        quiet.enter_context(redirect_stdout(io.StringIO()))
        quiet.enter_context(redirect_stderr(io.StringIO()))
    with quiet, _ending(as_json, lines, quiet):
        yield sys.stderr if as_json else sys.stdout
        sys.stdout.flush()


@contextmanager
def _ending(as_json: bool, lines: bool, quiet: ExitStack) -> Iterator[None]:
    """Turn what goes wrong into a sentence and an exit status; what all must hear is not kept `quiet`."""
    try:
        yield
    except ProcessLost as error:
        quiet.close()
        _end(str(error), as_json, 1, lines)
    except Interrupted as error:
        _end(str(error), as_json, 130, lines)
    except InputError as error:
        _end(_after_the_first(str(error), quiet), as_json, 2, lines)
    except BrokenPipeError:
        _silence()  # whoever read our output has had enough
        raise typer.Exit(0) from None
    except ModuleNotFoundError as error:
        missing = f"the package {error.name} is missing. Install it with: pip install 'regard[all]'"
        _end(_after_the_first(missing, quiet), as_json, 1, lines)
    except (RegardError, OSError, MemoryError) as error:
        _end(_after_the_first(_sentence(error), quiet), as_json, 1, lines)
    except KeyboardInterrupt:
        _end("interrupted.", as_json, 130, lines)


def _after_the_first(text: str, quiet: ExitStack) -> str:
    """What a process has to say of its failure, once the first would have said it for all.

    What ails all is said by the first, which ends, and `torchrun` ends the others: none may end before it
    has spoken. Whoever is still there after that is alone with what went wrong.
    """
    if not (started_together() and rank()):
        return text
    time.sleep(FIRST_SPEAKS)
    quiet.close()
    return f"process {rank()}: {text}"


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename  # of a renaming the name that was asked for
        return f"{file}: {error.strerror}." if file else f"{error.strerror}."
    return str(error) or f"{type(error).__name__}."


def _end(text: str, as_json: bool, status: int, lines: bool = False) -> NoReturn:
    text = one_line(text)
    print(f"regard: {text}", file=sys.stderr)
    try:
        if as_json:
            print_json({"error": text}, lines=lines)
        sys.stdout.flush()
    except OSError:
        _silence()  # stdout itself is what failed
    raise typer.Exit(status)


def _silence() -> None:
    """Let what is still waiting for stdout go nowhere, so that Python does not complain at its end."""
    with suppress(io.UnsupportedOperation):  # not a file: nothing is waiting
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(text: str) -> str:
    """A text without line ends, as a model learns them from texts of several lines in a CSV or PO file."""
    return re.sub(r"\s*[\r\n]\s*", " ", text).strip()


def print_json(value: dict[str, Any], *, lines: bool = False) -> None:
    """The one object that a verb prints with ``--json``, or one of many, each on a line."""
    indent = None if lines else 2
    print(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False, default=str), flush=True)


def require_files(writes: Mapping[str, Path | None], reads: Mapping[str, Path | None]) -> None:
    """Refuse to write into a folder, or over a file that is read or written besides, before any work is done.

    Args:
        writes, reads: by the names of arguments and options, the files they name.

    Raises:
        InputError: a file to be written is a folder, or one of the others.
    """
    others = {name: path for name, path in reads.items() if path is not None}
    for name, path in writes.items():
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path}: a folder; {name} needs the name of a file.")
        for other, known in others.items():
            if _same(path, known):
                raise InputError(
                    f"{path}: {name} would write over {other}, which is the same file. Name another."
                )
        others[name] = path


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, there or not; what is written to a pipe or a device is not kept."""
    if one.exists() and other.exists():
        return one.is_file() and one.samefile(other)
    return one.resolve() == other.resolve()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, compressed where its name ends with .gz."""
    from regard.record import write_atomically

    content = text.encode()
    write_atomically(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)

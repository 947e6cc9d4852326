"""Which file, or which two, the pairs of a command are in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from regard.errors import InputError

if TYPE_CHECKING:
    from regard.training.origin import PairFiles


def pair_files(
    path: Path | None,
    source: Path | None,
    target: Path | None,
    *,
    name: str,
    options: tuple[str, str] = ("--source", "--target"),
    columns: tuple[str | None, str | None] = (None, None),
) -> PairFiles | None:
    """A file of pairs, or a source file with its target file; None where neither is given.

    Args:
        path: the file of pairs; source, target: the two plain files.
        name: of the argument, for errors; options: of the two files.
        columns: of source and target in a file of pairs.

    Raises:
        InputError: both ways at once, or half of the second.
    """
    from regard.training.origin import PairFiles

    if path is not None and (source is not None or target is not None):
        raise InputError(f"give either {name} or {' and '.join(options)}, not both.")
    if (source is None) != (target is None):
        given, missing = options if target is None else options[::-1]
        raise InputError(f"{given} needs {missing}: two plain files whose lines belong together.")
    file = source if path is None else path
    return None if file is None else PairFiles(file, target, *columns)

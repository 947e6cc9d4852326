"""A folder that appears whole or not at all, where nothing was."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regard.errors import InputError, TrainingError


def check_free(folder: Path) -> None:
    """Nothing of the user's is ever written over.

    Raises:
        InputError: the folder is there and not empty, or a file stands in its place.
    """
    if folder.is_dir():
        if any(folder.iterdir()):
            raise InputError(f"{folder}: the folder is not empty. Choose another; nothing is written over.")
    elif folder.exists() or folder.is_symlink():
        raise InputError(f"{folder}: a file; an export is a folder that does not exist yet.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, renamed to it at the end; nothing is left where something fails.

    Raises:
        InputError: something is there already.
        TrainingError: the disk is full, or cannot be written to.
    """
    check_free(folder)
    temporary = folder.with_name(f".{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        temporary.replace(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "Make room" if full else "Choose another folder"
            raise TrainingError(
                f"{folder}: cannot be written: {error.strerror or error}. {remedy}; nothing is left."
            ) from None
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

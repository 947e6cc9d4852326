"""Files that are written whole or not at all, so that a kill or a full disk never leaves half of one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from regard.errors import RunError, TrainingError


@contextmanager
def saving(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it at the end.

    Where something fails, `path` is as before and nothing else is left. Missing folders above are made.

    Raises:
        TrainingError: the disk is full, or cannot be written to.
    """
    temporary = part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        remove(temporary)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from None
        raise


def part(path: Path) -> Path:
    """The name of a file, or a folder, while it is written."""
    return path.with_name(f".{path.name}.part")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; TrainingError where it cannot be written."""
    with saving(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append(path: Path, data: bytes) -> None:
    """Write behind what a file holds, all or nothing, a kill in the middle aside.

    Raises:
        TrainingError: the disk is full, or cannot be written to; the file is as before.
    """
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        if path.exists():
            os.truncate(path, size)
        raise _unwritable(path, error) from None


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """What a safetensors file of these tensors holds."""
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file whole or not at all; TrainingError where it cannot be written."""
    with saving(path) as temporary:
        temporary.write_bytes(tensor_bytes(tensors))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Open a safetensors file; RunError where it is missing or cut short."""
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the run is no longer whole.") from None
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: not a whole safetensors file ({error}). Restore it, or train again."
        ) from None


def _unwritable(path: Path, error: OSError) -> TrainingError:
    remedy = (
        "go on once there is room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that and go on"
    )
    return TrainingError(
        f"{path}: cannot be written: {error.strerror or error}. What was saved before is whole; {remedy}."
    )

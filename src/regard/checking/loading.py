"""The function that is meant by ``FILE.py:FUNCTION`` or ``package.module:NAME``."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from regard.errors import InputError


def load(place: str, *, folder: Path) -> Any:
    """Run a file, or import a module, and give what has this name in it.

    Args:
        place: ``FILE.py:NAME`` or ``package.module:NAME``; NAME may have dots, and be left out of a file that
            holds a single function or class of its own.
        folder: where the names of modules are looked for first.

    Raises:
        InputError: no such file, module or name, or one that fails while it is imported.
    """
    where, colon, name = place.rpartition(":")
    if not colon or name.endswith(".py"):
        where, name = place, ""
    module = _from_file(Path(where)) if where.endswith(".py") else _by_name(where, folder, place)
    return _named(module, name, where)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Write FILE.py:FUNCTION.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # where dataclasses look for it
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with _explained(str(path)), contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    finally:
        with contextlib.suppress(ValueError):  # its code may have changed the list itself
            sys.path.remove(str(path.resolve().parent))
        if before is not None:
            sys.modules[path.stem] = before
    return module


def _by_name(name: str, folder: Path, place: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(
            f"{place}: not a place of a function. Write FILE.py:FUNCTION or package.module:NAME."
        )
    sys.path.insert(0, str(folder))
    try:
        with _explained(name), contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    finally:
        with contextlib.suppress(ValueError):  # its code may have changed the list itself
            sys.path.remove(str(folder))


@contextlib.contextmanager
def _explained(name: str) -> Any:
    """An error of the code that is run, as one that names its file and line."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, SyntaxError):
            line = f"{error.filename}:{error.lineno}" if error.filename else name
        else:
            line = _line_of_its_own(error) or name
        raise InputError(f"{line}: importing it ended with {_described(error)}.") from error


def _line_of_its_own(error: BaseException) -> str:
    """The last line that was run before the error and is neither a library's nor ours; empty for none."""
    paths = sysconfig.get_paths()
    # With a separator, for a user's folder may begin with the name of a library's.
    libraries = tuple(f"{paths[name]}{os.sep}" for name in ("stdlib", "purelib", "platlib"))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*libraries, "<frozen ")) and frame.filename != __file__:
            return f"{frame.filename}:{frame.lineno}"
    return ""


def _described(error: BaseException) -> str:
    """The error's type and text."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # its own class says how it is written
        text = ""
    return f"{type(error).__name__}: {text or 'no text'}"


def _named(module: ModuleType, name: str, where: str) -> Any:
    own = _own_names(module)
    listed = ", ".join(own) or "none of its own"
    if not name:
        if len(own) != 1:
            raise InputError(f"{where}: say which function: {where}:NAME. There are: {listed}.")
        name = own[0]
    thing: Any = module
    for part in name.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            near = difflib.get_close_matches(name, own, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise InputError(
                f"{where}: there is no {name} in it.{meant} Functions and classes: {listed}."
            ) from None
        except Exception as error:
            raise InputError(f"{where}: getting {name} ended with {_described(error)}.") from error
    if not callable(thing):
        raise InputError(
            f"{where}: {name} is no function, module or class but {type(thing).__name__}. "
            f"Functions and classes: {listed}."
        )
    return thing


def _own_names(module: ModuleType) -> list[str]:
    """The public functions and classes that the module itself defines."""
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
    ]

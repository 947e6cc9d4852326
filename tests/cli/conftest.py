"""What a command that cannot do what is asked of it must keep to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def said(cli: Callable[..., Any]) -> Callable[..., str]:
    """Run a command that is refused: status 2, nothing on stdout; gives its one line on stderr."""

    def run(*arguments: Any, stdin: str | bytes = b"") -> str:
        ended = cli(*arguments, stdin=stdin)
        assert ended.status == 2, ended
        assert ended.stdout == ""
        assert ended.stderr.startswith("regard: ")
        assert ended.stderr.endswith("\n")
        assert ended.stderr.count("\n") == 1, ended.stderr
        return ended.stderr.removeprefix("regard: ").removesuffix("\n")

    return run


@pytest.fixture(scope="session")
def answer(cli: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Run a command with ``--json``: status 0, stdout is one object; gives the object."""

    def run(*arguments: Any, stdin: str | bytes = b"") -> dict[str, Any]:
        ended = cli(*arguments, "--json", stdin=stdin)
        assert ended.status == 0, ended
        value = json.loads(ended.stdout)
        assert isinstance(value, dict)
        return value

    return run

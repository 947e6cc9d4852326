"""Every example of the README and of docs/ runs, in order, and prints what the page says it prints."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from regard.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCED = re.compile(r"^```(\w+)\n(.*?)^```\n(?=(?:\s*^```text\n(.*?)^```$)?)", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "shell", "toml", "text"}
VERBS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
FOR_A_PERSON = {"source", "tensorboard"}


@dataclass(frozen=True)
class Example:
    """A fenced block.

    Args:
        language: the word behind the fence.
        line: where it begins, counted from 1.
        content: what is in it.
        printed: the block of text right behind it, which it must print; None where there is none.
    """

    language: str
    line: int
    content: str
    printed: str | None


def examples(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for match in FENCED.finditer(text):
        yield Example(match[1], text.count("\n", 0, match.start(2)) + 1, match[2], match[3])


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_runs_and_prints_what_the_page_says(page, workplace, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names: dict[str, Any] = {"__name__": page.stem}
    for example in examples(page):
        printed = ""
        if example.language == "python":
            printed = printed_by_python(page, example, names)
        elif example.language == "shell":
            printed = printed_by_shell(example)
        elif example.language == "toml":
            (workplace / file_name(example)).write_text(example.content, encoding="utf-8")
        if example.printed is not None:
            assert unwrapped(printed) == unwrapped(example.printed), f"{page.name}:{example.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_is_found_and_of_a_known_language(page):
    fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
    found = list(examples(page))
    assert len(fences) == 2 * len(found)
    assert {example.language for example in found} <= LANGUAGES


def unwrapped(printed: str) -> str:
    """What was printed; an error, which is one line, without the line ends that a page gives it."""
    return " ".join(printed.split()) if printed.startswith("regard: ") else printed.strip()


def printed_by_python(page: Path, example: Example, names: dict[str, Any]) -> str:
    stdout = StringIO()
    with redirect_stdout(stdout):
        exec(compile("\n" * (example.line - 1) + example.content, str(page), "exec"), names)
    return stdout.getvalue()


def printed_by_shell(example: Example) -> str:
    refused = (example.printed or "").startswith("regard: ")
    commands = example.content.replace("\\\n", " ").splitlines()
    return "".join(run(command, expected=2 if refused else 0) for command in commands if command.strip())


def run(command: str, expected: int) -> str:
    """Run a line of the shell: a command of regard in this process, what is piped into it by the shell."""
    *before, last = command.split(" | ")
    words = shlex.split(last, comments=True)
    if words[0] == "cat":
        subprocess.run(command, shell=True, check=True)
        return ""
    words, file = (words[:-2], Path(words[-1])) if ">" in words else (words, None)
    if words[0] == "make":
        assert set(words[1:]) <= VERBS, command
        return ""
    if words[0] in FOR_A_PERSON:
        return ""
    if words[0] == "torchrun":  # what several processes do is tested where they are
        words = words[words.index("-m") + 1 :]
    assert words[0] == "regard", f"{command!r}: not a command that the tests know how to run"
    given = b""
    if before:
        given = subprocess.run(" | ".join(before), shell=True, check=True, stdout=subprocess.PIPE).stdout
    if "--resume" in words:  # as if it had been stopped before its end
        (Path(words[words.index("--resume") + 1]) / "model.safetensors").unlink()
    result = CliRunner().invoke(app, words[1:], input=given)
    assert result.exit_code == expected, f"{command}\n{result.output}{result.exception!r}"
    if file is not None:
        file.write_text(result.stdout, encoding="utf-8")
        return ""
    return result.output


def file_name(example: Example) -> str:
    """A recipe says its name in its first line: ``# name.toml``."""
    first = example.content.splitlines()[0]
    assert re.fullmatch(r"# [\w-]+\.toml", first), f"line {example.line}: a recipe begins with its name"
    return first[2:]

"""`regard verify`: a function in a file is judged, and the exit status says how."""

from __future__ import annotations

import json

import pytest

ATTENTION = '''
import numpy as np

NUMBER = 3
print("imported")


def over_queries(query, keys, values):
    scores = query @ keys.T / query.shape[-1] ** 0.5
    return np.exp(scores) / np.exp(scores).sum(axis=0) @ values


def right(query, keys, values):
    scores = query @ keys.T / query.shape[-1] ** 0.5
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True) @ values


def wide(query, keys, values):
    """Right, but what comes back is float64 whatever goes in."""
    return right(query.astype(float), keys.astype(float), values.astype(float))
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(ATTENTION, encoding="utf-8")
    return path


def test_a_wrong_function_ends_with_status_1_and_its_mistake(file, cli):
    ended = cli("verify", f"{file}:over_queries")
    assert ended.status == 1
    assert "over_queries is wrong" in ended.stdout
    assert "softmax_over_queries" in ended.stdout
    assert "in this process" in ended.stderr


def test_a_right_function_ends_with_status_0(file, cli):
    ended = cli("verify", f"{file}:right", "--strict")
    assert ended.status == 0, ended.stdout
    assert "right is right" in ended.stdout


def test_a_fragile_function_fails_only_where_it_is_asked_to_be_strict(file, cli):
    assert cli("verify", f"{file}:wide").status == 0
    assert cli("verify", f"{file}:wide", "--strict").status == 1


def test_with_json_stdout_is_one_object_though_the_file_prints(file, cli):
    ended = cli("verify", f"{file}:over_queries", "--json")
    found = json.loads(ended.stdout)
    assert ended.status == 1
    assert found["passed"] is False
    assert found["mistakes"][0]["name"] == "softmax_over_queries"
    assert "imported" in ended.stderr


def test_options_say_what_is_meant(file, cli):
    ended = cli("verify", f"{file}:right", "--score", "dot", "--json")
    assert ended.status == 1
    assert json.loads(ended.stdout)["passed"] is False


def test_it_runs_as_a_process_too(file, command):
    ended = command("verify", f"{file.name}:right", cwd=file.parent)
    assert (ended.status, "Traceback" in ended.stderr) == (0, False), ended.stderr


def test_a_module_is_found_by_its_name(file, command):
    assert command("verify", "mine:over_queries", cwd=file.parent).status == 1


def test_a_single_function_needs_no_name(tmp_path, cli):
    path = tmp_path / "one.py"
    path.write_text("def scores_only(q, k, v):\n    return q @ k.T @ v\n")
    assert cli("verify", path).status == 1


def test_a_file_may_empty_the_path_of_imports(tmp_path, command):
    (tmp_path / "own.py").write_text("import sys\nsys.path.clear()\ndef f(q, k, v): return q @ k.T @ v\n")
    ended = command("verify", "own.py:f", cwd=tmp_path)
    assert (ended.status, "Traceback" in ended.stderr) == (1, False), ended.stderr


REFUSED = {
    "no such file": ("absent.py:f", "absent.py: no such file"),
    "no such name": (
        "mine.py:rihgt",
        "Did you mean right? Functions and classes: over_queries, right, wide.",
    ),
    "several functions": ("mine.py", "say which function"),
    "not a function": ("mine.py:NUMBER", "NUMBER is no function, module or class but int"),
    "no place": ("mine.txt:f", "mine.txt"),
    "an unknown score": ("mine.py:right --score sclaed", "sclaed is not a score. Known:"),
    "an unknown framework": ("mine.py:right --framework numpie", "numpie is not a framework"),
    "a file that fails": (
        "fails.py:f",
        "fails.py:2: importing it ended with ZeroDivisionError: division by zero.",
    ),
    "a file that is no Python": ("broken.py:f", "broken.py:1: importing it ended with SyntaxError:"),
    "a file that exits": ("exits.py:f", "importing it ended with SystemExit: 3."),
    "a file that fails inside a library": ("deep.py:f", "deep.py:2: importing it ended with ValueError: "),
    "a file with a NUL": ("nul.py:f", "regard: nul.py: importing it ended with SyntaxError: "),
    "an error that cannot be written": ("mute.py:f", "mute.py:3: importing it ended with Mute: no text."),
    "a name that fails": ("names.py:f", "names.py: getting f ended with RuntimeError: closed."),
    "no such module": ("nowhere.at_all:f", "regard: nowhere.at_all: importing it ended with ModuleNotFound"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_is_one_sentence_and_status_2(case, file, command):
    (file.parent / "fails.py").write_text("def f(): ...\n1 / 0\n")
    (file.parent / "broken.py").write_text("def f(:\n")
    (file.parent / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (file.parent / "deep.py").write_text("import numpy\nnumpy.stack([])\n")
    (file.parent / "nul.py").write_bytes(b"x = 1\0\n")
    (file.parent / "mute.py").write_text("class Mute(Exception):\n    def __str__(self): 1 / 0\nraise Mute\n")
    (file.parent / "names.py").write_text("def __getattr__(name):\n    raise RuntimeError('closed')\n")
    arguments, message = REFUSED[case]
    ended = command("verify", *arguments.split(), cwd=file.parent)
    assert ended.status == 2, ended
    assert message in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""

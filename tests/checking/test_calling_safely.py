"""Somebody's function is asked without harm, whatever it does: what goes wrong is in the answer."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from regard.checking.calling import examine
from regard.checking.problems import Problem
from regard.errors import InputError


def right(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    scores = query @ np.swapaxes(keys, -1, -2) / query.shape[-1] ** 0.5
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True) @ values


def problem(**changes: Any) -> Problem:
    rng = np.random.default_rng(5)
    sizes = {"query": (2, 3, 4, 6), "keys": (2, 3, 5, 6), "values": (2, 3, 5, 7)}
    return Problem(**{name: rng.normal(size=size) for name, size in sizes.items()}, **changes)


def test_what_it_raises_is_its_answer():
    def fails(q, k, v):
        raise RuntimeError("no such luck\nand more")

    subject = examine(fails)
    answer = subject.ask(problem())
    assert (answer.context, answer.error, answer.hung) == (None, "RuntimeError: no such luck", False)


@pytest.mark.parametrize("returned", [None, "text", 3.0, [], np.zeros((2, 2))])
def test_what_is_no_context_is_an_error_that_says_what_came(returned):
    answer = examine(lambda q, k, v: returned).ask(problem())
    assert answer.context is None
    assert answer.error.startswith("it returned ") and "a context" in answer.error


def test_who_does_not_come_back_is_interrupted(monkeypatch):
    from regard.checking import subject as module

    monkeypatch.setattr(module, "SECONDS", 0.2)

    def hangs(q, k, v):
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    subject = examine(hangs, framework="numpy")
    answer = subject.ask(problem())
    assert answer.hung and answer.context is None


def test_inputs_that_are_written_to_are_named_and_the_problem_stays_as_it_was():
    def writes(query, keys, values):
        query -= 1
        values *= 2
        return right(query, keys, values)

    asked = problem()
    before = asked.query.copy()
    assert examine(writes).ask(asked).changed == ("query", "values")
    np.testing.assert_array_equal(asked.query, before)
    assert examine(right).ask(asked).changed == ()


def test_what_it_prints_is_not_shown_and_what_it_draws_disturbs_nobody(capsys):
    def noisy(q, k, v):
        print("here I am", file=sys.stderr)
        print("and here")
        np.random.seed(3)
        random.seed(3)
        return right(q, k, v)

    np.random.seed(1)
    random.seed(1)
    expected = np.random.random(), random.random()
    np.random.seed(1)
    random.seed(1)
    examine(noisy).ask(problem())
    assert (np.random.random(), random.random()) == expected
    assert capsys.readouterr() == ("", "")


def test_who_draws_draws_something_else_each_time():
    def drops(q, k, v):
        return right(q, k, v) * (np.random.random(v.shape[-1]) > 0.5)

    subject = examine(drops)
    answers = [subject.ask(problem()).context for _ in range(8)]
    assert any((answers[0] != each).any() for each in answers[1:])


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_dtype_is_handed_in_and_the_one_that_comes_is_told(dtype):
    assert examine(right).ask(problem(dtype=dtype)).dtype == dtype


def test_who_cannot_be_called_at_all_is_an_input_error():
    with pytest.raises(InputError, match=r"a function, a module or a class is needed\. Got ndarray"):
        examine(np.zeros(3))


def test_a_class_that_cannot_be_made_answers_with_the_reason():
    class Needs:
        def __init__(self, something_special):
            pass

    answer = examine(Needs).ask(problem())
    assert "something_special" in answer.error


def test_a_numpy_function_loads_neither_torch_nor_jax():
    code = (
        "import sys, numpy as np\n"
        "from regard.checking.calling import examine\n"
        "subject = examine(lambda q, k, v: np.exp(q @ k.swapaxes(-1, -2)) @ v)\n"
        "assert subject.axes == 'BHQD'\n"
        "print(*[name for name in ('torch', 'jax', 'keras') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

"""`verify` on attention that people write: no right function is called wrong, and the wrong are named."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from regard.checking.verify import verify

SUBJECTS = Path(__file__).parent / "subjects"


def cases(name: str, kind: str = "CASES") -> list[Any]:
    for library in ("torch", "jax"):
        if name.endswith(library):
            pytest.importorskip(library)
    spec = importlib.util.spec_from_file_location(f"subjects_{name}", SUBJECTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [
        pytest.param(*case, id=f"{name}-{getattr(case[0], '__name__', type(case[0]).__name__)}-{place}")
        for place, case in enumerate(getattr(module, kind))
    ]


RIGHT = [case for name in ("right_numpy", "right_torch", "right_jax") for case in cases(name)]
WRONG = [case for name in ("wrong_numpy", "wrong_torch", "wrong_jax") for case in cases(name)]


@pytest.mark.parametrize(("function", "options"), RIGHT)
def test_a_right_function_passes(function, options):
    report = verify(function, **options)
    assert report.passed, report
    assert not [mistake for mistake in report.mistakes if mistake.severity == "wrong"], report


@pytest.mark.parametrize(("function", "names", "options"), WRONG)
def test_a_wrong_function_is_caught_and_named(function, names, options):
    report = verify(function, **options)
    assert not report.passed, report
    assert not names or names & {mistake.name for mistake in report.mistakes}, report


@pytest.mark.parametrize(("function", "names", "options"), cases("wrong_torch", "FRAGILE"))
def test_a_fragile_function_passes_and_is_named(function, names, options):
    report = verify(function, **options)
    assert report.passed and not report.robust, report
    assert names & {mistake.name for mistake in report.mistakes}, report

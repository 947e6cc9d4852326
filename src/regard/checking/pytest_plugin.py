"""A plugin for pytest: where ``assert regard.verify(f)`` fails, the whole report is shown below it.

pytest itself shows 240 characters of what was asserted, on one line.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Add the reports that are at hand where an assertion failed."""
    result = yield
    if call.excinfo is not None and call.excinfo.errisinstance(AssertionError):
        for place, found in enumerate(_reports(call.excinfo.tb)):
            heading = "regard.verify" if place == 0 else f"regard.verify ({place + 1})"
            result.sections.append((heading, str(found)))
    return result


def _reports(traceback: Any) -> list[Any]:
    """The reports that did not pass among the variables of the frame that failed, pytest's own included."""
    module = sys.modules.get("regard.checking.report")
    if module is None:
        return []
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    found: list[Any] = []
    for value in traceback.tb_frame.f_locals.values():
        if isinstance(value, module.Report) and not value.robust and value not in found:
            found.append(value)
    return found

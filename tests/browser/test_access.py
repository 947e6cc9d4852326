"""What axe-core, the field's checker of accessibility, says of every view."""

from __future__ import annotations

import numpy as np
import pytest

from regard.record import AttentionRecord

WORDS = ("the", "cat", "sat", "down")


@pytest.fixture(scope="module")
def checker() -> str:
    """The script of axe-core."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    from importlib.resources import files

    return files(package.__name__).joinpath("axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def record() -> AttentionRecord:
    weights = np.random.default_rng(0).dirichlet(np.ones(4), (2, 3, 4))
    entropy = -(weights * np.log(weights)).sum(-1).mean(-1)
    return AttentionRecord(
        weights,
        WORDS,
        WORDS,
        axes=("layer", "head", "query", "key"),
        title="a model",
        statistics={"entropy": entropy},
        metadata={"belief": "Somewhat."},
        sure=frozenset({(1, 1)}),
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "state",
    [
        "view=alignment&query=1&key=1",
        "view=heads&layer=1&head=1",
        "view=heads&sort=entropy",
        "view=heads&layer=1&head=1&open=1&query=1&key=1",
        "view=tokens&query=2",
        "view=zoom&box=0,0,2",
        "view=compare&query=1&key=1",
    ],
)
def test_axe_finds_no_violation(open_view, checker, record, state, theme):
    page = open_view(record, f"#{state}&theme={theme}", bypass_csp=True)
    page.evaluate(
        "document.querySelectorAll('details').forEach((one) => { one.open = one.offsetParent !== null; })"
    )
    page.add_script_tag(content=checker)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []

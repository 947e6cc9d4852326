"""The front door: a few names, each of which works, and nothing heavy behind it until it is used."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import pytest

import regard

NAMES = {
    "Attention",
    "Report",
    "attend",
    "attention",
    "fit",
    "load",
    "look",
    "masks",
    "normalizers",
    "positions",
    "scores",
    "statistics",
    "verify",
}

ON_NUMPY = """
import json, sys
import numpy as np
import regard
from regard import masks, normalizers, scores
query, keys, values = np.ones((2, 4)), np.ones((3, 4)), np.ones((3, 5))
mask = np.ones(3, bool)
regard.attend(query, keys, values, score=scores.dot, normalizer=normalizers.softmax, key_mask=mask)
regard.attention(query, keys, values, statistics=("entropy",))
assert regard.verify(regard.attend), regard.verify(regard.attend)
print(json.dumps([name for name in ("torch", "jax", "tokenizers", "matplotlib") if name in sys.modules]))
"""

HELP = """
import sys
from regard.cli.main import app
try:
    app(["{verb}", "--help"])
except SystemExit:
    print("torch" in sys.modules)
"""


def python(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_the_public_names_are_those_that_are_offered():
    assert set(regard.__all__) == NAMES
    assert len(regard.__all__) == len(NAMES)
    assert {*dir(regard)} == NAMES | {"__version__"}
    for name in regard.__all__:
        assert getattr(regard, name) is not None
        assert name in vars(regard), "what has been used is at hand"


def test_a_name_is_the_thing_of_its_home():
    from regard.checking import report, verify
    from regard.core import attention, masks
    from regard.looking import look
    from regard.training.fit import fit
    from regard.training.run import load

    assert regard.attend is attention.attend
    assert regard.attention is attention.attention
    assert regard.masks is masks
    assert (regard.verify, regard.Report) == (verify.verify, report.Report)
    assert (regard.fit, regard.load, regard.look) == (fit, load, look)


def test_everything_can_be_imported_at_once():
    there = python("-c", "from regard import *\nprint(*dir())").split()
    assert {*there} >= NAMES


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(
        AttributeError,
        match=r"module 'regard' has no attribute 'atend'\. It offers Attention, Report, attend, ",
    ):
        _ = regard.atend  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_regard_imports_neither_numpy_nor_torch_nor_jax():
    loaded = python(
        "-c", "import sys, regard; print([n for n in ('numpy', 'torch', 'jax') if n in sys.modules])"
    )
    assert loaded == "[]\n"


def test_attention_on_numpy_imports_neither_torch_nor_jax():
    assert json.loads(python("-c", ON_NUMPY)) == []


def test_the_help_of_every_verb_imports_no_torch():
    for verb in ("demo", "fit", "predict", "evaluate", "look"):
        assert python("-c", HELP.format(verb=verb)).endswith("False\n")


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    python(*arguments)
    return time.perf_counter() - began


@pytest.mark.parametrize(
    ("arguments", "most"),
    [(["-c", "import regard"], 0.15), (["-m", "regard", "--help"], 0.5)],
    ids=["import", "help"],
)
def test_the_front_door_opens_fast(arguments, most):
    """The median of five starts, above that of Python itself, which other work on the machine slows too."""
    found, bare = [], []
    for _ in range(5):
        bare.append(seconds("-c", "pass"))
        found.append(seconds(*arguments))
    assert statistics.median(found) - statistics.median(bare) <= most


def test_python_m_regard_is_regard():
    assert python("-m", "regard", "--version") == f"regard {regard.__version__}\n"
    assert "Usage: " in python("-m", "regard", "-h")


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert regard.__version__ == version("regard")

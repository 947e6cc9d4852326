import subprocess
import sys

import pytest

LOADED = "import sys; print(sorted({'torch', 'jax', 'cupy'} & set(sys.modules)))"


@pytest.mark.parametrize(
    "work",
    [
        "import regard.core",
        "from regard.core import masks, normalizers, scores; from regard.core.attention import attention",
        "from regard.core.attention import attend; attend([1, 0], [[1, 0]], [[1]], causal=True, bias=[[0]])",
    ],
)
def test_numpy_alone_loads_no_other_library(work):
    run = subprocess.run(
        [sys.executable, "-c", f"{work}; {LOADED}"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"

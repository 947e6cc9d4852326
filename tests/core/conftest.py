"""Every convention is tested on NumPy's and on PyTorch's arrays: ``library`` makes and reads both."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Library:
    name: str

    def array(self, data: Any, dtype: str | None = None) -> Any:
        """An array of this library; numbers are float64 unless told otherwise."""
        data = np.asarray(data)
        dtype = dtype or ("bool" if data.dtype == bool else "float64")
        if self.name == "numpy":
            return data.astype(dtype)
        import torch

        return torch.tensor(data).to(getattr(torch, dtype))

    def random(self, *shape: int, seed: int = 0, dtype: str = "float64") -> Any:
        return self.array(np.random.default_rng(seed).normal(size=shape), dtype)

    def numbers(self, array: Any) -> np.ndarray:
        """The same numbers for NumPy to compare."""
        return array if self.name == "numpy" else array.detach().to("cpu").double().numpy()

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")


@pytest.fixture(params=["numpy", "torch"])
def library(request: pytest.FixtureRequest) -> Library:
    if request.param == "torch":
        pytest.importorskip("torch")
    return Library(request.param)

"""regard: attention you can build, train, see and check.

    regard.attend(query, keys, values)        the context, on NumPy, PyTorch and JAX arrays
    regard.attention(query, keys, values)     the same with weights and statistics
    regard.verify(function)                   is this attention function right? which mistake does it make?
    regard.fit("pairs.tsv")                   train an encoder–decoder with attention
    regard.load("runs/pairs")                 open a trained one
    regard.look(model, "a text")              see what it looks at

    regard.scores, normalizers, masks, positions, statistics

Names are loaded on first use, so that importing regard costs next to nothing and never imports PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.checking.report import Report
    from regard.checking.verify import verify
    from regard.core import masks, normalizers, positions, scores, statistics
    from regard.core.attention import Attention, attend, attention
    from regard.looking import look
    from regard.training.fit import fit
    from regard.training.run import load

__version__ = "0.1.0"

_HOMES = {
    "Attention": "regard.core.attention",
    "Report": "regard.checking.report",
    "attend": "regard.core.attention",
    "attention": "regard.core.attention",
    "masks": "regard.core.masks",
    "normalizers": "regard.core.normalizers",
    "positions": "regard.core.positions",
    "scores": "regard.core.scores",
    "statistics": "regard.core.statistics",
    "fit": "regard.training.fit",
    "load": "regard.training.run",
    "look": "regard.looking",
    "verify": "regard.checking.verify",
}

__all__ = [
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
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regard' has no attribute {name!r}. It offers {', '.join(__all__)}.")
    home = _HOMES[name]
    module = importlib.import_module(home)
    value = module if home.endswith(f".{name}") and not hasattr(module, name) else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

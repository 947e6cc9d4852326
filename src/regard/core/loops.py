"""A step repeated a fixed number of times, in each library's own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from array_api_compat import is_jax_namespace

from regard.core.arrays import Namespace

State = TypeVar("State")


def repeat(xp: Namespace, times: int, step: Callable[[State], State], state: State) -> State:
    """The state after so many steps. JAX compiles the step once, and not as often as it is taken."""
    if is_jax_namespace(xp):
        import jax

        return jax.lax.fori_loop(0, times, lambda _, state: step(state), state)
    for _ in range(times):
        state = step(state)
    return state

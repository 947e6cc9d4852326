"""Arrays of the library that a function is written for, and its modules."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from regard.checking.problems import Framework

LIBRARIES: tuple[Framework, ...] = ("torch", "jax", "numpy")
"""The likeliest first, where code names several."""


def frameworks_of(function: Any) -> list[Framework]:
    """The libraries that it may be written for, the likeliest first."""
    if is_torch_module(function):
        return ["torch"]
    if is_layer(function):
        backends: dict[str, list[Framework]] = {"torch": ["torch"], "jax": ["jax"]}
        return backends.get(_keras_backend(), ["numpy"])
    module, plain = (getattr(each, "__module__", None) or "" for each in (function, unwrapped(function)))
    if module.startswith("torch") or plain.startswith("torch"):
        return ["torch"]
    if plain.startswith("jax") or (module.startswith("jax") and "jit" not in type(function).__name__.lower()):
        return ["jax"]
    used = _libraries_used(function)
    first: list[Framework] = [framework for framework in LIBRARIES if framework in used]
    if type(function).__module__.startswith("jax") or "jaxlib" in type(function).__module__:
        first.insert(0, "jax")
    there: list[Framework] = [framework for framework in LIBRARIES if framework in sys.modules]
    return list(dict.fromkeys([*first, "numpy", *there]))


def _libraries_used(function: Any, depth: int = 2) -> set[str]:
    """The libraries whose names stand in its code, in that of the functions it calls, in its annotations."""
    code = getattr(unwrapped(function), "__code__", None)
    if code is None:
        return set()
    plain = unwrapped(function)
    names = set(code.co_names) | {str(each) for each in getattr(plain, "__annotations__", {}).values()}
    known = {**getattr(plain, "__globals__", {}), **_enclosed(plain)}
    used = set()
    for name in names | set(code.co_freevars):
        thing = known.get(name)
        home = (
            getattr(thing, "__name__", "")
            if inspect.ismodule(thing)
            else getattr(thing, "__module__", "") or ""
        )
        root = str(home).partition(".")[0]
        used |= {library for library in LIBRARIES if root == library or library in str(name).lower()}
        if callable(thing) and depth and root not in LIBRARIES:
            used |= _libraries_used(thing, depth - 1)
    return used


def unwrapped(function: Any) -> Any:
    """The plain function behind partials, bound methods, jit and decorators."""
    for _ in range(8):
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__func__"):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif not hasattr(function, "__code__") and hasattr(type(function).__call__, "__code__"):
            function = type(function).__call__
        else:
            break
    return function


def holds_arrays(function: Any) -> bool:
    """Whether arrays of its own stand in its code: in its closure, or in globals that it names."""
    plain = unwrapped(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return False
    things = [*_enclosed(plain).values(), *(plain.__globals__.get(name) for name in code.co_names)]
    bound = getattr(function, "__self__", None)
    things += list(vars(bound).values()) if hasattr(bound, "__dict__") and not inspect.ismodule(bound) else []
    if not inspect.isfunction(function) and hasattr(function, "__dict__") and not is_torch_module(function):
        things += list(vars(function).values())
    return any(_is_parameter(thing) for thing in _leaves(things))


def _enclosed(function: Any) -> dict[str, Any]:
    """What a function knows from the function that it was made in, by its names."""
    cells = zip(function.__code__.co_freevars, getattr(function, "__closure__", None) or (), strict=False)
    return {name: cell.cell_contents for name, cell in cells if _filled(cell)}


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _is_parameter(thing: Any) -> bool:
    if is_torch_module(thing):
        return has_parameters(thing)
    return hasattr(thing, "dtype") and "float" in str(thing.dtype) and len(getattr(thing, "shape", ())) > 0


def is_torch_module(thing: Any) -> bool:
    """Whether it is a module of PyTorch, made already; Keras's layers, which can be such too, don't count."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module) and not is_layer(thing)


def is_layer(thing: Any) -> bool:
    """Whether it is a layer of Keras."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(thing, keras.layers.Layer)


def _keras_backend() -> str:
    return sys.modules["keras"].config.backend()


def width_of_arrays(function: Any) -> int | None:
    """The features that a method is made for: the rows of the first matrix that its object keeps."""
    owner = getattr(function, "__self__", function)
    if inspect.ismodule(owner) or not hasattr(owner, "__dict__"):
        return None
    for array in _leaves(list(vars(owner).values())):
        if isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind == "f":
            return array.shape[0]
    return None


def _leaves(things: Any) -> list[Any]:
    """What lists, tuples and mappings hold."""
    if isinstance(things, Mapping):
        things = list(things.values())
    return (
        [leaf for each in things for leaf in _leaves(each)] if isinstance(things, list | tuple) else [things]
    )


def is_lazy(module: Any) -> bool:
    """Whether it is a module of PyTorch that makes its parameters when it is called first."""
    if not is_torch_module(module):
        return False
    lazy = sys.modules["torch"].nn.parameter.UninitializedParameter
    return any(isinstance(parameter, lazy) for parameter in module.parameters())


def has_parameters(module: Any) -> bool:
    """Whether a module of PyTorch has matrices of its own."""
    return is_lazy(module) or any(parameter.ndim > 0 for parameter in module.parameters())


def evaluating(function: Any) -> Any:
    """The same, as a copy in evaluation where it is a module."""
    if not is_torch_module(function):
        return function
    try:
        function = copy.deepcopy(function)
    except Exception:
        return function
    return function.eval()


def dtypes_of(framework: Framework) -> set[str]:
    """The dtypes that the library has."""
    if framework == "numpy":
        return {"float64", "float32", "float16"}
    if framework == "jax":
        import jax

        wide = {"float64"} if jax.config.jax_enable_x64 else set()  # type: ignore[attr-defined]
        return wide | {"float32", "float16", "bfloat16"}
    return {"float64", "float32", "float16", "bfloat16"}


def array(framework: Framework, numbers: np.ndarray, dtype: str | None = None) -> Any:
    """The numbers in the library, in a dtype by name; without it as they are."""
    if framework == "torch":
        import torch

        made = torch.tensor(numbers)
        return made.to(getattr(torch, dtype)) if dtype else made
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.asarray(numbers, dtype=dtype) if dtype else jnp.asarray(numbers)
    return np.array(numbers, dtype=dtype or numbers.dtype)


def numbers(thing: Any) -> np.ndarray | None:
    """An array of any library as NumPy's float64; None where it is none."""
    if hasattr(thing, "detach"):
        thing = thing.detach().cpu()
        thing = thing.double().numpy() if not thing.is_complex() else None
    if thing is None or isinstance(thing, str | bytes | bool) or callable(thing):
        return None
    try:
        found = np.asarray(thing)
        return found.astype(np.float64) if found.dtype != object else None
    except (TypeError, ValueError):
        return None


def dtype_of(thing: Any) -> str:
    """The plain name of an array's dtype."""
    return str(getattr(thing, "dtype", type(thing).__name__)).rpartition(".")[2]


def differentiated(
    framework: Framework, arrays: Mapping[str, Any], output: Callable[[Mapping[str, Any]], Any], weights: Any
) -> dict[str, np.ndarray]:
    """The gradient of Σ output · weights towards each array."""
    if framework == "torch":
        import torch

        with torch.enable_grad():
            tracked = {name: each.detach().clone().requires_grad_() for name, each in arrays.items()}
            total = (output(tracked) * torch.tensor(weights)).sum()
            found = torch.autograd.grad(total, list(tracked.values()), allow_unused=True)
        pairs: Iterable[tuple[str, Any]] = zip(tracked, found, strict=True)
        return {
            name: np.zeros(arrays[name].shape) if gradient is None else numbers(gradient)  # type: ignore[misc]
            for name, gradient in pairs
        }
    import jax
    import jax.numpy as jnp

    names = list(arrays)

    def total_of(*values: Any) -> Any:
        return jnp.sum(output(dict(zip(names, values, strict=True))) * jnp.asarray(weights, jnp.float32))

    found = jax.grad(total_of, argnums=tuple(range(len(names))))(*arrays.values())
    return {name: np.asarray(gradient, np.float64) for name, gradient in zip(names, found, strict=True)}

"""A function that is known how to call, as a subject to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np

from regard.checking import frameworks, layouts, turns
from regard.checking.arguments import Arguments, counts
from regard.checking.identity import with_identities
from regard.checking.parameters import Parameter
from regard.checking.plan import Plan
from regard.checking.problems import Answer, Problem, Role, Subject
from regard.checking.running import Chance, TooLong, quietly, within
from regard.checking.widths import bridge

SECONDS = 4.0
FIRST_SECONDS = 20.0
"""What a call may take, and what the first may, in which a library compiles."""


class Called(Subject):
    """A function with a plan of how to call it."""

    def __init__(self, function: Any, plan: Plan) -> None:
        self.function, self.plan = function, plan
        self.name, self.description, self.framework = plan.name, plan.description, plan.framework
        self.axes = layouts.AXES[plan.layout]
        self.out = "BQHD" if plan.swapped else plan.layout
        dtypes = frameworks.dtypes_of(plan.framework)
        self.dtypes = {function.compute_dtype} & dtypes if frameworks.is_layer(function) else dtypes
        self.projected, self.heads, self.grouped = plan.projected, plan.heads, plan.grouped
        self.width = plan.width or (plan.size[4] if plan.heads > 1 or plan.projected else None)
        self.others = {"keys": plan.key_width, "values": plan.value_width}
        self.roles: dict[str, Parameter] = {}
        for parameter in plan.parameters:
            self.roles.setdefault(parameter.role, parameter)
        self.inputs = self._inputs()
        self.arguments = Arguments(function, plan, self.inputs)
        self.takes_mask = bool(plan.mask_form)
        self.takes_key_mask = "key_mask" in self.roles
        self.causal = self._causality()
        self.differentiable = plan.framework != "numpy" and not plan.weights_alone
        self.gives_weights, self.hangs, self.asked = False, 0, 0
        self.chance = Chance()
        self.last = Answer()
        self._wide = cast(Any, None)

    def given_up(self) -> Called:
        """The same, which is not waited for again."""
        self.hangs = 2
        return self

    @property
    def hung(self) -> bool:
        """Whether it did not come back when it was asked last."""
        return self.last.hung

    def _inputs(self) -> Literal["separate", "memory", "self"]:
        if "query" in self.roles and "keys" in self.roles:
            return "separate"
        return "memory" if "memory" in self.roles and self.roles["memory"].required else "self"

    def _causality(self) -> Literal["always", "flag", "never"]:
        if self.plan.always_causal:
            return "always"
        return "flag" if "causal" in self.roles else "never"

    def first_problem(self, *, square: bool = False) -> Problem:
        """A problem of random numbers in the sizes of the plan; square has as many queries as keys."""
        b, h, q, k, d, v = self.plan.size
        rng = np.random.default_rng(11)
        h = h if "H" in self.axes else 1
        b = b if "B" in self.axes else 1
        q = 1 if self.axes == "D" else k if square or self.inputs == "self" else q
        key_heads = h // 2 if self.grouped else h
        query = rng.normal(size=(b, h, q, d))
        keys = query if self.inputs == "self" else rng.normal(size=(b, key_heads, k, d))
        values = rng.normal(size=(b, key_heads, k, v)) if self.inputs == "separate" else keys
        dtype = "float64" if "float64" in self.dtypes else "float32"
        return Problem(query, keys, values, dtype=dtype)

    def tried(self) -> bool:
        """Whether it answers its first problem."""
        if self.plan.failure or not self.answers(self.first_problem()):
            return False
        if self._wide is not None and frameworks.is_lazy(self.function):
            self.function = self._wide[1]  # The first call made its parameters.
        return True

    def answers(self, problem: Problem) -> bool:
        """Whether a context comes back."""
        self.last = self.ask(problem)
        return self.last.context is not None

    def other_width(self) -> int | None:
        """The features of what came back, where all but those are what a context has."""
        problem = self.first_problem()
        wanted = layouts.laid_out(
            self.out, np.zeros((*problem.query.shape[:3], problem.values.shape[-1])), query=True
        ).shape
        came = self.last.shape
        fits = len(came) == len(wanted) > 0 and came[:-1] == wanted[:-1]
        return came[-1] if fits and came[-1] != problem.keys.shape[2] else None

    def nearer(self, other: Called) -> bool:
        """Whether it came nearer to an answer: an array of another form is nearer than an error."""
        return bool(self.last.shape) and not other.last.shape

    def can(self, problem: Problem) -> bool:
        if problem.dtype not in self.dtypes:
            return False
        if problem.mask is not None:
            if not self.takes_mask:
                return False
            if not self._mask_fits(problem.mask):
                return False
        if problem.key_mask is not None and not self._key_mask_fits(problem.key_mask):
            return False
        if problem.causal and self.causal == "never":
            return False
        if self.width is not None and problem.query.shape[-1] != self.width:
            return False
        return "H" in self.axes or problem.query.shape[1] == 1

    def _mask_fits(self, mask: np.ndarray) -> bool:
        form = self.plan.mask_form
        same_items = "b" in form or "n" in form or bool((mask == mask[:1]).all())
        return same_items and ("h" in form or mask.shape[1] == 1 or bool((mask == mask[:, :1]).all()))

    def _key_mask_fits(self, key_mask: np.ndarray) -> bool:
        if not self.takes_key_mask:
            return False
        if not counts(self.roles["key_mask"].name):
            return True
        lengths = key_mask.sum(-1, keepdims=True)
        return bool((key_mask == (np.arange(key_mask.shape[-1]) < lengths)).all())

    def ask(self, problem: Problem) -> Answer:
        if self.plan.failure:
            return Answer(error=self.plan.failure)
        if self.hangs > 1:
            return Answer(hung=True, error="TimeoutError: it does not come back")
        if self.plan.layout in layouts.ONE_AT_A_TIME and problem.query.shape[2] > 1:
            return self._in_turn(problem)
        seconds = SECONDS if self.asked else FIRST_SECONDS if self.framework == "jax" else SECONDS
        self.asked += 1
        try:
            with quietly(), self.chance.apart():
                return within(seconds, lambda: self._answer(problem))
        except TooLong:
            self.hangs += 1
            return Answer(hung=True, error=f"TimeoutError: nothing came back in {seconds:.0f} seconds")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            first, *_ = str(error).strip().splitlines() or [""]
            return Answer(error=f"{type(error).__name__}: {first}")

    def _in_turn(self, problem: Problem) -> Answer:
        """Several queries of a function that takes one at a time."""
        answers = []
        for part in turns.rows(problem):
            answers.append(self.ask(part))
            if answers[-1].context is None:
                return answers[-1]
        return turns.joined(answers)

    def _answer(self, problem: Problem) -> Answer:
        arrays = self._arrays(problem)
        before = {name: frameworks.numbers(each) for name, each in arrays.items()}
        returned = self._call(problem, arrays)
        changed = tuple(
            name
            for name, each in arrays.items()
            if not np.array_equal(
                cast(Any, before[name]), cast(Any, frameworks.numbers(each)), equal_nan=True
            )
        )
        context, weights = self._found(problem, returned)
        self.gives_weights = self.gives_weights or weights is not None
        if context is None and weights is not None and self.plan.weights_alone:
            came = next(each for each in layouts.arrays_in(returned) if hasattr(each, "shape"))
            found = layouts.averaged(weights, problem.values)
            dtype, shape = frameworks.dtype_of(came), tuple(came.shape)
            return Answer(context=found, weights=weights, dtype=dtype, shape=shape, changed=changed)
        if context is None:
            shapes = [tuple(getattr(each, "shape", ())) for each in layouts.arrays_in(returned)]
            shape = next((shape for shape in shapes if shape), ())
            came = f"an array {shape}" if shape else type(returned).__name__
            wanted = (*problem.query.shape[:3], problem.values.shape[-1])
            expected = layouts.laid_out(self.plan.layout, np.zeros(wanted), query=True).shape
            return Answer(error=f"it returned {came} where a context {expected} was expected", shape=shape)
        numbers = frameworks.numbers(context)
        shaped = layouts.context_back(self.out, cast(np.ndarray, numbers), self._context_shape(problem))
        fitted = self._fitted(problem)
        if fitted is not None and shaped is not None:
            shaped = shaped @ fitted
        gradients: Mapping[str, np.ndarray] = {}
        if problem.gradients and self.differentiable:
            place = [each is context for each in layouts.arrays_in(returned)].index(True)
            gradients = self._gradients(problem, place)
        return Answer(
            context=shaped,
            weights=weights,
            dtype=frameworks.dtype_of(context),
            shape=tuple(context.shape),
            changed=changed,
            gradients=gradients,
        )

    def _context_shape(self, problem: Problem) -> tuple[int, ...]:
        return (*problem.query.shape[:3], self.plan.out_width or problem.values.shape[-1])

    def _fitted(self, problem: Problem) -> np.ndarray | None:
        """What makes as many features of a context as there are in the values; None where there are."""
        if not self.plan.out_width:
            return None
        return bridge(self.plan.out_width, problem.values.shape[-1])

    def _found(self, problem: Problem, returned: Any) -> tuple[Any, np.ndarray | None]:
        """The context as it came, and the weights in the axes of the problem."""
        context = weights = None
        shape = self._context_shape(problem)
        map_shape = (*problem.query.shape[:3], problem.keys.shape[2])
        arrays = [each for each in layouts.arrays_in(returned) if frameworks.numbers(each) is not None]
        for each in arrays:
            numbers = cast(np.ndarray, frameworks.numbers(each))
            fits = numbers.ndim > 0 and layouts.context_back(self.out, numbers, shape) is not None
            could_be = layouts.weights_back(self.plan.layout, numbers, map_shape, self.heads)
            may_be_both = fits and could_be is not None and len(arrays) > 1
            if context is None and fits and not (may_be_both and weights is None and self._map_first):
                context = each
            elif weights is None and could_be is not None:
                weights = could_be
        return context, weights

    @cached_property
    def _map_first(self) -> bool:
        """Whether the weights come before the context, found where no two axes are alike."""
        *_, k, _, v = self.plan.size
        if k == v:
            return False
        problem = self.first_problem()
        returned = self._call(problem, self._arrays(problem))
        arrays = layouts.arrays_in(returned)
        if len(arrays) < 2:
            return False
        first = frameworks.numbers(arrays[0])
        context = self._context_shape(problem)
        return first is not None and layouts.context_back(self.out, first, context) is None

    def _arrays(self, problem: Problem) -> dict[str, Any]:
        """The arrays of a problem by their roles, as the function takes them."""
        names: dict[str, tuple[Role, ...]] = {
            "separate": ("query", "keys", "values"),
            "memory": ("query", "keys"),
            "self": ("query",),
        }
        found = {}
        for name in names[self.inputs]:
            numbers = getattr(problem, name)
            if other := self.others.get(name):
                numbers = numbers @ bridge(numbers.shape[-1], other)
            numbers = layouts.laid_out(self.plan.layout, numbers, query=name == "query")
            found[name] = frameworks.array(self.framework, numbers, problem.dtype)
        return found

    def _call(self, problem: Problem, arrays: Mapping[str, Any]) -> Any:
        given: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in self.plan.parameters:
            value, there = self.arguments.of(parameter, problem, arrays)
            if not there:
                continue
            if parameter.positional:
                given.append(value)
            else:
                named[parameter.name] = value
        if self.plan.one_array:
            return self.function([arrays[name] for name in ("query", "values", "keys")], **named)
        return self._target(problem.dtype)(*given, **named)

    def _target(self, dtype: str) -> Any:
        """The function; a module as a copy in the dtype."""
        if not frameworks.is_torch_module(self.function):
            return self.function
        if self._wide is None or self._wide[0] != dtype:
            import copy

            import torch

            try:
                converted = copy.deepcopy(self.function).to(getattr(torch, dtype))
            except Exception:
                converted = self.function
            self._wide = (dtype, converted)
        return self._wide[1]

    def _gradients(self, problem: Problem, place: int) -> dict[str, np.ndarray]:
        """The gradients of the array at a place in what is returned, whose numbers JAX does not know then."""
        arrays = self._arrays(problem)
        given = (*problem.query.shape[:3], problem.values.shape[-1])
        cotangent = np.ones(given) if problem.cotangent is None else problem.cotangent
        fitted = self._fitted(problem)
        cotangent = cotangent if fitted is None else cotangent @ fitted.T

        def output(tracked: Mapping[str, Any]) -> Any:
            return layouts.arrays_in(self._call(problem, tracked))[place]

        context = output(arrays)
        weights = layouts.laid_out(self.out, cotangent, query=True).reshape(tuple(context.shape))
        try:
            found = frameworks.differentiated(self.framework, arrays, output, weights)
        except Exception:
            return {}
        back = {}
        for name, gradient in found.items():
            *axes, features = getattr(problem, name).shape
            other = self.others.get(name)
            laid = layouts.gradient_back(self.plan.layout, gradient, (*axes, other or features))
            back[name] = laid @ bridge(features, other).T if other and laid is not None else laid
        return {name: each for name, each in back.items() if each is not None}

    def call(self, problem: Problem) -> str:
        return f"{self.name}({', '.join(self.arguments.shown(problem))})"

    @property
    def _is_bridged(self) -> bool:
        return any((self.plan.out_width, *self.others.values()))

    def plain(self) -> Subject | None:
        return self._plain

    @cached_property
    def _plain(self) -> Called | None:
        function = with_identities(self.function) if self.projected and not self._is_bridged else None
        if function is None:
            return None
        plain = Called(function, replace(self.plan, projected=False, width=self.width))
        return plain if plain.tried() else None

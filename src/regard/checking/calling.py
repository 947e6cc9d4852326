"""Find out how to call an attention function: in which axes, with which masks, and what comes back."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from regard.checking import frameworks, widths
from regard.checking.construction import made
from regard.checking.layouts import LAYOUTS, ONE_AT_A_TIME
from regard.checking.parameters import Parameter, parameters
from regard.checking.plan import MASK_FORMS, Plan
from regard.checking.problems import Framework, Problem, Subject
from regard.checking.running import quietly, within
from regard.checking.subject import Called
from regard.checking.widths import Widths
from regard.errors import InputError

SIZES = ((3, 4, 2, 5, 6, 7), (3, 4, 2, 5, 6, 6), (3, 4, 5, 5, 6, 6))
"""(B, H, Q, K, D, V) of what is tried first: all axes differ, then as many as a function can do with."""


def examine(
    function: Any,
    *,
    heads: int | None = None,
    width: int | None = None,
    grouped: bool | None = None,
    framework: Framework | None = None,
) -> Subject:
    """Find out how to call an attention function, module or class.

    Args:
        function: what is to be judged. A class is made an object first; a module is judged as a copy in
            evaluation.
        heads, width, grouped, framework: of its arrays, each found out where it is not said.

    Returns:
        A Subject. Where no way of calling it works, one that answers every problem with the reason.

    Raises:
        InputError: the thing can't be called at all.
    """
    if not callable(function):
        raise InputError(
            f"verify(): a function, a module or a class is needed. Got {type(function).__name__}; "
            "hand in the function itself, not what it returns."
        )
    name = _name(function)
    if inspect.isclass(function):
        try:
            with quietly():
                function = within(20.0, lambda kind=function: _callable(made(kind, width=width, heads=heads)))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return _hopeless(function, name, framework, f"{type(error).__name__}: {error}")
    target = frameworks.evaluating(function)
    best: Called | None = None
    alone: list[Plan] = []
    libraries: list[Framework] = [framework] if framework else frameworks.frameworks_of(target)
    for library in libraries:
        for plan in _plans(target, name, library, heads=heads, width=width, grouped=grouped):
            subject = Called(target, plan)
            if answering := _answering(subject):
                return _completed(answering, grouped=grouped)
            if subject.inputs == "memory" and subject.last.shape:
                alone.append(replace(plan, weights_alone=True))
            if subject.hung:
                return subject.given_up()
            best = subject if best is None or subject.nearer(best) else best
    for subject in (Called(target, plan) for plan in alone):
        if subject.tried():
            return _completed(subject, grouped=grouped)
    return best or _hopeless(target, name, framework, "TypeError: it takes no arrays")


def _answering(subject: Called) -> Called | None:
    """The subject, or the same with what comes back read in another way, if it answers its first problem."""
    if subject.tried():
        return subject
    others = (Called(subject.function, plan) for plan in _read_otherwise(subject))
    return next((other for other in others if other.tried()), None)


def _read_otherwise(subject: Called) -> Iterator[Plan]:
    plan = subject.plan
    if plan.layout == "BHQD" and subject.last.shape:
        yield replace(plan, swapped=True)
    if plan.projected and not plan.out_width and (other := subject.other_width()):
        yield replace(plan, out_width=other)


def _callable(thing: Any) -> Any:
    """The object, or the method of it that is meant to be called."""
    if callable(thing):
        return thing
    for name in ("forward", "call", "attend", "attention", "compute"):
        if callable(getattr(thing, name, None)):
            return getattr(thing, name)
    raise TypeError(f"{type(thing).__name__} objects can't be called, and have no method forward or call")


def _name(function: Any) -> str:
    plain = frameworks.unwrapped(function)
    if hasattr(function, "__name__"):
        return function.__name__
    if hasattr(function, "func"):
        return getattr(function.func, "__name__", "function")
    if frameworks.is_torch_module(function) or plain is type(function).__call__:
        return type(function).__name__
    return getattr(plain, "__name__", type(function).__name__)


def _description(function: Any) -> str:
    plain = frameworks.unwrapped(function)
    documented = [plain, getattr(type(function), "forward", None), getattr(type(function), "call", None)]
    if not inspect.isroutine(function) and not hasattr(function, "__wrapped__"):
        documented.append(type(function))
    texts = [getattr(each, "__doc__", None) for each in documented if each is not None]
    return "\n".join(text for text in texts if isinstance(text, str))


def _plans(
    function: Any,
    name: str,
    framework: Framework,
    *,
    heads: int | None,
    width: int | None,
    grouped: bool | None,
) -> Iterator[Plan]:
    """Ways of calling it, the likeliest first."""
    called = function
    if frameworks.is_torch_module(function):
        called = function.forward
    elif frameworks.is_layer(function):
        called = function.call
    known = parameters(called)
    one_array = frameworks.is_layer(function) and bool(known) and known[0].name == "inputs"
    if known and one_array:
        known = [*_positional(3), *(each for each in known if each.role in ("causal", "training"))]
    if known and type(function).__module__.startswith("torch.nn"):
        # There it is a hint that needs the mask as well, and no switch.
        known = [each for each in known if each.role != "causal"]
    ways = [known] if known else [_positional(count) for count in (3, 2, 1)]
    module = frameworks.is_torch_module(function)
    projected = frameworks.has_parameters(function) if module else frameworks.holds_arrays(function)
    own = widths.own(function, width)
    if frameworks.is_layer(function) and not one_array:
        own = own or [Widths(8)]  # It is made for the width that comes first.
    common = Plan(
        name=name,
        description=_description(function),
        framework=framework,
        parameters=[],
        layout="",
        projected=projected or (frameworks.is_layer(function) and not one_array),
        heads=1,
        width=None,
        grouped=bool(grouped),
        one_array=one_array,
    )
    for each in own or [Widths()]:
        fitting = replace(common, width=each.query, key_width=each.keys, value_width=each.values)
        for way in ways:
            inside = _heads_inside(function, called, way, heads)
            for plan in _sized(function, replace(fitting, parameters=way), inside, told=heads is not None):
                yield plan
                if any(parameter.role == "mask" and parameter.required for parameter in way):
                    yield from (replace(plan, mask_form=form) for form in MASK_FORMS[plan.layout][1:])


def _sized(function: Any, plan: Plan, inside: int, *, told: bool) -> Iterator[Plan]:
    """The plan with all axes and sizes; told whether somebody said how many heads there are."""
    splits = any(parameter.role == "heads" for parameter in plan.parameters)
    for size, layout in _ordered(_layouts(function, plan, told), plan.grouped):
        heads = inside if layout not in ("BHQD", "BQHD") else 1
        for features in [plan.width] if plan.width else widths.usual(heads, plan.projected or splits):
            values = size[5] if features == size[4] else features
            yield replace(plan, layout=layout, heads=heads, size=(*size[:4], features, values))


def _heads_inside(function: Any, called: Any, way: list[Parameter], heads: int | None) -> int:
    """Into how many heads it splits its features by itself."""
    object_of_its_own = hasattr(function, "__self__") or not inspect.isroutine(function)
    own = (widths.own_number(function, widths.HEADS) if object_of_its_own else None) or 1
    if heads or own > 1:
        return heads or own
    for each in way:
        if each.role == "heads":
            default = inspect.signature(called).parameters[each.name].default
            return default if isinstance(default, int) else 2
    return 1


def _ordered(names: list[str], grouped: bool) -> Iterator[tuple[tuple[int, ...], str]]:
    """Sizes and layouts in the order in which they are tried.

    One query at a time is what is left where as many queries as keys don't work either, unless the
    documentation speaks of it.
    """
    alone = [each for each in names[1:] if each in ONE_AT_A_TIME]
    for group in ([each for each in names if each not in alone], alone):
        for size in SIZES[1:] if grouped else SIZES:
            for layout in group:
                yield size, layout


def _layouts(function: Any, plan: Plan, told: bool) -> list[str]:
    """The axes to be tried, those that its documentation speaks of first."""
    module = type(function).__module__
    if module.startswith("torch.nn") and hasattr(function, "batch_first"):
        return ["BQD" if function.batch_first else "QBD"]
    if frameworks.is_layer(function):
        return ["BQD"]
    layouts: list[str] = list(LAYOUTS)
    if (plan.width and plan.projected) or told:
        layouts = [each for each in layouts if each not in ("BHQD", "BQHD")]
    words = plan.description.replace(" ", "").replace("_", "")
    for written, layout in _WRITTEN:
        if any(each in words for each in written) and layout in layouts:
            layouts.remove(layout)
            layouts.insert(0, layout)
    return layouts


_WRITTEN = (
    (("(Q,D)", "(n,d)", "(N,D)", "(T,D)", "(m,d)", "(L,D)"), "QD"),
    (("(B,Q,D)", "(B,N,E)", "(B,T,C)", "(B,T,D)", "(B,L,D)", "(B,N,D)", "(batch,seq", "(b,n,d)"), "BQD"),
    (("(B,1,E)", "(B,1,D)", "(B,1,H)", "(batch,1,"), "B1D"),
    (("(B,Q,H,D)", "(B,T,H,D)", "(B,L,H,D)", "(B,N,H,D)", "(B,T,N,H)"), "BQHD"),
    (("(B,H,Q,D)", "(B,H,T,D)", "(B,H,L,D)", "(B,H,N,D)", "(batch,heads"), "BHQD"),
)


def _positional(count: int) -> list[Parameter]:
    roles = (("query", "keys", "values"), ("input", "memory"), ("input",))[3 - count]
    return [Parameter(role, role, True, True) for role in roles]  # type: ignore[arg-type]


def _hopeless(function: Any, name: str, framework: Framework | None, reason: str) -> Called:
    plan = Plan(
        name=name,
        description=_description(function),
        framework=framework or "numpy",
        parameters=[],
        layout="QD",
        projected=False,
        heads=1,
        width=None,
        grouped=False,
        failure=reason,
    )
    return Called(function, plan)


GROUPED = re.compile(r"group|gqa|mqa|multi.?query|kv_?heads|repeat_kv", re.IGNORECASE)


def _completed(subject: Called, *, grouped: bool | None) -> Called:
    """The subject, once it is known which masks it takes, and whether it hides the future or shares heads."""
    subject = _with_masks(subject)
    speaks = "grouped" in subject.roles or GROUPED.search(f"{subject.name} {subject.description}")
    if grouped is None and speaks and subject.inputs == "separate" and "H" in subject.axes:
        shared = Called(subject.function, replace(subject.plan, grouped=True))
        if shared.answers(shared.first_problem()):
            subject = shared
    if subject.causal == "never" and _hides_the_future(subject):
        subject = Called(subject.function, replace(subject.plan, always_causal=True))
    return subject


def _with_masks(subject: Called) -> Called:
    """The form in which it takes its mask, if it takes one, and no axis of heads if its key mask has none."""
    plan, problem = subject.plan, subject.first_problem()
    if subject.takes_key_mask and plan.layout in ("BHQD", "BQHD"):
        three = Called(subject.function, replace(plan, layout="BQD"))
        fewer = _without_last_key(three.first_problem())
        if not subject.answers(_without_last_key(problem)) and three.answers(fewer):
            return _with_masks(three)
    if not any(each.role in ("mask", "bias") for each in plan.parameters):
        return subject
    b, _, q, _ = problem.query.shape
    mask = np.ones((b, 1, q, problem.keys.shape[2]), dtype=bool)
    mask[:, :, 0, 1] = mask[:, :, -1, 0] = False
    for numbers in (False, True):
        for form in MASK_FORMS[plan.layout]:
            tried = Called(subject.function, replace(plan, mask_form=form, mask_numbers=numbers))
            if tried.answers(replace(problem, mask=mask)):
                return tried
    return _with_key_mask(subject, problem)


def _with_key_mask(subject: Called, problem: Problem) -> Called:
    """The subject with its mask as a key mask, where it takes it as one and as nothing else."""
    if subject.takes_key_mask or "B" not in subject.axes:
        return subject
    listed = [
        replace(each, role="key_mask") if each.role == "mask" else each for each in subject.plan.parameters
    ]
    tried = Called(subject.function, replace(subject.plan, parameters=listed))
    return tried if tried.answers(_without_last_key(problem)) else subject


def _without_last_key(problem: Problem) -> Problem:
    key_mask = np.ones((problem.keys.shape[0], problem.keys.shape[2]), dtype=bool)
    key_mask[:, -1] = False
    return replace(problem, key_mask=key_mask)


def _hides_the_future(subject: Called) -> bool:
    """Whether a change in one position is seen from there on, and from nowhere before."""
    if subject.plan.layout in ONE_AT_A_TIME:
        return False
    problem = subject.first_problem(square=True)
    before = subject.ask(problem)
    keys, values = problem.keys.copy(), problem.values.copy()
    keys[:, :, 3] += 1.5
    values[:, :, 3] -= 2.5
    query = keys if subject.inputs == "self" else problem.query
    after = subject.ask(
        replace(problem, query=query, keys=keys, values=keys if subject.inputs != "separate" else values)
    )
    if before.context is None or after.context is None or before.context.shape != after.context.shape:
        return False
    changed = np.any(np.abs(after.context - before.context) > 1e-4, axis=(0, 1, 3))
    return not np.any(changed[:3]) and bool(np.all(changed[3:]))

"""What is handed in for each parameter of a function."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from regard.checking import frameworks
from regard.checking.layouts import AXES
from regard.checking.parameters import ARRAYS, Parameter
from regard.checking.plan import MASK_FORMS, Plan
from regard.checking.polarity import Meaning, meaning
from regard.checking.problems import Problem


class Arguments:
    """The arguments of a call: arrays, masks with their meaning, and what is constant.

    Args:
        function: who is called.
        plan: how.
        inputs: as of a Subject.
    """

    def __init__(self, function: Any, plan: Plan, inputs: Literal["separate", "memory", "self"]) -> None:
        self.function, self.plan, self.inputs = function, plan, inputs
        self.roles = {parameter.role for parameter in plan.parameters}

    def of(self, parameter: Parameter, problem: Problem, arrays: Mapping[str, Any]) -> tuple[Any, bool]:
        """What is handed in for a parameter, and whether anything is."""
        role, features = parameter.role, problem.query.shape[-1]
        by_role = {"query": "query", "input": "query", "keys": "keys", "memory": "keys", "values": "values"}
        if role in by_role:
            name = by_role[role]
            if name in arrays and (parameter.required or self.inputs == "separate" or role == "input"):
                return arrays[name], True
            if self.inputs == "memory" and role in ("keys", "values") and parameter.required:
                return arrays["keys"], True
            return None, False
        if role == "mask" or (role == "bias" and "mask" not in self.roles):
            if problem.mask is None and not parameter.required:
                return None, False
            return self._mask(parameter, problem), True
        if role == "key_mask":
            if problem.key_mask is None and not parameter.required:
                return None, False
            return self._key_mask(parameter, problem), True
        if role == "causal":
            return problem.causal, problem.causal or parameter.required or parameter.on
        if role == "grouped":
            return True, self.plan.grouped
        if role == "weight":
            return frameworks.array(self.plan.framework, np.eye(features), problem.dtype), parameter.required
        constants: dict[str, Any] = {
            "heads": self.plan.heads if self.plan.heads > 1 else None,
            "width": features,
            "rate": 0.0,
            "training": False,
            "scale": (features / max(self.plan.heads, 1)) ** -0.5,
            "module": SimpleNamespace(
                training=False, num_key_value_groups=problem.query.shape[1] // problem.keys.shape[1]
            ),
        }
        if role == "rotation":
            shape = (problem.query.shape[0], problem.query.shape[2], features // max(self.plan.heads, 1))
            still = (np.ones(shape), np.zeros(shape))
            return tuple(frameworks.array(self.plan.framework, each, problem.dtype) for each in still), True
        value = constants.get(role)
        wanted = parameter.required or role == "training" or (role == "heads" and self.plan.heads > 1)
        if role == "training" and parameter.name.lower() == "deterministic":
            value = True
        return value, wanted and role in constants

    def shown(self, problem: Problem) -> list[str]:
        """What is handed in, as a user writes it."""
        arrays: dict[str, Any] = {"query": None, "keys": None, "values": None}
        there = []
        for parameter in self.plan.parameters:
            try:
                _, given = self.of(parameter, problem, arrays)
            except Exception:
                given = False
            if given:
                there.append(_written(parameter))
        return there

    def _mask(self, parameter: Parameter, problem: Problem) -> Any:
        """The problem's mask, or one that hides nothing, in its axes and with its meaning."""
        b, h, q, _ = problem.query.shape
        k = problem.keys.shape[2]
        mask = np.ones((b, 1, q, k), dtype=bool) if problem.mask is None else problem.mask
        form = self.plan.mask_form or MASK_FORMS[self.plan.layout][0]
        if form == "bhqk":
            mask = np.broadcast_to(mask, (b, h, q, k))
        elif form == "nqk":
            mask = np.repeat(mask[:, 0], self.plan.heads, axis=0)
        elif form != "b1qk":
            index = {"bqk": np.s_[:, 0], "qk": np.s_[0, 0], "bk": np.s_[:, 0, 0], "k": np.s_[0, 0, 0]}[form]
            mask = mask[index]
        return self._meant(parameter.name, np.array(mask), problem)

    def _key_mask(self, parameter: Parameter, problem: Problem) -> Any:
        b, k = problem.keys.shape[0], problem.keys.shape[2]
        mask = np.ones((b, k), dtype=bool) if problem.key_mask is None else problem.key_mask
        mask = mask if "B" in AXES[self.plan.layout] else mask[0]
        if counts(parameter.name):
            return frameworks.array(self.plan.framework, np.asarray(mask.sum(-1)))
        return self._meant(parameter.name, np.array(mask), problem)

    def _meant(self, name: str, mask: np.ndarray, problem: Problem) -> Any:
        module = (self.function if hasattr(self.function, "__code__") else type(self.function)).__module__
        says: Meaning = meaning(name, self.plan.description, module)
        if says == "added":
            return frameworks.array(self.plan.framework, np.where(mask, 0.0, -np.inf), problem.dtype)
        mask = ~mask if says == "hides" else mask
        return frameworks.array(self.plan.framework, mask, problem.dtype if self.plan.mask_numbers else None)


def _written(parameter: Parameter) -> str:
    if parameter.positional or parameter.role in (*ARRAYS, "weight"):
        return parameter.name
    return f"{parameter.name}={'True' if parameter.role in ('causal', 'grouped') else '…'}"


def counts(name: str) -> bool:
    """Whether a key mask by this name is given as lengths."""
    return "len" in name.lower()

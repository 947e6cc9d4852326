"""What the parameters of somebody's attention function are for, by their names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Role = Literal[
    "query", "keys", "values", "input", "memory", "mask", "key_mask", "bias", "causal", "heads", "weight",
    "width", "rate", "training", "grouped", "scale", "module", "rotation", "unknown",
]  # fmt: skip

NAMES: dict[Role, str] = {
    "query": r"q|xq|quer(y|ies)(_states?|_layer|_seq)?|target|tgt|s|state|dec(oder)?(_\w+)?|hidden|h_t|s_t",
    "keys": r"k|xk|keys?(_states?|_layer|_seq)?|encoder_\w+|enc(oder)?_?\w*|annotations|hs|h_s",
    "values": r"v|xv|vals?|values?(_states?|_layer|_seq)?",
    "input": r"x|xs|inputs?|input_\w+|hidden_states|embedd\w+|sequences?|seq|tokens|src|source|data",
    "memory": r"memory|mem|context|kv|encoder_hidden_states|key_value_states|y|cross_\w+",
    "mask": r"(attn|attention|src|tgt|causal|self|look)?_?masks?|allowed|visible|may_look",
    "key_mask": r"key_?mask|keys_mask|(?!quer|q_)(\w+_)?(pad(ding)?_?mask|lengths?|seqlens?|lens?)",
    "bias": r"(attn|attention|additive|score|position|pos)?_?bias|additive_mask",
    "causal": r"(is_|use_)?causal(_mask|ity)?|use_causal_mask",
    "heads": r"(num|n)_?(attention_)?heads?|heads|nhead|h",
    "weight": r"w_?[a-z0-9]{0,6}|w_(query|queries|keys?|values?|out|output)|"
    r"(query|key|value|out|[qkvo])_(w|weights?|proj\w*|kernel)",
    "width": r"d(_?k|_?q|_?v|_?model|im)?|dim(_k|_key|_head)?|head_dim|(embed|hidden)_?(dim|size)",
    "rate": r"dropout(_p|_rate)?|p_drop|attn_dropout",
    "training": r"train(ing)?|deterministic|is_training",
    "grouped": r"grouped|enable_gqa",
    "scale": r"scal(e|ing)(_factor)?",
    "module": r"module",
    "rotation": r"position_embeddings",
}
"""Patterns of lower-case names, the first that fits."""


@dataclass(frozen=True)
class Parameter:
    """One parameter, and what it is for.

    Attributes:
        name, role: what it is called, and what it is for.
        required: whether it has no default.
        positional: whether it can't be handed in by its name.
        on: whether it is a switch that is on by default.
    """

    name: str
    role: Role
    required: bool
    positional: bool
    on: bool = False


def parameters(function: Callable[..., Any]) -> list[Parameter] | None:
    """The parameters of a function with their roles; None where nobody can know them.

    The three arrays are what attention is about: required parameters in front whose names tell nothing take
    the roles that are left, in the order of query, keys and values.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return _documented(function)
    kinds = inspect.Parameter
    decided = getattr(function, "keywords", {})
    found = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD) or name in decided:
            continue
        required = parameter.default is kinds.empty
        positional = parameter.kind is kinds.POSITIONAL_ONLY
        found.append(Parameter(name, _role(name), required, positional, on=parameter.default is True))
    if not found:
        return None
    return _with_arrays(found)


def _documented(function: Any) -> list[Parameter] | None:
    """The parameters as the first line of the documentation of a built-in function gives them."""
    text = getattr(getattr(function, "func", function), "__doc__", None) or ""
    first = re.match(r"\s*[\w.]+\(([^)]*)\)", text)
    if first is None:
        return None
    decided, done = getattr(function, "keywords", {}), len(getattr(function, "args", ()))
    parts = [part.strip() for part in first[1].split(",")][done:]
    parts = [part for part in parts if part.split("=")[0].split(":")[0].strip() not in decided]
    names = [part.split("=")[0].split(":")[0].strip() for part in parts]
    found = [
        Parameter(name, _role(name), "=" not in part, False)
        for name, part in zip(names, parts, strict=True)
        if name.isidentifier()
    ]
    return _with_arrays(found) if found else None


def _role(name: str) -> Role:
    plain = name.lower().strip("_")
    if name in ("H", "N"):
        return "unknown"
    for role, pattern in NAMES.items():
        if re.fullmatch(pattern, plain):
            return role
    return "unknown"


ARRAYS = ("query", "keys", "values", "input", "memory")


def _with_arrays(found: list[Parameter]) -> list[Parameter]:
    """The same, where names that tell nothing, or the same role twice, are what is still missing."""
    taken: set[str] = set()
    result: list[Parameter] = []
    several = [p for p in found if p.role in ("query", "keys", "values")]
    for p in found:
        role = p.role
        if role in ARRAYS and (role in taken or (role == "input" and len(several) >= 2)):
            role = "unknown"
        if role == "unknown" and p.required:
            left = [each for each in ("query", "keys", "values") if each not in taken]
            others = {each.role for each in found if each is not p}
            left = [each for each in left if each not in others]
            role = left[0] if left else "unknown"
        if role in ARRAYS:
            taken.add(role)
        result.append(replace(p, role=role))  # type: ignore[arg-type]
    return _paired(result)


def _paired(found: list[Parameter]) -> list[Parameter]:
    """Two arrays are the queries' side and a memory, one array is all three."""
    arrays = [p for p in found if p.role in ARRAYS and (p.required or p.role in ("query", "keys", "values"))]
    roles = {p.role for p in arrays}
    required = [p for p in arrays if p.required]
    if {"query", "keys", "values"} <= roles:
        return found
    new: dict[str, Role] = {}
    if {"query", "values"} <= roles or {"query", "keys"} <= roles or len(required) == 2:
        pair = required if len(required) == 2 else arrays
        names = sorted(pair, key=lambda p: p.role not in ("query", "input"))
        new = {names[0].name: "input", names[1].name: "memory"} if len(names) > 1 else {}
    elif len(required) == 1:
        new = {required[0].name: "input"}
    return [replace(p, role=new.get(p.name, p.role)) for p in found]

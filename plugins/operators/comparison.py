"""Comparisons, logic and selection. A comparison has no gradient; what `Where` selects has."""

from __future__ import annotations

import torch

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Operators, always

FUNCTIONS: dict[str, Function] = {
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Where": torch.where,
    "Xor": torch.logical_xor,
}


@hookimpl
def register_operators(operators: Operators) -> None:
    for name, function in FUNCTIONS.items():
        operators.register(name, always(function), since=7)

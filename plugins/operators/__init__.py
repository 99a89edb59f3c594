"""Operators of the differentiable twin, one family a file."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from auditor.operators import Operators


def bundled() -> Operators:
    """A registry of all operators in this folder, without the plugin host: for a notebook or a test."""
    operators = Operators()
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}").register_operators(operators)
    return operators

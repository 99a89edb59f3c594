"""Arithmetic and functions of single entries, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import WRAPPING, type_of, wrapped
from auditor.operators import Builder, Function, Node, Operators, always, straight_through
from auditor.surrogates import STRAIGHT_THROUGH

BROADCASTING = 7
"""The opset since which binary operators broadcast like numpy; before, an axis was named."""

SIGNS: dict[str, Function] = {"Abs": torch.abs, "Neg": torch.neg}
FUNCTIONS: dict[str, Function] = {
    **SIGNS,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Reciprocal": torch.reciprocal,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}
STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "Ceil": torch.ceil,
    "Floor": torch.floor,
    "Round": torch.round,
    "Sign": torch.sign,
}
"""Functions whose derivative is zero wherever it exists."""


ARITHMETIC: dict[str, Function] = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}
WRAP_THEMSELVES = frozenset({"int8", "uint8", "int16", "uint64"})
"""Types whose integers wrap around in torch as they are, uint64 as the int64 of the same bits."""


def whole_arithmetic(function: Function) -> Builder:
    """Small integers wrap around, as they do in the runtime, also where they are carried as floats."""

    def build(node: Node) -> Function:
        kind = type_of(node, 0, 1)
        if kind not in WRAPPING:
            return function

        def run(*parts: Tensor) -> Tensor:
            if not any(part.is_floating_point() for part in parts):
                y = function(*parts)
                return y if kind in WRAP_THEMSELVES else wrapped(y, kind)
            if kind in ("uint32", "uint64"):
                raise node.unsupported(f"{kind} that floats carry, which can't hold what wraps around")
            y = function(*parts)
            return straight_through(y, wrapped(function(*(part.long() for part in parts)), kind).to(y.dtype))

        return run

    return build


def step(node: Node) -> Function:
    hard = STEPS[node.op_type]
    return lambda x: straight_through(x, hard(x))


def is_infinite(node: Node) -> Function:
    negative, positive = (node.attributes.get(f"detect_{sign}", 1) for sign in ("negative", "positive"))
    if negative and positive:
        return torch.isinf
    test = torch.isneginf if negative else torch.isposinf
    return test if negative or positive else lambda x: torch.zeros_like(x, dtype=torch.bool)


def divide(node: Node) -> Function:
    if any(kind.startswith(("int", "uint")) for kind in node.types):
        return lambda a, b: truncated(a, b)
    return lambda a, b: a / b if a.is_floating_point() or b.is_floating_point() else truncated(a, b)


def truncated(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point() or b.is_floating_point():  # integers that a straight-through Cast carries as floats
        quotient = a / b
        return straight_through(quotient, quotient.trunc())
    return torch.div(a, b, rounding_mode="trunc")


def modulo(node: Node) -> Function:
    return torch.fmod if node.attributes.get("fmod", 0) else torch.remainder


def power(node: Node) -> Function:
    """Powers of integers are cut towards zero."""
    if type_of(node, 0).startswith(("int", "uint")):
        return whole_power

    def run(x: Tensor, exponent: Tensor) -> Tensor:
        if exponent.numel() != 1 or exponent.ndim > x.ndim or exponent.requires_grad:
            return torch.pow(x, exponent.to(x.device)).to(x.dtype)
        return torch.pow(x, exponent.item()).to(x.dtype)

    return run


def whole_power(x: Tensor, exponent: Tensor) -> Tensor:
    """Computed in double precision, as in the runtime, but for non-negative powers of integers by integers."""
    exponent = exponent.to(x.device)
    if not x.is_floating_point() and not exponent.is_floating_point() and bool((exponent >= 0).all()):
        return torch.pow(x, exponent).to(x.dtype)
    hard = torch.pow(x.detach().double(), exponent.detach().double()).trunc().to(x.dtype)
    return straight_through(torch.pow(x, exponent).to(x.dtype), hard) if x.is_floating_point() else hard


def power_surrogate(node: Node) -> str | None:
    """Straight-through where the result is cut to a whole number."""
    return STRAIGHT_THROUGH if type_of(node, 0).startswith(("int", "uint")) else None


def folded(combine: Callable[[Tensor, Tensor], Tensor], *, mean: bool = False) -> Callable[[Node], Function]:
    """An operator of any number of inputs, made of one of two."""

    def build(node: Node) -> Function:
        if mean:
            return lambda *parts: reduce(combine, parts) / len(parts)
        return lambda *parts: reduce(combine, parts)

    return build


@hookimpl
def register_operators(operators: Operators) -> None:
    for name, function in FUNCTIONS.items():
        operators.register(name, whole_arithmetic(function) if name in SIGNS else always(function))
    for name in STEPS:
        operators.register(name, step, surrogate="straight-through")
    operators.register("IsInf", is_infinite)
    for name, function in ARITHMETIC.items():
        operators.register(name, whole_arithmetic(function), since=BROADCASTING)
    operators.register("Div", divide, since=BROADCASTING)
    operators.register("Pow", power, since=BROADCASTING, host=[1], surrogate=power_surrogate)
    operators.register("Mod", modulo)
    operators.register("Min", folded(torch.minimum))
    operators.register("Max", folded(torch.maximum))
    operators.register("Sum", folded(torch.add))
    operators.register("Mean", folded(torch.add, mean=True))

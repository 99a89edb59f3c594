"""Arithmetic and functions of single entries, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, straight_through

BROADCASTING = 7
"""The opset since which binary operators broadcast like numpy; before, an axis was named."""

FUNCTIONS: dict[str, Function] = {
    "Abs": torch.abs,
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
    "Neg": torch.neg,
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
    def run(x: Tensor, exponent: Tensor) -> Tensor:
        if exponent.numel() != 1 or exponent.ndim > x.ndim or exponent.requires_grad:
            return torch.pow(x, exponent.to(x.device)).to(x.dtype)
        return torch.pow(x, exponent.item()).to(x.dtype)

    return run


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
        operators.register(name, always(function))
    for name in STEPS:
        operators.register(name, step, surrogate="straight-through")
    operators.register("IsInf", is_infinite)
    for name, binary in (("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul)):
        operators.register(name, always(binary), since=BROADCASTING)
    operators.register("Div", divide, since=BROADCASTING)
    operators.register("Pow", power, since=BROADCASTING, host=[1])
    operators.register("Mod", modulo)
    operators.register("Min", folded(torch.minimum))
    operators.register("Max", folded(torch.maximum))
    operators.register("Sum", folded(torch.add))
    operators.register("Mean", folded(torch.add, mean=True))

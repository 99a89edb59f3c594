"""Elementwise operators between quantised values, as onnxruntime's quantisation tool writes them.

Its schemas call zero points optional, but the runtime loads no sum, product or activation without them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import Levels, carried, centred, dequantized
from auditor.operators import Function, Node, Operators, truth
from auditor.surrogates import STRAIGHT_THROUGH

from .quantisation import CONTRIB


def add(node: Node) -> Function:
    """The runtime rounds after the zero point has been added, and fuses its multiplications and additions."""
    levels = Levels.of(node, 7)

    def run(
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor,
        y_scale: Tensor,
        y_zero: Tensor,
    ) -> Tensor:
        a_share, b_share = a_scale / y_scale, b_scale / y_scale
        offset = y_zero - (a_share * a_zero + b_share * b_zero)
        return levels.hold(fused(carried(a, y_scale), a_share, fused(carried(b, y_scale), b_share, offset)))

    return run


def fused(x: Tensor, factor: Tensor, term: Tensor) -> Tensor:
    """x * factor + term, rounded once."""
    return (x.double() * factor.double() + term.double()).to(term.dtype)


def multiply(node: Node) -> Function:
    """The runtime rounds after the zero point has been added."""
    levels = Levels.of(node, 7)

    def run(
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor,
        y_scale: Tensor,
        y_zero: Tensor,
    ) -> Tensor:
        product = centred(a, a_zero, y_scale) * centred(b, b_zero, y_scale) * (a_scale * b_scale / y_scale)
        return levels.hold(product + y_zero)

    return run


def applied(function: Callable[[Node], Callable[[Tensor], Tensor]]) -> Callable[[Node], Function]:
    """An activation of what levels stand for."""

    def build(node: Node) -> Function:
        levels, activate = Levels.of(node, 4), function(node)

        def run(x: Tensor, x_scale: Tensor, x_zero: Tensor, y_scale: Tensor, y_zero: Tensor) -> Tensor:
            return levels.quantize(activate(dequantized(x, x_scale, x_zero)), y_scale, y_zero)

        return run

    return build


def leaky_relu(node: Node) -> Callable[[Tensor], Tensor]:
    alpha = node.attributes.get("alpha", 0.01)
    return lambda x: torch.where(x >= 0, x, alpha * x)


def softmax(node: Node) -> Function:
    """The runtime multiplies by the whole part of 1 / scale."""
    levels, modern = Levels.of(node, 4, 0, 2), node.attributes["opset"] >= 13
    axis = node.attributes.get("axis", -1 if modern else 1)

    def run(x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None) -> Tensor:
        flat = carried(x, y_scale)
        if not modern:
            flat = flat.reshape((*x.shape[:axis], prod(x.shape[axis:])))
        along = axis if modern else -1
        powers = torch.exp((flat - flat.detach().amax(along, keepdim=True)) * x_scale)
        shares = powers * torch.floor(1 / y_scale) / powers.sum(along, keepdim=True)
        return levels.hold(shares, y_zero).reshape(x.shape)

    return run


def concat(node: Node) -> Function:
    levels, axis = Levels.of(node, 1), node.attributes["axis"]

    def run(y_scale: Tensor, y_zero: Tensor, *parts: Tensor) -> Tensor:
        triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        return torch.cat([levels.quantize(dequantized(*triple), y_scale, y_zero) for triple in triples], axis)

    return run


def where(node: Node) -> Function:
    levels = Levels.of(node, 8)

    def run(
        condition: Tensor,
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor,
        y_scale: Tensor,
        y_zero: Tensor,
    ) -> Tensor:
        chosen = torch.where(truth(condition), dequantized(a, a_scale, a_zero), dequantized(b, b_scale, b_zero))
        return levels.quantize(chosen, y_scale, y_zero)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    builders: dict[str, Callable[[Node], Function]] = {
        "QLinearAdd": add,
        "QLinearMul": multiply,
        "QLinearSigmoid": applied(lambda node: torch.sigmoid),
        "QLinearLeakyRelu": applied(leaky_relu),
        "QLinearSoftmax": softmax,
        "QLinearConcat": concat,
        "QLinearWhere": where,
    }
    for op_type, builder in builders.items():
        operators.register(op_type, builder, domain=CONTRIB, surrogate=STRAIGHT_THROUGH)

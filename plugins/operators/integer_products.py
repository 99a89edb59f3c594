"""Products and convolutions of quantised values.

Sums of products are carried in float32, so they are exact while they stay below 2^24. Beyond, they are rounded as any
sum of floats: those of 4,608 products of bytes that all have one sign by about 1e-6 of the result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import Levels, along, carried, centred
from auditor.operators import Function, Node, Operators, always
from auditor.surrogates import STRAIGHT_THROUGH

from .convolution import convolution
from .quantisation import CONTRIB


def native(*values: Tensor) -> bool:
    """Whether no value is carried as a float: then no gradient passes either."""
    return not any(value.is_floating_point() for value in values)


def like(a: Tensor, b: Tensor) -> Tensor:
    """A tensor of the precision to compute in: that of the value which is carried, else one that is always exact."""
    if native(a, b):
        return torch.empty((), dtype=torch.float64)
    return a if a.is_floating_point() else b


def by_row(value: Tensor | None) -> Tensor | None:
    """Scales or zero points of rows, so that they broadcast against a matrix."""
    return None if value is None else along(value, -2, 2)


def by_column(value: Tensor | None) -> Tensor | None:
    """Scales or zero points of columns, so that they broadcast against a matrix."""
    return None if value is None else along(value, -1, 1)


def by_channel(value: Tensor | None, rank: int, axis: int) -> Tensor | None:
    """Scales or zero points of channels, so that they broadcast against a tensor with its channels at this axis."""
    return None if value is None else along(value, axis, rank)


def matmul_integer(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
    """Sums of products of levels less their zero points; native integers where both sides are."""
    near = like(a, b)
    sums = centred(a, by_row(a_zero), near) @ centred(b, by_column(b_zero), near)
    return sums.to(torch.int32) if native(a, b) else sums


def convolution_integer(node: Node) -> Function:
    convolve = convolution(node)

    def run(x: Tensor, weight: Tensor, x_zero: Tensor | None = None, zero: Tensor | None = None) -> Tensor:
        near = like(x, weight)
        own = by_channel(zero, weight.ndim, 0)
        sums: Tensor = convolve(centred(x, by_column(x_zero), near), centred(weight, own, near))
        return sums.to(torch.int32) if native(x, weight) else sums

    return run


def qlinear_matmul(node: Node) -> Function:
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
        sums = centred(a, by_row(a_zero), y_scale) @ centred(b, by_column(b_zero), y_scale)
        rows = [along(value, -2, 2) for value in (a_scale, y_scale, y_zero)]
        return levels.hold(sums * (rows[0] * along(b_scale, -1, 1) / rows[1]), rows[2])

    return run


def qlinear_convolution(node: Node) -> Function:
    """With the channels last, the weight keeps its layout."""
    levels, convolve = Levels.of(node, 7), convolution(node)
    last = bool(node.attributes.get("channels_last", 0))

    def run(
        x: Tensor,
        x_scale: Tensor,
        x_zero: Tensor,
        weight: Tensor,
        scale: Tensor,
        zero: Tensor,
        y_scale: Tensor,
        y_zero: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        x = centred(x, along(x_zero, 1, x.ndim), y_scale)
        weight = centred(weight, by_channel(zero, weight.ndim, 0), y_scale)
        bias = None if bias is None else carried(bias, y_scale)
        sums: Tensor = convolve(x.movedim(-1, 1) if last else x, weight, bias)
        factor = along(x_scale * scale / y_scale, 1, sums.ndim)
        y = levels.hold(sums * factor, along(y_zero, 1, sums.ndim))
        return y.movedim(1, -1) if last else y

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("MatMulInteger", always(matmul_integer), since=10)
    operators.register("ConvInteger", convolution_integer, since=10)
    operators.register("QLinearMatMul", qlinear_matmul, since=10, surrogate=STRAIGHT_THROUGH)
    operators.register("QLinearConv", qlinear_convolution, since=10, surrogate=STRAIGHT_THROUGH)
    operators.register("QLinearConv", qlinear_convolution, domain=CONTRIB, surrogate=STRAIGHT_THROUGH)

"""Means of quantised values, as onnxruntime's quantisation tool writes them."""

from __future__ import annotations

from math import prod

from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import Levels, centred, dequantized
from auditor.operators import Function, Node, Operators
from auditor.surrogates import STRAIGHT_THROUGH

from .pooling import average_pool
from .quantisation import CONTRIB


def average(node: Node) -> Function:
    """The runtime rounds after the zero point has been added."""
    if node.attributes.get("ceil_mode", 0) and node.attributes.get("count_include_pad", 0):
        raise node.unsupported("ceil_mode together with count_include_pad")
    levels, pool = Levels.of(node, 4, 0, 2), average_pool(node)
    last = bool(node.attributes.get("channels_last", 0))

    def run(x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None = None) -> Tensor:
        floats = dequantized(x, x_scale, x_zero)
        means: Tensor = pool(floats.movedim(-1, 1) if last else floats)
        y = levels.hold(means / y_scale if y_zero is None else means / y_scale + y_zero)
        return y.movedim(1, -1) if last else y

    return run


def global_average(node: Node) -> Function:
    """The runtime sums levels and scales the sum."""
    levels, last = Levels.of(node, 4, 0, 2), bool(node.attributes.get("channels_last", 0))

    def run(x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None) -> Tensor:
        axes = tuple(range(1, x.ndim - 1)) if last else tuple(range(2, x.ndim))
        sums = centred(x, x_zero, y_scale).sum(axes, keepdim=True)
        return levels.hold(sums * (x_scale / (y_scale * prod(x.shape[axis] for axis in axes))), y_zero)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("QLinearAveragePool", average, domain=CONTRIB, surrogate=STRAIGHT_THROUGH)
    operators.register("QLinearGlobalAveragePool", global_average, domain=CONTRIB, surrogate=STRAIGHT_THROUGH)

"""Reductions over axes, and what goes along them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import type_of
from auditor.operators import Builder, Function, Node, Operators, integers, straight_through
from auditor.surrogates import STRAIGHT_THROUGH

Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]
"""Of a tensor over axes (at least one), keeping them as axes of length 1 or not."""


def product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    y = reduce(lambda y, axis: y.prod(axis, keepdim=True), axes, x)
    return y if keep else y.squeeze(axes)


def largest(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.dtype is torch.bool:
        return x.any(axes, keep)
    if any(x.shape[axis] == 0 for axis in axes):
        return _nothing(x, axes, keep, _lowest(x.dtype))
    return x.amax(axes, keep)


def smallest(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.dtype is torch.bool:
        return x.all(axes, keep)
    if any(x.shape[axis] == 0 for axis in axes):
        return _nothing(x, axes, keep, -_lowest(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype).max)
    return x.amin(axes, keep)


def _lowest(dtype: torch.dtype) -> float:
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _nothing(x: Tensor, axes: tuple[int, ...], keep: bool, value: float) -> Tensor:
    """What a reduction of no entries gives."""
    shape = x.sum(axes, keep).shape
    return torch.full(shape, value, dtype=x.dtype, device=x.device)


def same_dtype(function: Reduction) -> Reduction:
    """torch widens sums of small integers, ONNX does not."""
    return lambda x, axes, keep: function(x, axes, keep).to(x.dtype)


REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": same_dtype(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "ReduceMax": largest,
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": smallest,
    "ReduceProd": same_dtype(product),
    "ReduceSum": same_dtype(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceSumSquare": same_dtype(lambda x, axes, keep: x.square().sum(axes, keep)),
}
FRACTIONAL = frozenset({"ReduceL2", "ReduceMean"})
"""Reductions whose result for whole numbers is cut towards zero."""
LOGARITHMS = frozenset({"ReduceLogSum", "ReduceLogSumExp"})
AXES_AS_INPUT = {"ReduceSum": 13}
"""The opset since which the axes are an input; 18 for all others."""


def _of_type(function: Reduction, node: Node) -> Reduction:
    """The reduction as it is for the type of the node's input. Raises UnsupportedOperator for integers' logarithms."""
    if not type_of(node, 0).startswith(("int", "uint")):
        return function
    if node.op_type in LOGARITHMS:
        raise node.unsupported("logarithms of integers, which runtimes round in different ways")
    return cut(function) if node.op_type in FRACTIONAL else function


def cut(function: Reduction) -> Reduction:
    """Of whole numbers, also where they are carried as floats: computed in double precision, cut towards zero."""

    def run(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
        hard = function(x.detach().double(), axes, keep).trunc().to(x.dtype)
        return straight_through(function(x, axes, keep), hard) if x.is_floating_point() else hard

    return run


def over_input_axes(general: Reduction) -> Builder:
    """Without axes it is over all of them or, where the file says so, over none: then of each entry by itself."""

    def build(node: Node) -> Function:
        function = _of_type(general, node)
        keep, idle = bool(node.attributes.get("keepdims", 1)), bool(node.attributes.get("noop_with_empty_axes", 0))

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            chosen = () if axes is None else tuple(integers(axes))
            if not chosen and idle:
                return function(x.unsqueeze(-1), (-1,), False)
            return function(x, chosen or tuple(range(x.ndim)), keep) if x.ndim else function(x[None], (0,), False)

        return run

    return build


def over_fixed_axes(general: Reduction) -> Builder:
    def build(node: Node) -> Function:
        function = _of_type(general, node)
        keep, axes = bool(node.attributes.get("keepdims", 1)), node.attributes.get("axes")
        return lambda x: function(x, tuple(range(x.ndim)) if axes is None else tuple(axes), keep)

    return build


def cumulative(function: Callable[[Tensor, int], Tensor], neutral: int) -> Builder:
    """Sums or products of all entries up to each; exclusive ones leave that entry out."""

    def build(node: Node) -> Function:
        exclusive, reverse = bool(node.attributes.get("exclusive", 0)), bool(node.attributes.get("reverse", 0))

        def run(x: Tensor, axis: Tensor) -> Tensor:
            along = int(axis.item())
            x = x.flip(along) if reverse else x
            if exclusive:
                start = torch.full_like(x.narrow(along, 0, 1), neutral)
                x = torch.cat([start, x.narrow(along, 0, x.shape[along] - 1)], along)
            y = function(x, along).to(x.dtype)
            return y.flip(along) if reverse else y

        return run

    return build


def cut_surrogate(node: Node) -> str | None:
    """Straight-through where the result is cut to a whole number."""
    return STRAIGHT_THROUGH if type_of(node, 0).startswith(("int", "uint")) else None


@hookimpl
def register_operators(operators: Operators) -> None:
    for name, function in REDUCTIONS.items():
        surrogate = cut_surrogate if name in FRACTIONAL else None
        since = AXES_AS_INPUT.get(name, 18)
        operators.register(name, over_fixed_axes(function), surrogate=surrogate)
        operators.register(name, over_input_axes(function), since=since, host=[1], surrogate=surrogate)
    operators.register("CumSum", cumulative(torch.cumsum, 0), since=11, host=[1])
    operators.register("CumProd", cumulative(torch.cumprod, 1), since=26, host=[1])

"""Reductions over axes, and what goes along them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Builder, Function, Node, Operators, integers

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
AXES_AS_INPUT = {"ReduceSum": 13}
"""The opset since which the axes are an input; 18 for all others."""


def over_input_axes(function: Reduction) -> Builder:
    def build(node: Node) -> Function:
        keep, idle = bool(node.attributes.get("keepdims", 1)), bool(node.attributes.get("noop_with_empty_axes", 0))

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            chosen = () if axes is None else tuple(integers(axes))
            if not chosen and idle:
                return x
            return function(x, chosen or tuple(range(x.ndim)), keep) if x.ndim else function(x[None], (0,), False)

        return run

    return build


def over_fixed_axes(function: Reduction) -> Builder:
    def build(node: Node) -> Function:
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


@hookimpl
def register_operators(operators: Operators) -> None:
    for name, function in REDUCTIONS.items():
        operators.register(name, over_fixed_axes(function))
        operators.register(name, over_input_axes(function), since=AXES_AS_INPUT.get(name, 18), host=[1])
    operators.register("CumSum", cumulative(torch.cumsum, 0), since=11, host=[1])
    operators.register("CumProd", cumulative(torch.cumprod, 1), since=26, host=[1])

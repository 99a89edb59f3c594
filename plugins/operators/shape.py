"""Shapes: reading them, and rearranging entries without changing one."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, check_size, integers


def shape(node: Node) -> Function:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def reshape(node: Node) -> Function:
    allow_zero = bool(node.attributes.get("allowzero", 0))

    def run(x: Tensor, target: Tensor) -> Tensor:
        lengths = integers(target)
        if not allow_zero and 0 in lengths:
            lengths = [length or x.shape[axis] for axis, length in enumerate(lengths)]
        return x.reshape(lengths)

    return run


def flatten(node: Node) -> Function:
    axis = node.attributes.get("axis", 1)

    def run(x: Tensor) -> Tensor:
        split = axis + x.ndim if axis < 0 else axis
        return x.reshape((prod(x.shape[:split]), prod(x.shape[split:])))

    return run


def transpose(node: Node) -> Function:
    order = node.attributes.get("perm")
    return lambda x: x.permute(tuple(reversed(range(x.ndim))) if order is None else order)


def squeeze(node: Node) -> Function:
    """Since opset 13 the axes are an input."""
    return lambda x, axes=None: _squeezed(x, None if axes is None else integers(axes))


def squeeze_1(node: Node) -> Function:
    axes = node.attributes.get("axes")
    return lambda x: _squeezed(x, axes)


def _squeezed(x: Tensor, axes: list[int] | None) -> Tensor:
    if axes is None:
        return x.squeeze()
    wrong = [axis for axis in axes if x.shape[axis] != 1]
    if wrong:  # torch would leave such an axis in place
        raise ValueError(f"axes {wrong} of shape {list(x.shape)} are not of length 1")
    return x.squeeze(tuple(axes))


def unsqueeze(node: Node) -> Function:
    """Since opset 13 the axes are an input."""
    return lambda x, axes: _unsqueezed(x, integers(axes))


def unsqueeze_1(node: Node) -> Function:
    axes = node.attributes["axes"]
    return lambda x: _unsqueezed(x, axes)


def _unsqueezed(x: Tensor, axes: list[int]) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def expand(node: Node) -> Function:
    def run(x: Tensor, target: Tensor) -> Tensor:
        lengths = np.broadcast_shapes(x.shape, tuple(integers(target)))
        check_size(lengths, x.element_size())
        return x.expand(lengths)

    return run


def tile(node: Node) -> Function:
    def run(x: Tensor, repeats: Tensor) -> Tensor:
        counts = integers(repeats)
        check_size((length * count for length, count in zip(x.shape, counts, strict=True)), x.element_size())
        return x.repeat(counts)

    return run


def depth_to_space(node: Node) -> Function:
    block, columns_first = node.attributes["blocksize"], node.attributes.get("mode", "DCR") == "CRD"

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        depth = c // block**2
        if columns_first:
            parts = x.reshape((n, depth, block, block, h, w)).permute((0, 1, 4, 2, 5, 3))
        else:
            parts = x.reshape((n, block, block, depth, h, w)).permute((0, 3, 4, 1, 5, 2))
        return parts.reshape((n, depth, h * block, w * block))

    return run


def space_to_depth(node: Node) -> Function:
    """Since opset 28 the order of the new channels is an attribute."""
    block, mode = node.attributes["blocksize"], node.attributes.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise node.unsupported(f"mode {mode!r}")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape((n, c, h // block, block, w // block, block)).permute(order)
        return parts.reshape((n, c * block**2, h // block, w // block))

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Shape", shape, shape_only=True)
    operators.register("Size", always(lambda x: torch.tensor(x.numel())), shape_only=True)
    operators.register("Reshape", reshape, since=5, host=[1])
    operators.register("Flatten", flatten)
    operators.register("Transpose", transpose)
    operators.register("Squeeze", squeeze_1)
    operators.register("Squeeze", squeeze, since=13, host=[1])
    operators.register("Unsqueeze", unsqueeze_1)
    operators.register("Unsqueeze", unsqueeze, since=13, host=[1])
    operators.register("Expand", expand, since=8, host=[1])
    operators.register("Tile", tile, since=6, host=[1])
    operators.register("DepthToSpace", depth_to_space)
    operators.register("SpaceToDepth", space_to_depth)

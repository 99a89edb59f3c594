"""Random numbers, drawn anew at every pass. The twin draws its own, repeatably, from `auditor.chance`: it has the
distribution of the file's scores, not its draws, and a gradient for what was drawn."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from auditor.chance import CHANCE, normal_like, uniform_like
from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, element_dtype, straight_through


def _normal(node: Node, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    mean, scale = float(node.attributes.get("mean", 0.0)), float(node.attributes.get("scale", 1.0))
    return mean + scale * normal_like(like, shape)


def _uniform(node: Node, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    low, high = float(node.attributes.get("low", 0.0)), float(node.attributes.get("high", 1.0))
    return low + (high - low) * uniform_like(like, shape)


DRAWN = {"RandomNormal": _normal, "RandomUniform": _uniform}


def of_shape(node: Node) -> Function:
    """Of a shape that the file states; the plan brings it where the input is."""
    draw, shape = DRAWN[node.op_type], tuple(node.attributes.get("shape", ()))
    _check_floats(node)
    check_size(shape)
    return lambda: draw(node, torch.empty(0), shape)


def like(node: Node) -> Function:
    """Of the shape of another value, whose entries play no part."""
    draw = DRAWN[node.op_type.removesuffix("Like")]
    _check_floats(node)
    return lambda x: draw(node, x.detach(), tuple(x.shape))


def _check_floats(node: Node) -> None:
    """Raise UnsupportedOperator where the numbers are not to be floats."""
    kind = node.attributes.get("dtype")
    if kind is not None and not element_dtype(node, kind).is_floating_point:
        raise node.unsupported(f"element type {TensorProto.DataType.Name(kind)}")


def bernoulli(node: Node) -> Function:
    """1 where a uniform number exceeds the input, else 0.

    So by ONNX's definition in simpler operators, which the runtime follows: 1 has the chance of 1 less the input, where
    the text beside it says that of the input.
    """
    kind = node.attributes.get("dtype")
    dtype = None if kind is None else element_dtype(node, kind)

    def run(x: Tensor) -> Tensor:
        mask = uniform_like(x) > x
        if dtype is not None and not dtype.is_floating_point:
            return mask.to(dtype)
        return straight_through(1 - x, mask.to(x.dtype))

    return run


def masked(node: Node) -> str | None:
    """Random mask, straight-through to its probability where that depends on the input."""
    return "random mask, straight-through" if node.live and node.live[0] else None


def multinomial(node: Node) -> Function:
    """Classes drawn with replacement, by logarithms of weights `[batch, classes]`: `[batch, sample_size]`."""
    count = node.attributes.get("sample_size", 1)
    dtype = element_dtype(node, node.attributes.get("dtype", TensorProto.INT32))

    def run(weights: Tensor) -> Tensor:
        batch, classes = weights.shape
        check_size((batch, count, classes))
        reached = weights.detach().softmax(dim=1).cumsum(dim=1)[:, None, :-1]
        drawn = torch.from_numpy(CHANCE.uniform((batch, count))).to(weights.device, weights.dtype)
        return (drawn[:, :, None] >= reached).sum(dim=2).to(dtype)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    for name in DRAWN:
        operators.register(name, of_shape, random=True)
        operators.register(f"{name}Like", like, random=True)
    operators.register("Bernoulli", bernoulli, since=15, surrogate=masked, random=True)
    operators.register("Multinomial", multinomial, since=7, surrogate="none: classes are drawn", random=True)

"""Constants, sequences of numbers, and passing values on: unchanged, or as another type."""

from __future__ import annotations

from math import ceil

import torch
from onnx import TensorProto
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, check_size, integers, straight_through
from auditor.program import read_tensor

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
INTEGERS: dict[int, torch.dtype] = {
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
}
"""What the twin computes with; unsigned types that torch lacks are carried by wider ones."""


def constant(node: Node) -> Function:
    attributes = node.attributes
    if "value" in attributes:
        value = read_tensor(attributes["value"])
    elif "value_float" in attributes or "value_floats" in attributes:
        value = torch.tensor(attributes.get("value_float", attributes.get("value_floats")), dtype=torch.float32)
    elif "value_int" in attributes or "value_ints" in attributes:
        value = torch.tensor(attributes.get("value_int", attributes.get("value_ints")), dtype=torch.int64)
    else:
        raise node.unsupported(f"the attribute {', '.join(attributes)}")
    return lambda: value


def constant_of_shape(node: Node) -> Function:
    fill = node.attributes.get("value")
    value = torch.zeros(1) if fill is None else read_tensor(fill)

    def run(shape: Tensor) -> Tensor:
        lengths = integers(shape)
        check_size(lengths, value.element_size())
        return value.reshape(()).expand(lengths).clone()

    return run


def number_range(node: Node) -> Function:
    def run(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        first, last, step = start.item(), limit.item(), delta.item()
        count = max(ceil((last - first) / step), 0)
        check_size((count,), start.element_size())
        return start.reshape(()) + delta.reshape(()) * torch.arange(count, dtype=start.dtype)

    return run


def eye_like(node: Node) -> Function:
    diagonal, kind = node.attributes.get("k", 0), node.attributes.get("dtype")

    def run(x: Tensor) -> Tensor:
        rows, columns = x.shape
        ones = torch.ones((rows, columns), dtype=_dtype(node, kind) if kind else x.dtype)
        return ones.tril(diagonal).triu(diagonal)

    return run


def _dtype(node: Node, kind: int) -> torch.dtype:
    if kind in FLOATS:
        return torch.float32
    if kind == TensorProto.BOOL:
        return torch.bool
    if kind in INTEGERS:
        return INTEGERS[kind]
    raise node.unsupported(f"element type {TensorProto.DataType.Name(kind)}")


def cast(node: Node) -> Function:
    """Between floats nothing changes: the twin computes in one precision, and what that costs is measured as fidelity.

    Floats that become integers are cut towards zero but stay floats, so that the gradient can pass straight through.
    """
    dtype = _dtype(node, node.attributes["to"])

    def run(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x.to(dtype)
        if dtype.is_floating_point:
            return x
        if dtype is torch.bool:
            return x != 0
        return straight_through(x, x.trunc())

    return run


def cast_surrogate(node: Node) -> str | None:
    from_float = any(kind == "" or kind.startswith(("float", "bfloat")) for kind in node.types)
    return "straight-through" if from_float and node.attributes["to"] in INTEGERS else None


def cast_like(node: Node) -> Function:
    def run(x: Tensor, like: Tensor) -> Tensor:
        if like.is_floating_point():
            return x.to(like.dtype)
        return x.to(like.dtype) if not x.is_floating_point() else straight_through(x, x.trunc())

    return run


def cast_like_surrogate(node: Node) -> str | None:
    return "straight-through" if any(kind.startswith(("int", "uint")) for kind in node.types[1:]) else None


def dropout(node: Node) -> Function:
    """A deployed file drops nothing."""

    def run(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        if training is not None and bool(training.item()):
            raise ValueError("the file asks for dropout in training mode, its scores are random")
        return (x, torch.ones_like(x, dtype=torch.bool)) if node.wants(1) else x

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Constant", constant)
    operators.register("ConstantOfShape", constant_of_shape, since=9, host=[0])
    operators.register("Range", number_range, since=11, host=[0, 1, 2])
    operators.register("EyeLike", eye_like, since=9, shape_only=True)
    operators.register("Cast", cast, since=6, surrogate=cast_surrogate)
    operators.register("CastLike", cast_like, since=15, surrogate=cast_like_surrogate)
    operators.register("Identity", always(lambda x: x))
    operators.register("Dropout", dropout, since=7, host=[1, 2])

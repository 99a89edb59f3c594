"""Constants, sequences of numbers, and passing values on: unchanged, or as another type."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, check_size, integers, straight_through
from auditor.program import read_constant
from auditor.surrogates import FAST_SIGMOID, STRAIGHT_THROUGH

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
"""Types between which the twin does not tell: it computes in one precision, and what that costs is its fidelity."""
NARROW_FLOATS: dict[int, tuple[torch.dtype, float]] = {
    TensorProto.FLOAT8E4M3FN: (torch.float8_e4m3fn, torch.inf),
    TensorProto.FLOAT8E4M3FNUZ: (torch.float8_e4m3fnuz, torch.nan),
    TensorProto.FLOAT8E5M2: (torch.float8_e5m2, torch.inf),
    TensorProto.FLOAT8E5M2FNUZ: (torch.float8_e5m2fnuz, torch.nan),
}
"""Types of so few bits that values are rounded to them, and what becomes of infinity where they do not saturate."""
INTEGERS: dict[int, torch.dtype] = {
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT4: torch.uint8,
    TensorProto.INT2: torch.int8,
    TensorProto.UINT2: torch.uint8,
}
"""What the twin computes with; types that torch lacks are carried by wider ones."""


def constant(node: Node) -> Function:
    attributes = node.attributes
    if "value" in attributes:
        value = read_constant(attributes["value"])
    elif "value_float" in attributes or "value_floats" in attributes:
        value = torch.tensor(attributes.get("value_float", attributes.get("value_floats")), dtype=torch.float32)
    elif "value_int" in attributes or "value_ints" in attributes:
        value = torch.tensor(attributes.get("value_int", attributes.get("value_ints")), dtype=torch.int64)
    elif "value_string" in attributes or "value_strings" in attributes:
        text = np.array(attributes.get("value_string", attributes.get("value_strings")), dtype=object)
        return lambda: text
    elif "sparse_value" in attributes:
        value = read_constant(attributes["sparse_value"])
    else:
        raise node.unsupported(f"the attribute {', '.join(attributes)}")
    return lambda: value


def constant_of_shape(node: Node) -> Function:
    fill = node.attributes.get("value")
    value = torch.zeros(1) if fill is None else read_constant(fill)

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
    """Between floats nothing changes, but for those of 8 bits, to which values are rounded.

    Floats that become integers are cut towards zero but stay floats, so that the gradient can pass straight through.
    """
    kind = node.attributes["to"]
    if kind in NARROW_FLOATS:
        return narrowed(*NARROW_FLOATS[kind], saturate=bool(node.attributes.get("saturate", 1)))
    if kind == TensorProto.STRING:
        return written
    dtype, truths, live = _dtype(node, kind), node.types[:1] == ("bool",), any(node.live)

    def run(x: Tensor | np.ndarray) -> Tensor:
        if isinstance(x, np.ndarray):
            numbers: Tensor = torch.from_numpy(x.astype(float))
            return numbers.to(dtype)
        if not x.is_floating_point():
            return x != 0 if dtype is torch.bool else x.to(dtype)
        if dtype.is_floating_point or truths:
            return x
        if dtype is torch.bool:
            return straight_through(x, (x != 0).to(x.dtype)) if live and torch.is_grad_enabled() else x != 0
        return straight_through(x, x.trunc())

    return run


def narrowed(dtype: torch.dtype, infinity: float, *, saturate: bool) -> Function:
    """Values rounded to a type of 8 bits; what lies beyond its largest becomes that, or infinity."""
    largest = torch.finfo(dtype).max

    def run(x: Tensor) -> Tensor:
        x = x.to(torch.float32) if not x.is_floating_point() else x
        inside = x.clamp(-largest, largest)
        if saturate:
            return straight_through(x, inside.to(dtype).to(x.dtype))
        rounded = x.to(dtype).to(x.dtype)
        beyond = (
            torch.copysign(torch.full_like(x, infinity), x) if infinity == infinity else torch.full_like(x, infinity)
        )
        return straight_through(x, torch.where(x.isinf(), beyond, rounded))

    return run


def written(x: Any) -> np.ndarray:
    """Numbers as text, on the host."""
    if isinstance(x, np.ndarray):
        return x
    return np.array([str(entry) for entry in x.cpu().numpy().reshape(-1)], dtype=object).reshape(tuple(x.shape))


def cast_surrogate(node: Node) -> str | None:
    kind = node.attributes["to"]
    if node.types[:1] == ("bool",):
        return FAST_SIGMOID if kind in FLOATS or kind in INTEGERS else None
    from_float = any(kind == "" or kind.startswith(("float", "bfloat")) for kind in node.types)
    return STRAIGHT_THROUGH if from_float and kind not in FLOATS else None


def cast_like(node: Node) -> Function:
    truths = node.types[:1] == ("bool",)

    def run(x: Tensor, like: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x != 0 if like.dtype is torch.bool else x.to(like.dtype)
        if like.is_floating_point():
            return x.to(like.dtype)
        if truths:
            return x
        return x != 0 if like.dtype is torch.bool else straight_through(x, x.trunc())

    return run


def cast_like_surrogate(node: Node) -> str | None:
    return STRAIGHT_THROUGH if any(kind.startswith(("int", "uint")) for kind in node.types[1:]) else None


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

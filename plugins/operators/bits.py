"""Integers and floats as patterns of bits. None of these operators has a derivative other than zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto, helper
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Builder, Function, Node, Operators

WIDTHS = {8: torch.int8, 16: torch.int16, 32: torch.int32, 64: torch.int64}
FLOATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
CARRIED = {"uint8": torch.uint8, "uint16": torch.int32, "uint32": torch.int64, "uint64": torch.int64}
"""What unsigned integers are computed with."""


def _integers(value: Tensor) -> Tensor:
    return value.long() if value.is_floating_point() else value


def _kind(node: Node) -> str:
    """The element type of the first input. Raises UnsupportedOperator where it can't be told."""
    if not node.types[0]:
        raise node.unsupported("an input whose element type cannot be inferred")
    return node.types[0]


def _width(kind: str) -> int:
    return 8 if kind == "bool" else int("".join(filter(str.isdigit, kind)))


def bitwise(function: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    return lambda node: lambda a, b: function(_integers(a), _integers(b))


def bitwise_not(node: Node) -> Function:
    kind = _kind(node)
    if kind == "uint64":
        raise node.unsupported("uint64, whose highest bit the twin lacks")
    if kind in ("uint16", "uint32"):
        ones = 2 ** _width(kind) - 1
        return lambda x: _integers(x) ^ ones
    return lambda x: ~(_integers(x).to(CARRIED["uint8"]) if kind == "uint8" else _integers(x))


def bit_shift(node: Node) -> Function:
    """Bits that leave at either end are lost; a shift by the width or more, or by less than none, loses them all."""
    kind = _kind(node)
    width, signed = _width(kind), not kind.startswith("u")
    left = node.attributes["direction"] == "LEFT"

    def run(a: Tensor, b: Tensor) -> Tensor:
        dtype = WIDTHS[width] if signed else CARRIED[kind]
        a, b = _integers(a).long(), _integers(b).long()
        beyond = (b < 0) | (b >= width)
        if not left:
            kept: Tensor = a >> b.clamp(0, width - 1)
            return torch.where(beyond, torch.where(a < 0, -1, 0), kept).to(dtype)
        moved: Tensor = a << b.clamp(0, width - 1)
        shifted = torch.where(beyond, 0, moved)
        if signed:
            return shifted.to(dtype)
        if width == 64:
            if bool(((a >> (63 - b.clamp(0, 63))) != 0).logical_and(~beyond).any()):
                raise ValueError("the shift reaches the highest bit of uint64, which the twin lacks")
            return shifted
        return _unsigned(shifted, width)

    return run


def bit_cast(node: Node) -> Function:
    """The same bits as another type of the same width. What gets smaller or larger on the way is not the value."""
    source, target = _kind(node), helper.tensor_dtype_to_np_dtype(node.attributes["to"]).name
    known = {"bool", "int8", "int16", "int32", "int64", *CARRIED, *FLOATS}
    if source not in known or target not in known or node.attributes["to"] == TensorProto.STRING:
        raise node.unsupported(f"bits of {source} as {target}")
    if "uint64" in (source, target):
        raise node.unsupported("uint64, whose highest bit the twin lacks")
    width = _width(source)

    def run(x: Tensor) -> Tensor:
        if source in FLOATS:
            if source == "float64" and x.dtype is not torch.float64:
                raise ValueError("the bits of a float64 are lost where the twin computes in float32")
            bits = x.to(FLOATS[source]).view(WIDTHS[width])
        else:
            bits = _integers(x).to(WIDTHS[width])
        if target in FLOATS:
            y = bits.view(FLOATS[target])
            return y if target in ("float32", "float64") else y.float()
        if target == "bool":
            return bits != 0
        return bits if target not in CARRIED else _unsigned(bits, width)

    return run


def _unsigned(bits: Tensor, width: int) -> Tensor:
    low = torch.bitwise_and(bits.long(), 2**width - 1)
    return low.to(CARRIED[f"uint{width}"])


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("BitwiseAnd", bitwise(torch.bitwise_and), since=18)
    operators.register("BitwiseOr", bitwise(torch.bitwise_or), since=18)
    operators.register("BitwiseXor", bitwise(torch.bitwise_xor), since=18)
    operators.register("BitwiseNot", bitwise_not, since=18)
    operators.register("BitShift", bit_shift, since=11)
    operators.register("BitCast", bit_cast, since=26)

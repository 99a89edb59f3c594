"""Values as another type: whole numbers, truth values, floats of few bits, text."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import WRAPPING, type_of, wrapped
from auditor.operators import FLOATS, INTEGERS, Function, Node, Operators, element_dtype, straight_through
from auditor.places import is_float
from auditor.surrogates import FAST_SIGMOID, STRAIGHT_THROUGH

EIGHT_BITS: dict[int, torch.dtype] = {
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}
HALVES = {"int32": 1 << 31, "int64": 1 << 63, "uint32": 1 << 63}
"""From here on a float has no counterpart in the type that the runtime goes through; int32 for all smaller ones."""
WIDE = ("uint32", "uint64")
"""Integers of which a float in single precision loses the lowest bits where they have wrapped around."""


def cast(node: Node) -> Function:
    """Between floats nothing changes, but for those of 8 bits and fewer, to which values are rounded.

    Floats that become integers are cut towards zero but stay floats, so that the gradient can pass straight through.
    """
    kind = node.attributes["to"]
    if kind == TensorProto.STRING:
        return written
    narrow = _narrow(node, kind)
    if narrow is not None:
        return lambda x: straight_through(_float(x), narrow(_float(x)))
    dtype, truths, live = element_dtype(node, kind), node.types[:1] == ("bool",), any(node.live)
    name, source = helper.tensor_dtype_to_np_dtype(kind).name, type_of(node, 0)
    if name == "uint64" and source.startswith("int"):
        raise node.unsupported(f"{source} as uint64, whose highest bit the twin lacks")

    def run(x: Tensor | np.ndarray) -> Tensor:
        if isinstance(x, np.ndarray):
            numbers: Tensor = torch.from_numpy(x.astype(float))
            return numbers.to(dtype)
        if not x.is_floating_point():
            if dtype is torch.bool:
                return x != 0
            return wrapped(x.long(), name).to(dtype) if name in WRAPPING and name != "uint64" else x.to(dtype)
        if dtype.is_floating_point or truths:
            return x
        if dtype is torch.bool:
            return straight_through(x, (x != 0).to(x.dtype)) if live and torch.is_grad_enabled() else x != 0
        if source in WIDE and name not in (*WIDE, "int64"):
            raise node.unsupported(f"{source} as {name} where floats carry it, which lose its lowest bits")
        return straight_through(x, _whole(x, name, source))

    return run


def _whole(x: Tensor, name: str, source: str) -> Tensor:
    """Floats, cut towards zero, as an integer type holds them. What has no counterpart becomes the least number.

    That is what x86 processors make of it. The lowest bits of that number, which small types keep, are zeros.
    """
    if source.startswith(("int", "uint")) and name not in WRAPPING:
        return x
    if name == "uint64":
        return wrapped(x.trunc(), name)
    half = HALVES.get(name, 1 << 31)
    least = 0.0 if name in WRAPPING else -float(half)
    inside = torch.where(x.abs() < half, x, torch.full_like(x, least)).trunc()
    return wrapped(inside, name) if name in WRAPPING else inside


def _float(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.float32)


def _narrow(node: Node, kind: int) -> Function | None:
    """The rounding to a float of few bits; None for all other types."""
    saturate = bool(node.attributes.get("saturate", 1))
    if kind in EIGHT_BITS:
        return lambda x: eight_bits(x, EIGHT_BITS[kind], saturate=saturate)
    if kind == TensorProto.FLOAT4E2M1:
        return four_bits
    if kind == TensorProto.FLOAT8E8M0:
        return lambda x: power_of_two(x, node.attributes.get("round_mode", "up"))
    return None


def eight_bits(x: Tensor, dtype: torch.dtype, *, saturate: bool) -> Tensor:
    """To the nearest value of an 8-bit type; what lies beyond becomes its largest, or else infinity, or NaN without."""
    limits = torch.finfo(dtype)
    held = x.clamp(-limits.max, limits.max).to(dtype).to(x.dtype)
    if saturate:
        return held
    step = 2.0 ** math.floor(math.log2(limits.max)) * limits.eps
    beyond = torch.inf if dtype is torch.float8_e5m2 else torch.nan
    return torch.where(x.abs() >= limits.max + step / 2, torch.copysign(torch.full_like(x, beyond), x), held)


def four_bits(x: Tensor) -> Tensor:
    """To 0, 1/2, 1, 3/2, 2, 3, 4 or 6 with a sign, ties to the even one; what lies beyond becomes 6, NaN 0."""
    size = x.nan_to_num(0.0, 6.0, -6.0).abs().clamp_max(6)
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return torch.copysign((size / step).round() * step, x.nan_to_num(0.0))


def power_of_two(x: Tensor, rounding: str) -> Tensor:
    """To a power of two from 2^-127 to 2^127: the next one up, the next one down, or the nearest."""
    share, exponent = torch.frexp(x)  # x = share * 2^exponent, share from 1/2 to below 1
    threshold = {"up": 0.5, "nearest": 0.75}.get(rounding, 1.0)
    rounds_up = share > threshold if rounding == "up" else share >= threshold
    exponent = torch.where(x == 0, -127, exponent - 1 + rounds_up).clamp(-127, 127)
    return torch.ldexp(torch.ones_like(x), exponent)


def written(x: Tensor | np.ndarray) -> np.ndarray:
    """Numbers as text, on the host."""
    if isinstance(x, np.ndarray):
        return x
    return np.array([str(entry) for entry in x.cpu().numpy().reshape(-1)], dtype=object).reshape(tuple(x.shape))


def cast_surrogate(node: Node) -> str | None:
    """Straight-through where floats become whole numbers, fast sigmoid where a comparison becomes a number."""
    kind = node.attributes["to"]
    if node.types[:1] == ("bool",):
        return FAST_SIGMOID if kind in FLOATS or kind in INTEGERS else None
    from_float = any(kind == "" or is_float(kind) for kind in node.types[:1])
    return STRAIGHT_THROUGH if from_float and kind not in FLOATS else None


def _explicit(node: Node) -> Node:
    """The `Cast` that a `CastLike` is. Raises UnsupportedOperator where the type to be like is unknown."""
    like = node.types[1] if len(node.types) > 1 else ""
    if not like:
        raise node.unsupported("a type that nothing in the file states")
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(like))
    return replace(node, types=node.types[:1], live=node.live[:1], attributes={**node.attributes, "to": kind})


def cast_like(node: Node) -> Function:
    function = cast(_explicit(node))
    return lambda x, like: function(x)


def cast_like_surrogate(node: Node) -> str | None:
    """As for Cast."""
    return cast_surrogate(_explicit(node))


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Cast", cast, since=6, surrogate=cast_surrogate)
    operators.register("CastLike", cast_like, since=15, surrogate=cast_like_surrogate)

"""Quantisation and its inverse: per tensor, per axis, in blocks, and with a scale that is measured."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto, helper
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import LIMITS, Levels, along, carried, dequantized, in_blocks, type_of
from auditor.operators import Function, Node, Operators, always, straight_through
from auditor.surrogates import STRAIGHT_THROUGH

from .casts import EIGHT_BITS as BY_KIND
from .casts import eight_bits, four_bits

CONTRIB = "com.microsoft"
EIGHT_BITS = {str(helper.tensor_dtype_to_np_dtype(kind).name): dtype for kind, dtype in BY_KIND.items()}
Layout = Callable[[Tensor, Tensor], Tensor]
"""From a scale or zero point and the tensor it belongs to, to what broadcasts against that tensor."""


def layout(node: Node) -> Layout:
    """How scales and zero points of a node lie along its input."""
    axis, block = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
    if block:
        return lambda value, x: in_blocks(value, axis, block, x.shape[axis])
    return lambda value, x: along(value, axis, x.ndim)


def quantize(node: Node) -> Function:
    """Floats to levels; to floats of eight or four bits where the file says so."""
    kind, lay = _quantised_type(node), layout(node)
    hold = _float_levels(node, kind) if kind not in LIMITS else Levels(*LIMITS[kind], node.leak, node.rounding).quantize

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        x = carried(x, scale)
        return hold(x, lay(scale, x), None if zero is None else lay(zero, x))

    return run


def _quantised_type(node: Node) -> str:
    if len(node.inputs) > 2 and node.inputs[2]:
        kind = type_of(node, 2)
        if not kind:
            raise node.unsupported("a zero point whose type nothing in the file states")
        return kind
    stated = node.attributes.get("output_dtype", 0)
    return str(helper.tensor_dtype_to_np_dtype(stated or TensorProto.UINT8).name)


def _float_levels(node: Node, kind: str) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """Rounding to a float of few bits. The zero point of such types is 0."""
    saturate = bool(node.attributes.get("saturate", 1))
    if kind == "float4_e2m1fn":
        limits, narrow = Levels(-6, 6), four_bits
    elif kind in EIGHT_BITS:
        dtype = EIGHT_BITS[kind]
        largest = torch.finfo(dtype).max
        limits = Levels(-largest, largest)
        narrow = lambda x: eight_bits(x, dtype, saturate=saturate)  # noqa: E731 - one of two functions
    else:
        raise node.unsupported(f"the quantised type {kind}")

    def hold(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
        quotient = x / scale
        near = limits.saturate(quotient)
        return straight_through(near, narrow(quotient)) if node.rounding else near

    return hold


def dequantize(node: Node) -> Function:
    """Levels to floats."""
    lay = layout(node)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        return dequantized(x, lay(scale, x), None if zero is None else lay(zero, x))

    return run


def dynamic_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point with which all of x, and 0, fits into a byte. No gradient passes through them."""
    x = x.detach()
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = torch.where(high == low, torch.ones_like(high), (high - low) / 255)
    return scale, (0 - low / scale).clamp(0, 255).round()


BYTE = Levels(*LIMITS["uint8"])


def dynamic_quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels from 0 to 255, and the scale and zero point that they have.

    The gradient is nowhere zero, since a range that follows x has no value beyond it but by rounding.
    """
    scale, zero = dynamic_range(x)
    return straight_through(x / scale, BYTE.quantize(x.detach(), scale, zero)), scale, zero


@hookimpl
def register_operators(operators: Operators) -> None:
    for domain, since in (("", 10), (CONTRIB, 1)):
        operators.register("QuantizeLinear", quantize, domain=domain, since=since, surrogate=STRAIGHT_THROUGH)
        operators.register("DequantizeLinear", dequantize, domain=domain, since=since)
    operators.register(
        "DynamicQuantizeLinear",
        always(dynamic_quantize),
        since=11,
        surrogate="straight-through, the scale held",
    )

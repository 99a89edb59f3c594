"""Matrix products with quantised weights that onnxruntime fuses: with their scales, biases and quantisation in one."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.levels import Levels, carried, centred
from auditor.operators import Function, Node, Operators, always
from auditor.surrogates import STRAIGHT_THROUGH

from .fused_attention import attention
from .integer_products import by_column, by_row
from .quantisation import CONTRIB, dynamic_quantize


def gemm(node: Node) -> Function:
    """The bias is a whole number and is scaled with the sum; without a scale of its own the result is a float."""
    across, upright = bool(node.attributes.get("transA", 0)), bool(node.attributes.get("transB", 0))
    alpha = node.attributes.get("alpha", 1.0)
    levels = Levels.of(node, 8) if len(node.inputs) > 8 and node.inputs[8] else None

    def run(
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor,
        bias: Tensor | None = None,
        y_scale: Tensor | None = None,
        y_zero: Tensor | None = None,
    ) -> Tensor:
        a, b = (x.t() if turned else x for x, turned in ((a, across), (b, upright)))
        sums = centred(a, a_zero, a_scale) @ centred(b, by_column(b_zero), a_scale)
        if bias is not None:
            sums = sums + carried(bias, sums)
        scale = alpha * a_scale * b_scale
        if levels is None or y_scale is None:
            floats: Tensor = sums * scale
            return floats
        return levels.hold(sums * (scale / y_scale), y_zero)

    return run


def to_float(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The product of what levels stand for."""
    sums = centred(a, by_row(a_zero), a_scale) @ centred(b, by_column(b_zero), a_scale)
    y = sums * (a_scale * b_scale)
    return y if bias is None else y + bias


def dynamic(a: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """The product of a matrix that is quantised on the way."""
    levels, scale, zero = dynamic_quantize(a)
    return to_float(levels, b, scale, b_scale, zero, b_zero, bias)


def quantised_attention(node: Node) -> Function:
    """Attention whose projection has quantised inputs and weights."""
    attend = attention(node)

    def run(
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        x_scale: Tensor,
        scale: Tensor,
        mask: Tensor | None = None,
        x_zero: Tensor | None = None,
        zero: Tensor | None = None,
        past: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        weights = centred(weight, zero, x_scale) * (x_scale * scale)
        result: tuple[Tensor, ...] = attend(centred(x, x_zero, x_scale), weights, bias, mask, past)
        return result

    return run


def few_bits(node: Node) -> Function:
    """A product with weights of 2, 4 or 8 bits, quantised in blocks along each of the columns."""
    get = node.attributes.get
    columns, rows, block, bits = (node.attributes[name] for name in ("N", "K", "block_size", "bits"))
    if bits not in (2, 4, 8):
        raise node.unsupported(f"weights of {bits} bits")
    if get("accuracy_level", 0) > 3 or get("weight_prepacked", 0):
        raise node.unsupported("products in int8 or packed weights")
    if len(node.inputs) > 4 and node.inputs[4]:
        raise node.unsupported("blocks in another order")
    blocks = -(-rows // block)

    def run(
        a: Tensor,
        packed: Tensor,
        scales: Tensor,
        zeros: Tensor | None = None,
        order: None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        weights = unpacked(packed.reshape(columns, blocks, -1), bits, block).to(scales.dtype)
        if zeros is None:
            middle: Tensor | float = float(1 << (bits - 1))
        elif zeros.is_floating_point():
            middle = zeros.reshape(columns, blocks, 1)
        else:
            middle = unpacked(zeros.reshape(columns, -1), bits, blocks).to(scales.dtype).unsqueeze(-1)
        floats = (weights - middle) * scales.reshape(columns, blocks, 1)
        return torch.nn.functional.linear(a, floats.reshape(columns, -1)[:, :rows], bias)

    return run


def unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    """The numbers of so many bits that bytes hold, the lowest bits first; the first `count` along the last axis."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
    parts = (packed.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
    return parts.reshape(*packed.shape[:-1], -1)[..., :count]


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("QGemm", gemm, domain=CONTRIB, surrogate=_gemm_surrogate)
    operators.register("MatMulIntegerToFloat", always(to_float), domain=CONTRIB)
    operators.register(
        "DynamicQuantizeMatMul", always(dynamic), domain=CONTRIB, surrogate="straight-through, the scale held"
    )
    operators.register("QAttention", quantised_attention, domain=CONTRIB)
    operators.register("MatMulNBits", few_bits, domain=CONTRIB)


def _gemm_surrogate(node: Node) -> str | None:
    """Straight-through, where the result is quantised."""
    return STRAIGHT_THROUGH if len(node.inputs) > 8 and node.inputs[8] else None

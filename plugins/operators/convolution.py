"""Convolutions in one, two and three dimensions, and their transposes."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators
from auditor.windows import Window, interleaved, split_padding

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSES: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def convolution(node: Node) -> Function:
    group = node.attributes.get("group", 1)
    windows: dict[tuple[int, ...], Window] = {}

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        window = windows.get(kernel)
        if window is None:
            window = windows[kernel] = Window.of(node, kernel)
        before, after = window.padding(x.shape[2:])
        convolve = CONVOLUTIONS[len(kernel)]
        if before == after:
            return convolve(x, weight, bias, window.strides, before, window.dilations, group)
        return convolve(F.pad(x, interleaved(before, after)), weight, bias, window.strides, 0, window.dilations, group)

    return run


def transposed_convolution(node: Node) -> Function:
    group = node.attributes.get("group", 1)
    wanted = node.attributes.get("output_shape")
    extra_pixels = node.attributes.get("output_padding")

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        window = Window.of(node, weight.shape[2:])
        rank = len(window.kernel)
        extra = tuple(extra_pixels or (0,) * rank)
        full = [
            (size - 1) * stride + extent + added
            for size, stride, extent, added in zip(x.shape[2:], window.strides, window.extents, extra, strict=True)
        ]
        if wanted is not None:
            totals = [length - target for length, target in zip(full, wanted[-rank:], strict=True)]
            before, after = split_padding(totals, window.auto_pad)
        elif window.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            sizes = [size * stride for size, stride in zip(x.shape[2:], window.strides, strict=True)]
            totals = [length - target for length, target in zip(full, sizes, strict=True)]
            before, after = split_padding(totals, window.auto_pad)
        else:
            before, after = window.padding(x.shape[2:])
        transpose = TRANSPOSES[rank]
        if before == after and min(before) >= 0:
            return transpose(x, weight, bias, window.strides, before, extra, group, window.dilations)
        y = transpose(x, weight, bias, window.strides, 0, extra, group, window.dilations)
        return F.pad(y, [-amount for amount in interleaved(before, after)])

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Conv", convolution, product=True)
    operators.register("ConvTranspose", transposed_convolution, product=True)

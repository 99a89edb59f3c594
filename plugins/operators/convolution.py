"""Convolutions in one, two and three dimensions, their transposes, and images put together from blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, integers
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
        if wanted is not None or window.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            same = [size * stride for size, stride in zip(x.shape[2:], window.strides, strict=True)]
            gaps = [target - length for length, target in zip(full, (wanted or same)[-rank:], strict=True)]
            before, after = split_padding([max(-gap, 0) for gap in gaps], window.auto_pad)
            if wanted is not None:
                extra = tuple(added + max(gap, 0) for added, gap in zip(extra, gaps, strict=True))
        else:
            before, after = window.padding(x.shape[2:])
        transpose = TRANSPOSES[rank]
        if before == after and min(before) >= 0:
            return transpose(x, weight, bias, window.strides, before, extra, group, window.dilations)
        y = transpose(x, weight, bias, window.strides, 0, extra, group, window.dilations)
        return F.pad(y, [-amount for amount in interleaved(before, after)])

    return run


def col2im(node: Node) -> Function:
    """The transpose of taking blocks out of an image: blocks `[N, channels * entries, positions]` are added up."""

    def run(x: Tensor, image: Tensor, block: Tensor) -> Tensor:
        sizes, window = integers(image), Window.of(node, integers(block))
        place, inside = _block_places(window, sizes)
        check_size((*x.shape[:1], x.shape[1] // len(place), *sizes), x.element_size())
        blocks = x.reshape((x.shape[0], -1, place.numel()))
        target = place.masked_fill(~inside, prod(sizes)).reshape(-1).to(x.device)
        y = x.new_zeros((*blocks.shape[:2], prod(sizes) + 1)).index_add(2, target, blocks)
        return y[..., :-1].reshape((*blocks.shape[:2], *sizes))

    return run


def _block_places(window: Window, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The pixel of each block's each entry, `[entries, positions]`, and whether it lies in the image."""
    rank = len(sizes)
    place, inside = torch.zeros((), dtype=torch.int64), torch.ones((), dtype=torch.bool)
    for axis, (size, length) in enumerate(zip(sizes, window.lengths(sizes), strict=True)):
        at = (
            torch.arange(window.kernel[axis])[:, None] * window.dilations[axis]
            + torch.arange(length) * window.strides[axis]
            - window.pads[axis]
        )
        shape = [1] * 2 * rank
        shape[axis], shape[rank + axis] = at.shape
        at = at.reshape(shape)
        place, inside = place * size + at, inside & (at >= 0) & (at < size)
    return place.reshape((prod(window.kernel), -1)), inside.reshape((prod(window.kernel), -1))


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Conv", convolution, product=True)
    operators.register("ConvTranspose", transposed_convolution, product=True)
    operators.register("Col2Im", col2im, since=18, host=[1, 2])

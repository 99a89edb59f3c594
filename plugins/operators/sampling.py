"""Reading images between their pixels: at the points of a grid, and under the windows of a deformable convolution."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, integers
from auditor.windows import Window

MODES = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest", "bicubic": "bicubic", "cubic": "bicubic"}
"""Names of ONNX, before and since opset 20, and what torch calls them."""


def grid_sample(node: Node) -> Function:
    mode, padding = node.attributes.get("mode", "bilinear"), node.attributes.get("padding_mode", "zeros")
    if mode not in MODES or padding not in ("zeros", "border", "reflection"):
        raise node.unsupported(f"mode {mode!r} with padding {padding!r}")
    aligned = bool(node.attributes.get("align_corners", 0))
    return lambda x, grid: F.grid_sample(x, grid, MODES[mode], padding, aligned)


def affine_grid(node: Node) -> Function:
    """Where an affine map takes the pixels of an image, both measured from -1 to 1."""
    aligned = bool(node.attributes.get("align_corners", 0))

    def run(theta: Tensor, size: Tensor) -> Tensor:
        lengths = integers(size)[2:]
        check_size((theta.shape[0], *lengths, len(lengths) + 1), theta.element_size())
        if aligned and 1 in lengths:
            raise node.unsupported("a single pixel at both corners, which runtimes put at either")
        ends = [1.0 if aligned else 1 - 1 / length for length in lengths]
        axes = [torch.linspace(-end, end, length) for end, length in zip(ends, lengths, strict=True)]
        pixels = torch.stack([*reversed(torch.meshgrid(axes, indexing="ij")), torch.ones(lengths)], -1)
        return (pixels.to(theta).reshape((-1, len(lengths) + 1)) @ theta.mT).reshape((-1, *lengths, len(lengths)))

    return run


def deformable_convolution(node: Node) -> Function:
    """Every window's every entry is read beside its place by an offset, and weighed by a mask; images only."""
    group, parts = node.attributes.get("group", 1), node.attributes.get("offset_group", 1)

    def run(
        x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"inputs of rank {x.ndim}, only images are covered")
        window = Window.of(node, weight.shape[2:])
        n, channels, height, width = x.shape
        rows, columns = window.lengths((height, width))
        taps = window.kernel[0] * window.kernel[1]
        offsets = offset.reshape((n, parts, taps, 2, rows, columns))
        places = _places(window, (rows, columns)).to(x.device, x.dtype) + offsets
        check_size((n, channels, 4, taps, rows, columns), x.element_size())
        read = _between(x.reshape((n, parts, channels // parts, height, width)), places)
        if mask is not None:
            read = read * mask.reshape((n, parts, 1, taps, rows, columns))
        read = read.reshape((n, group, channels // group * taps, rows * columns))
        kernels = weight.reshape((group, weight.shape[0] // group, -1))
        y = (kernels @ read).reshape((n, weight.shape[0], rows, columns))
        return y if bias is None else y + bias.reshape((-1, 1, 1))

    return run


def _between(x: Tensor, places: Tensor) -> Tensor:
    """Images `[..., channels, height, width]` read at `[..., entries, 2, rows, columns]`; zero outside."""
    height, width = x.shape[-2:]
    flat = x.flatten(-2)
    low = places.detach().floor()
    y = flat.new_zeros(())
    for corner in product((0, 1), (0, 1)):
        pixel = low + torch.tensor(corner, device=x.device, dtype=x.dtype).reshape((2, 1, 1))
        share = (1 - (places - pixel).abs()).prod(-3)
        row, column = pixel.long().unbind(-3)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = torch.where(inside, row * width + column, 0).unsqueeze(-4)
        values = flat.gather(-1, index.flatten(-3).expand((*flat.shape[:-1], -1)))
        values = values.reshape((*flat.shape[:-1], *index.shape[-3:]))
        y = y + values * torch.where(inside, share, 0).unsqueeze(-4)
    return y


def _places(window: Window, lengths: tuple[int, int]) -> Tensor:
    """Where the entries of undeformed windows lie, `[entries, 2, rows, columns]`."""
    taps = list(product(*(range(k) for k in window.kernel)))
    axes = [
        torch.tensor([[tap[axis] * window.dilations[axis] - window.pads[axis]] for tap in taps])
        + torch.arange(lengths[axis]) * window.strides[axis]
        for axis in range(2)
    ]
    rows = axes[0].unsqueeze(-1).expand((-1, -1, lengths[1]))
    columns = axes[1].unsqueeze(-2).expand((-1, lengths[0], -1))
    return torch.stack([rows, columns], 1)


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("GridSample", grid_sample, since=16)
    operators.register("AffineGrid", affine_grid, since=20, host=[1])
    operators.register("DeformConv", deformable_convolution, since=19)

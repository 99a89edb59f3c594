"""Pooling over windows and over everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators
from auditor.windows import Window, interleaved

MAXIMA: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGES: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _window(node: Node) -> Window:
    window = Window.of(node, node.attributes["kernel_shape"])
    if len(window.kernel) not in MAXIMA:
        raise node.unsupported(f"windows over {len(window.kernel)} axes")
    return window


def _beyond(window: Window, sizes: Sequence[int]) -> list[int]:
    """How far the last window of each axis reaches beyond the padding, because ceil_mode let a partial one count."""
    before, after = window.padding(sizes)
    lengths = zip(window.lengths(sizes), window.strides, window.extents, strict=True)
    reached = [(length - 1) * stride + extent for length, stride, extent in lengths]
    padded = [start + size + end for start, size, end in zip(before, sizes, after, strict=True)]
    return [max(end - size, 0) for end, size in zip(reached, padded, strict=True)]


def _padded(x: Tensor, window: Window, value: float, outside: float) -> Tensor:
    """The input with its padding spelt out: `value` within what the file asks for, `outside` beyond."""
    beyond = _beyond(window, x.shape[2:])
    padded = F.pad(x, interleaved(*window.padding(x.shape[2:])), value=value)
    return F.pad(padded, interleaved([0] * len(beyond), beyond), value=outside) if any(beyond) else padded


def _cropped(y: Tensor, lengths: tuple[int, ...]) -> Tensor:
    for axis, length in enumerate(lengths, start=2):
        y = y.narrow(axis, 0, length)
    return y


def max_pool(node: Node) -> Function:
    window = _window(node)
    pool = MAXIMA[len(window.kernel)]
    if node.wants(1):
        raise node.unsupported("the indices of the maxima")

    def run(x: Tensor) -> Tensor:
        before, after = window.padding(x.shape[2:])
        small = all(2 * pad <= k for pad, k in zip(before, window.kernel, strict=True))
        if before == after and small and not window.ceil_mode:
            return pool(x, window.kernel, window.strides, before, window.dilations)
        y = pool(_padded(x, window, -torch.inf, -torch.inf), window.kernel, window.strides, 0, window.dilations)
        return _cropped(y, window.lengths(x.shape[2:]))

    return run


def average_pool(node: Node) -> Function:
    window = _window(node)
    rank = len(window.kernel)
    include = bool(node.attributes.get("count_include_pad", 0))

    def run(x: Tensor) -> Tensor:
        before, after = window.padding(x.shape[2:])
        small = all(2 * pad <= k for pad, k in zip(before, window.kernel, strict=True))
        if before == after and small and not window.ceil_mode and max(window.dilations) == 1:
            return AVERAGES[rank](x, window.kernel, window.strides, before, False, include)
        ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        counts = _sums(_padded(ones, window, float(include), 0.0), window)
        return _cropped(_sums(_padded(x, window, 0.0, 0.0), window) / counts, window.lengths(x.shape[2:]))

    return run


def _sums(x: Tensor, window: Window) -> Tensor:
    """Sums over the windows: a convolution with ones, each channel by itself."""
    ones = torch.ones((1, 1, *window.kernel), dtype=x.dtype, device=x.device)
    flat = x.reshape((-1, 1, *x.shape[2:]))
    sums: Tensor = CONVOLUTIONS[len(window.kernel)](flat, ones, None, window.strides, 0, window.dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def lp_pool(node: Node) -> Function:
    window, p = _window(node), node.attributes.get("p", 2)

    def run(x: Tensor) -> Tensor:
        powers = _sums(_padded(x.abs() ** p, window, 0.0, 0.0), window)
        return _cropped(powers, window.lengths(x.shape[2:])).pow(1 / p)

    return run


def over_everything(function: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Function:
    return lambda x: function(x, tuple(range(2, x.ndim)))


def global_average(node: Node) -> Function:
    return over_everything(lambda x, axes: x.mean(axes, keepdim=True))


def global_max(node: Node) -> Function:
    return over_everything(lambda x, axes: x.amax(axes, keepdim=True))


def global_lp(node: Node) -> Function:
    p = node.attributes.get("p", 2)
    return over_everything(lambda x, axes: (x.abs() ** p).sum(axes, keepdim=True) ** (1 / p))


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("MaxPool", max_pool)
    operators.register("AveragePool", average_pool)
    operators.register("LpPool", lp_pool, since=2)
    operators.register("GlobalAveragePool", global_average)
    operators.register("GlobalMaxPool", global_max)
    operators.register("GlobalLpPool", global_lp, since=2)

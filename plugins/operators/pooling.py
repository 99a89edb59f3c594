"""Pooling over windows and over everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, integers
from auditor.windows import Window, interleaved

MAXIMA: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGES: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


WORK = 1_000_000_000
"""Entries that the windows over one channel may have together: a short file can ask for more than ends in a day."""


class PoolWindow(Window):
    """The window of a pool: the runtime leaves the dilation out of automatic padding, which may be negative."""

    def padding(self, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Padding before and after each spatial axis; below zero where strides leave entries out at the borders."""
        if not self.auto_pad.startswith("SAME"):
            return super().padding(sizes)
        totals = [
            (ceil(size / stride) - 1) * stride + kernel - size
            for size, stride, kernel in zip(sizes, self.strides, self.kernel, strict=True)
        ]
        first = tuple(int((total + (self.auto_pad == "SAME_LOWER")) / 2) for total in totals)  # cut towards zero
        return first, tuple(total - start for total, start in zip(totals, first, strict=True))


def _window(node: Node) -> Window:
    window = PoolWindow.of(node, node.attributes["kernel_shape"])
    if len(window.kernel) not in MAXIMA:
        raise node.unsupported(f"windows over {len(window.kernel)} axes")
    return window


def _check_work(node: Node, window: Window, x: Tensor) -> None:
    """Raise UnsupportedOperator where the windows have more than `WORK` entries, ModelError where one is too large."""
    check_size(window.kernel, x.element_size())
    if prod(window.kernel) * prod(window.lengths(x.shape[2:])) > WORK:
        raise node.unsupported(f"windows that have more than {WORK:.0e} entries for one channel")


def _sides(window: Window, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The padding; where it is negative at the end, the windows may nevertheless see what is there."""
    before, after = window.padding(sizes)
    return before, tuple(max(end, 0) for end in after)


def _beyond(window: Window, sizes: Sequence[int]) -> list[int]:
    """How far the last window of each axis reaches beyond the padding, because ceil_mode let a partial one count."""
    before, after = _sides(window, sizes)
    lengths = zip(window.lengths(sizes), window.strides, window.extents, strict=True)
    reached = [(length - 1) * stride + extent for length, stride, extent in lengths]
    padded = [start + size + end for start, size, end in zip(before, sizes, after, strict=True)]
    return [max(end - size, 0) for end, size in zip(reached, padded, strict=True)]


def _padded(x: Tensor, window: Window, value: float, outside: float) -> Tensor:
    """The input with its padding spelt out: `value` within what the file asks for, `outside` beyond."""
    beyond, (before, after) = _beyond(window, x.shape[2:]), _sides(window, x.shape[2:])
    sides = zip(before, x.shape[2:], after, beyond, strict=True)
    check_size((*x.shape[:2], *(sum(side) for side in sides)), x.element_size())
    padded = F.pad(x, interleaved(before, after), value=value)
    return F.pad(padded, interleaved([0] * len(beyond), beyond), value=outside) if any(beyond) else padded


def _cropped(y: Tensor, lengths: tuple[int, ...]) -> Tensor:
    for axis, length in enumerate(lengths, start=2):
        y = y.narrow(axis, 0, length)
    return y


def max_pool(node: Node) -> Function:
    """Maxima and, where the file wants them, their positions in the whole tensor."""
    window = _window(node)
    pool = MAXIMA[len(window.kernel)]
    if node.wants(1):
        return max_pool_with_indices(node, window)

    def run(x: Tensor) -> Tensor:
        if not x.is_floating_point():  # torch pools no small integers; float64 holds all but the longest exactly
            return run(x.double()).to(x.dtype)
        _check_work(node, window, x)
        before, after = window.padding(x.shape[2:])
        small = all(0 <= 2 * pad <= k for pad, k in zip(before, window.kernel, strict=True))
        if before == after and small and not window.ceil_mode:
            return pool(x, window.kernel, window.strides, before, window.dilations)
        y = pool(_padded(x, window, -torch.inf, -torch.inf), window.kernel, window.strides, 0, window.dilations)
        return _cropped(y, window.lengths(x.shape[2:]))

    return run


def max_pool_with_indices(node: Node, window: Window) -> Function:
    pool, rank = MAXIMA[len(window.kernel)], len(window.kernel)
    column_major = bool(node.attributes.get("storage_order", 0))

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        _check_work(node, window, x)
        values = x if x.is_floating_point() else x.double()
        sizes, before = x.shape[2:], window.padding(x.shape[2:])[0]
        padded = _padded(values, window, -torch.inf, -torch.inf)
        y, found = pool(padded, window.kernel, window.strides, 0, window.dilations, return_indices=True)
        y, found = (_cropped(part, window.lengths(sizes)) for part in (y, found))
        place, step = torch.zeros_like(found), 1
        places = []
        for axis in reversed(range(rank)):
            places.append(found % padded.shape[2 + axis] - before[axis])
            found = found // padded.shape[2 + axis]
        order = range(rank - 1, -1, -1) if column_major else range(rank)
        for axis in order:
            place, step = place + places[axis] * step, step * sizes[rank - 1 - axis]
        planes = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape((*x.shape[:2], *[1] * rank))
        return y.to(x.dtype), place + planes * step

    return run


def max_unpool(node: Node) -> Function:
    """Entries put back to the positions that MaxPool found, zeros elsewhere."""
    window = _window(node)
    before, after = window.pads[: len(window.kernel)], window.pads[len(window.kernel) :]

    def run(x: Tensor, indices: Tensor, wanted: Tensor | None = None) -> Tensor:
        lengths = zip(x.shape[2:], window.strides, window.kernel, before, after, strict=True)
        sizes = (*x.shape[:2], *((n - 1) * stride + k - low - high for n, stride, k, low, high in lengths))
        if wanted is not None and tuple(integers(wanted)) != sizes:
            raise node.unsupported("an output_shape of its own, where runtimes and the standard disagree")
        check_size(sizes, x.element_size())
        return x.new_zeros(prod(sizes)).scatter(0, indices.long().reshape(-1), x.reshape(-1)).reshape(sizes)

    return run


def average_pool(node: Node) -> Function:
    window = _window(node)
    rank = len(window.kernel)
    include = bool(node.attributes.get("count_include_pad", 0))
    if window.ceil_mode and window.auto_pad.startswith("SAME") and max(window.dilations) > 1:
        raise node.unsupported("ceil_mode together with automatic padding and dilations")

    def run(x: Tensor) -> Tensor:
        _check_work(node, window, x)
        before, after = window.padding(x.shape[2:])
        small = all(0 <= 2 * pad <= k for pad, k in zip(before, window.kernel, strict=True))
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
        _check_work(node, window, x)
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
    operators.register("MaxUnpool", max_unpool, since=9, host=[2])
    operators.register("AveragePool", average_pool)
    operators.register("LpPool", lp_pool, since=2)
    operators.register("GlobalAveragePool", global_average)
    operators.register("GlobalMaxPool", global_max)
    operators.register("GlobalLpPool", global_lp, since=2)

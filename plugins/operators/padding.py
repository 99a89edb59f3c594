"""Padding with a constant, by reflection, by the edge and around."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, integers
from auditor.windows import interleaved

MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}
"""Names of ONNX, and what numpy calls them."""


def _mode(node: Node) -> str:
    mode = node.attributes.get("mode", "constant")
    if mode not in MODES:
        raise node.unsupported(f"mode {mode!r}")
    return MODES[mode]


def pad(node: Node) -> Function:
    """Since opset 11 the amounts are an input, since 18 they may be of some axes only."""
    mode = _mode(node)

    def run(x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        fill = 0.0 if value is None else value.item()
        return _padded(x, integers(pads), mode, fill, None if axes is None else integers(axes))

    return run


def pad_2(node: Node) -> Function:
    mode, pads, value = _mode(node), list(node.attributes["pads"]), node.attributes.get("value", 0.0)
    return lambda x: _padded(x, pads, mode, value, None)


def _padded(x: Tensor, pads: list[int], mode: str, value: float, axes: list[int] | None) -> Tensor:
    before, after = [0] * x.ndim, [0] * x.ndim
    half = len(pads) // 2
    for position, axis in enumerate(range(half) if axes is None else axes):
        before[axis], after[axis] = pads[position], pads[position + half]
    check_size((a + n + b for a, n, b in zip(before, x.shape, after, strict=True)), x.element_size())
    if mode == "constant":
        return F.pad(x, interleaved(before, after), value=value)
    cut = [min(amount, 0) for amount in interleaved(before, after)]
    x = F.pad(x, cut) if any(cut) else x
    for axis in range(x.ndim):
        ends = max(before[axis], 0), max(after[axis], 0)
        if any(ends):
            order = np.pad(np.arange(x.shape[axis]), ends, mode=mode)  # type: ignore[call-overload]
            x = x.index_select(axis, torch.from_numpy(order).to(x.device))
    return x


def center_crop_pad(node: Node) -> Function:
    """Cut or padded with zeros on both sides alike, to a given shape; of an odd number the larger part at the end."""
    axes = node.attributes.get("axes")

    def run(x: Tensor, shape: Tensor) -> Tensor:
        before, after = [0] * x.ndim, [0] * x.ndim
        for axis, length in zip(range(x.ndim) if axes is None else axes, integers(shape), strict=True):
            missing = length - x.shape[axis]
            smaller = abs(missing) // 2 * (1 if missing > 0 else -1)
            before[axis], after[axis] = smaller, missing - smaller
        return _padded(x, before + after, "constant", 0, None)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Pad", pad_2, since=2)
    operators.register("Pad", pad, since=11, host=[1, 2, 3])
    operators.register("CenterCropPad", center_crop_pad, since=18, host=[1])

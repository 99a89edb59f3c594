"""Quantised values: whole numbers carried as floats, what a type can hold of them, and where it saturates.

Rounding is to the nearest level, ties to the even one, as in onnxruntime; its gradient passes straight through. Where a
type saturates the gradient is zero, since there no small step of the input changes anything, unless some is let leak.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.operators import Node, straight_through

LIMITS: dict[str, tuple[int, int]] = {
    "int2": (-2, 1),
    "uint2": (0, 3),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int8": (-(1 << 7), (1 << 7) - 1),
    "uint8": (0, (1 << 8) - 1),
    "int16": (-(1 << 15), (1 << 15) - 1),
    "uint16": (0, (1 << 16) - 1),
}
"""Least and largest value of the types that values are quantised to."""
WRAPPING = {**LIMITS, "uint32": (0, (1 << 32) - 1), "uint64": (0, (1 << 64) - 1)}
"""Least and largest value of the types whose whole numbers, where they lie beyond, wrap around."""

HALF_STEP = 0.5


@dataclass(frozen=True)
class Levels:
    """The whole numbers that a quantised type can hold.

    leak: the share of a gradient that passes where a value saturates. rounding: whether values are rounded at all.
    """

    low: float
    high: float
    leak: float = 0.0
    rounding: bool = True

    @classmethod
    def of(cls, node: Node, *positions: int) -> Levels:
        """The levels of the first of these inputs whose type is known. Raises UnsupportedOperator where none is."""
        kind = type_of(node, *positions)
        if kind not in LIMITS:
            raise node.unsupported(f"the quantised type {kind}" if kind else "a type that nothing in the file states")
        return cls(*LIMITS[kind], node.leak, node.rounding)

    def saturate(self, x: Tensor, zero: Tensor | None = None, margin: float = 0.0) -> Tensor:
        """x where its sum with the zero point is within the limits, else what leads to the nearest of them.

        margin: by how much the limits are widened.
        """
        held = self._held(x, zero, margin)
        return straight_through(held + self.leak * (x - held), held.detach()) if self.leak else held

    def _held(self, x: Tensor, zero: Tensor | None, margin: float = 0.0) -> Tensor:
        low, high = self.low - margin, self.high + margin
        return x.clamp(low, high) if zero is None else x.clamp(low - zero, high - zero)

    def hold(self, x: Tensor, zero: Tensor | None = None) -> Tensor:
        """The level nearest to x, which the zero point then shifts.

        What rounds to the first or last level does not saturate, so a gradient passes up to half a step beyond them:
        where a limit stands for a ReLU, attacks get further with it. What lies further out is cut off before it is
        rounded, so that no infinity is left to take differences of.
        """
        zero = None if zero is None else carried(zero, x)
        near = self.saturate(x, zero, HALF_STEP)
        levels = straight_through(near, self._held(near.detach().round(), zero)) if self.rounding else near
        return levels if zero is None else levels + zero

    def quantize(self, x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
        """The level that stands for x. scale, zero: broadcast against x."""
        return self.hold(x / scale, zero)


def type_of(node: Node, *positions: int) -> str:
    """The element type of the first of these inputs that is there and known; else an empty text."""
    known = (node.types[position] for position in positions if position < len(node.types))
    return next((kind for kind in known if kind), "")


def wrapped(x: Tensor, kind: str) -> Tensor:
    """Whole numbers as a type of `WRAPPING` holds them, which keeps their lowest bits."""
    low, high = WRAPPING[kind]
    count = high - low + 1
    return torch.remainder(x - low, float(count) if x.is_floating_point() else count) + low


def carried(x: Tensor, like: Tensor) -> Tensor:
    """Whole numbers as floats of the precision of `like`; floats stay as they are."""
    return x if x.is_floating_point() else x.to(like.dtype)


def centred(x: Tensor, zero: Tensor | None, like: Tensor) -> Tensor:
    """Levels as floats, less their zero point."""
    x = carried(x, like)
    return x if zero is None else x - carried(zero, x)


def dequantized(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """What levels stand for."""
    return centred(x, zero, scale) * scale


def along(value: Tensor, axis: int, rank: int) -> Tensor:
    """A scale or zero point so that it broadcasts against a tensor of this rank.

    One entry belongs to the whole tensor, several lie along the axis; what has several axes already is laid out.
    """
    if value.ndim > 1:
        return value
    if value.numel() == 1:
        return value.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return value.reshape(shape)


def in_blocks(value: Tensor, axis: int, block: int, length: int) -> Tensor:
    """Scales or zero points of blocks along an axis, each repeated for every entry of its block."""
    return torch.repeat_interleave(value, block, dim=axis).narrow(axis, 0, length)

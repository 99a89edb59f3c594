"""Windows that slide: strides, padding, dilation and rounding of convolution and pooling, as ONNX defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from auditor.operators import Node


@dataclass(frozen=True)
class Window:
    """The attributes that convolutions and pools share, resolved for inputs of one number of spatial axes.

    pads: as ONNX lists them, all beginnings and then all ends.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str
    ceil_mode: bool

    @classmethod
    def of(cls, node: Node, kernel: Sequence[int]) -> Self:
        """The window of a node whose kernel has these lengths. Raises UnsupportedOperator for an unknown auto_pad."""
        rank, attributes = len(kernel), node.attributes
        auto_pad = attributes.get("auto_pad", "NOTSET")
        if auto_pad not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
            raise node.unsupported(f"auto_pad {auto_pad!r}")
        return cls(
            kernel=tuple(kernel),
            strides=tuple(attributes.get("strides", (1,) * rank)),
            dilations=tuple(attributes.get("dilations", (1,) * rank)),
            pads=tuple(attributes.get("pads", (0,) * 2 * rank)),
            auto_pad=auto_pad,
            ceil_mode=bool(attributes.get("ceil_mode", 0)),
        )

    @property
    def extents(self) -> tuple[int, ...]:
        """How many entries the dilated kernel spans on each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def padding(self, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Padding before and after each spatial axis, for an input of these sizes."""
        rank = len(self.kernel)
        if self.auto_pad == "NOTSET":
            return self.pads[:rank], self.pads[rank:]
        if self.auto_pad == "VALID":
            return (0,) * rank, (0,) * rank
        totals = [
            max((ceil(size / stride) - 1) * stride + extent - size, 0)
            for size, stride, extent in zip(sizes, self.strides, self.extents, strict=True)
        ]
        return split_padding(totals, self.auto_pad)

    def lengths(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the output. With ceil_mode a last, partial window counts unless it starts in the end padding."""
        before, after = self.padding(sizes)
        lengths = []
        for axis, size in enumerate(sizes):
            room = size + before[axis] + after[axis] - self.extents[axis]
            length = room // self.strides[axis] + 1
            if self.ceil_mode:
                length = ceil(room / self.strides[axis]) + 1
                if (length - 1) * self.strides[axis] >= size + before[axis]:
                    length -= 1
            lengths.append(length)
        return tuple(lengths)


def split_padding(totals: Sequence[int], auto_pad: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Total padding of each axis in two halves; the odd one goes to the end for SAME_UPPER, else to the beginning."""
    smaller = tuple(total // 2 for total in totals)
    larger = tuple(total - half for total, half in zip(totals, smaller, strict=True))
    return (smaller, larger) if auto_pad == "SAME_UPPER" else (larger, smaller)


def interleaved(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Padding in the order that `torch.nn.functional.pad` takes: last axis first, beginning and end together."""
    return [amount for axis in reversed(range(len(before))) for amount in (before[axis], after[axis])]

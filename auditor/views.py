"""What attacks let the model see of a picture instead of the picture itself: helpers for a query's `view`.

Differentiable in the picture, one map for each row, and the same bits wherever they are computed: no two output pixels
but one pair at most take the same source pixel as the same corner, so the order in which gradients are summed up does
not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from auditor.spatial import axes, is_picture

Box = tuple[Tensor | int, Tensor | int, Tensor | int, Tensor | int]
"""Top, bottom, left and right limits that pixels are taken from, one for all or `[m, height, width]`; bottom and right
are the first beyond."""


def on_planes(pictures: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The pictures `[m, *shape]` after a change of `[m, channels, height, width]`; see `auditor.spatial.axes`.

    What is no picture stays as it is.
    """
    if not is_picture(pictures.shape[1:]):
        return pictures
    channels, height, width, last = axes(pictures.shape[1:])
    planes = pictures.permute(0, 3, 1, 2) if last else pictures
    changed = change(planes.reshape(len(pictures), channels, height, width))
    return (changed.permute(0, 2, 3, 1) if last else changed).reshape(pictures.shape)


def sampled(planes: Tensor, rows: Tensor, columns: Tensor, box: Box) -> Tensor:
    """Each pixel taken from a place in the picture, bilinearly; 0 from beyond the box.

    planes: `[m, channels, height, width]`. rows, columns: places, what broadcasts to `[m, height, width]`.
    A whole number takes the pixel as it is, bit by bit.
    """
    m, channels, height, width = planes.shape
    flat = planes.reshape(m, channels, height * width)
    top, bottom, left, right = box
    made = torch.zeros_like(flat)
    for y in (rows.floor(), rows.floor() + 1):
        for x in (columns.floor(), columns.floor() + 1):
            inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
            weight = torch.where(inside, (1 - (rows - y).abs()) * (1 - (columns - x).abs()), 0)
            place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().reshape(m, 1, -1)
            made = made + weight.reshape(m, 1, -1).to(made.dtype) * flat.gather(2, place.expand_as(flat))
    return made.reshape(planes.shape)

"""Regions of images: pooled to one size, and chosen among overlapping ones."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size


def roi_align(node: Node) -> Function:
    """Averages, or maxima, of points between the pixels. Since opset 16 coordinates count from a pixel's corner."""
    get = node.attributes.get
    mode = get("mode", "avg")
    shifted = get("coordinate_transformation_mode", "half_pixel" if node.opset >= 16 else "output_half_pixel")
    if mode not in ("avg", "max") or shifted not in ("half_pixel", "output_half_pixel"):
        raise node.unsupported(f"mode {mode!r} with {shifted!r}")
    size, scale = (get("output_height", 1), get("output_width", 1)), get("spatial_scale", 1.0)
    fixed, half = get("sampling_ratio", 0), shifted == "half_pixel"

    def run(x: Tensor, rois: Tensor, images: Tensor) -> Tensor:
        check_size((len(rois), x.shape[1], *size), x.element_size())
        corners = rois * scale - (0.5 if half else 0.0)
        extent = corners[:, 2:] - corners[:, :2]
        extent = extent if half else extent.clamp(min=1.0)
        found = []
        for region in range(len(rois)):
            image = x.index_select(0, images[region].long().reshape(1)).squeeze(0)
            reads = []
            for axis, length in enumerate(size):
                start, span = corners[region, 1 - axis], extent[region, 1 - axis]
                points = fixed or max(ceil(span.item() / length), 1)
                check_size((length * points, x.shape[2 + axis]), x.element_size())
                at = start + (torch.arange(length * points, device=x.device, dtype=x.dtype) + 0.5) * span / (
                    length * points
                )
                reads.append((_corner_weights(at, x.shape[2 + axis]), points))
            found.append(_averaged(image, reads) if mode == "avg" else _largest(image, reads))
        return torch.stack(found) if found else x.new_zeros((0, x.shape[1], *size))

    return run


def _corner_weights(at: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Of points of one axis: the pixels before and after, `[points, length]` each, weighed by nearness.

    A point up to one pixel outside reads the edge, one further out reads nothing.
    """
    inside = ((at >= -1) & (at <= length)).to(at.dtype)
    at = at.clamp(min=0.0)
    low = at.detach().floor().clamp(max=length - 1)
    share = torch.where(low >= length - 1, torch.zeros_like(at), at - low)
    pixels = torch.arange(length, device=at.device, dtype=at.dtype)
    before = (low[:, None] == pixels).to(at.dtype)
    after = ((low + 1).clamp(max=length - 1)[:, None] == pixels).to(at.dtype)
    return before * ((1 - share) * inside)[:, None], after * (share * inside)[:, None]


def _averaged(image: Tensor, reads: list[tuple[tuple[Tensor, Tensor], int]]) -> Tensor:
    """Averages are linear: one matrix for the rows, one for the columns."""
    rows, columns = ((low + high).reshape((-1, n, low.shape[-1])).mean(1) for (low, high), n in reads)
    return rows @ image @ columns.t()


def _largest(image: Tensor, reads: list[tuple[tuple[Tensor, Tensor], int]]) -> Tensor:
    """The largest of all weighed corners, as the standard has it, not of the points."""
    (rows, n), (columns, m) = reads
    parts = torch.stack([row @ image @ column.t() for row in rows for column in columns]).amax(0)
    height, width = parts.shape[-2] // n, parts.shape[-1] // m
    return parts.reshape((-1, height, n, width, m)).amax((2, 4))


def max_roi_pool(node: Node) -> Function:
    """Maxima of whole pixels; regions are `[image, left, top, right, bottom]`, both ends included."""
    size, scale = node.attributes["pooled_shape"], node.attributes.get("spatial_scale", 1.0)

    def run(x: Tensor, rois: Tensor) -> Tensor:
        check_size((len(rois), x.shape[1], *size), x.element_size())
        found = []
        for image, *corners in rois.tolist():
            left, top, right, bottom = (int(corner * scale + 0.5) for corner in corners)
            rows, columns = _bins(top, bottom, size[0], x.shape[2]), _bins(left, right, size[1], x.shape[3])
            pooled = [
                x[int(image), :, row, column].amax((1, 2))
                if row.stop > row.start and column.stop > column.start
                else x.new_zeros(x.shape[1])
                for row in rows
                for column in columns
            ]
            found.append(torch.stack(pooled, 1).reshape((x.shape[1], *size)))
        return torch.stack(found) if found else x.new_zeros((0, x.shape[1], *size))

    return run


def _bins(first: int, last: int, number: int, length: int) -> list[slice]:
    width = max(last - first + 1, 1) / number
    ends = [(int(i * width) + first, ceil((i + 1) * width) + first) for i in range(number)]
    return [slice(min(max(start, 0), length), min(max(end, 0), length)) for start, end in ends]


def non_max_suppression(node: Node) -> Function:
    """Rows `[image, class, box]`, best score first; a box that overlaps a better one is left out. No gradient."""
    centred = bool(node.attributes.get("center_point_box", 0))

    def run(
        boxes: Tensor,
        scores: Tensor,
        most: Tensor | None = None,
        overlap: Tensor | None = None,
        lowest: Tensor | None = None,
    ) -> Tensor:
        limit = 0 if most is None else int(most.item())
        allowed = 0.0 if overlap is None else float(overlap.item())
        found = []
        for image in range(scores.shape[0]):
            corners = _corners(boxes[image].detach(), centred)
            for kind in range(scores.shape[1]):
                score = scores[image, kind].detach()
                left = score.argsort(descending=True, stable=True)
                left = left if lowest is None else left[score[left] > float(lowest.item())]
                for _ in range(limit):
                    if not len(left):
                        break
                    best, left = left[0], left[1:]
                    found.append([image, kind, int(best)])
                    left = left[_overlap(corners[best], corners[left]) <= allowed]
        return torch.tensor(found, dtype=torch.int64, device=boxes.device).reshape((-1, 3))

    return run


def _corners(boxes: Tensor, centred: bool) -> Tensor:
    """Boxes as least and greatest corner, `[boxes, 4]`."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if centred:
        first, second = first - second / 2, first + second / 2
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], 1)


def _overlap(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of one box with each of the others; 0 where a box is empty."""
    sides = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(1)
    shared = sides.prod(1)
    empty = (area <= 0) | (areas <= 0)
    return torch.where(empty, torch.zeros_like(shared), shared / (area + areas - shared))


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("RoiAlign", roi_align, since=10)
    operators.register("MaxRoiPool", max_roi_pool, host=[1])
    operators.register("NonMaxSuppression", non_max_suppression, since=10, host=[2, 3, 4])

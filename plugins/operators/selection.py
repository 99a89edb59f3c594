"""Taking tensors apart by position, and putting them together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, integers, straight_through


def concat(node: Node) -> Function:
    axis = node.attributes["axis"]
    return lambda *parts: torch.cat(parts, axis)


def split(node: Node) -> Function:
    """Since opset 13 the lengths are an input; without them the parts are equal, but for a last, shorter one."""
    axis, parts = node.attributes.get("axis", 0), node.attributes.get("num_outputs", len(node.outputs))

    def run(x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        return _split(x, axis, parts, None if lengths is None else integers(lengths))

    return run


def split_2(node: Node) -> Function:
    axis, lengths, parts = node.attributes.get("axis", 0), node.attributes.get("split"), len(node.outputs)
    return lambda x: _split(x, axis, parts, lengths)


def _split(x: Tensor, axis: int, parts: int, lengths: list[int] | None) -> tuple[Tensor, ...]:
    if lengths is None:
        whole = -(-x.shape[axis] // parts)
        lengths = [whole] * (parts - 1) + [x.shape[axis] - whole * (parts - 1)]
    return torch.split(x, lengths, axis)


def slices(node: Node) -> Function:
    """Since opset 10 where to cut is an input."""

    def run(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
        first = integers(starts)
        return _sliced(
            x,
            first,
            integers(ends),
            list(range(len(first))) if axes is None else integers(axes),
            [1] * len(first) if steps is None else integers(steps),
        )

    return run


def slices_1(node: Node) -> Function:
    starts, ends = node.attributes["starts"], node.attributes["ends"]
    axes = node.attributes.get("axes", range(len(starts)))
    return lambda x: _sliced(x, starts, ends, axes, [1] * len(starts))


UNBOUNDED = ((1 << 31) - 1, (1 << 63) - 1)
"""Ends that the runtime takes for the beginning where a slice goes backwards."""


def _sliced(x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = x.shape[axis]
        if step < 0 and end in UNBOUNDED:
            end = -length - 1
        taken = range(*slice(start, end, step).indices(length))
        if taken == range(length):
            continue
        if step < 0:  # torch steps forward only
            x, taken = x.flip(axis), range(length - 1 - taken.start, length - 1 - taken.stop, -step)
        cut: list[slice] = [slice(None)] * x.ndim
        cut[axis] = slice(taken.start, max(taken.stop, taken.start), taken.step)
        x = x[tuple(cut)]
    return x


def from_start(indices: Tensor, length: int) -> Tensor:
    """Indices that count from the end, counted from the start; as torch takes them."""
    indices = indices.long()
    return torch.where(indices < 0, indices + length, indices)


def gather(node: Node) -> Function:
    """Positions that are carried as floats pass a gradient on: half the difference of the two neighbours."""
    axis = node.attributes.get("axis", 0)

    def run(x: Any, indices: Tensor) -> Any:
        if isinstance(x, np.ndarray):
            return np.take(x, indices.long().numpy(), axis)
        place = axis % x.ndim
        flat = from_start(indices.reshape(-1), x.shape[place])
        shape = (*x.shape[:place], *indices.shape, *x.shape[place + 1 :])
        taken = x.index_select(place, flat).reshape(shape)
        if not indices.is_floating_point() or not taken.is_floating_point() or not torch.is_grad_enabled():
            return taken
        after, before = (flat + step for step in (1, -1))
        slope = x.index_select(place, after.clamp(max=x.shape[place] - 1)) - x.index_select(place, before.clamp(min=0))
        weight = indices.reshape((*indices.shape, *[1] * (x.ndim - place - 1)))
        return straight_through(taken + weight * (slope.reshape(shape) / 2).detach(), taken)

    return run


def gather_surrogate(node: Node) -> str | None:
    """Central difference, where the indices depend on the input."""
    return "central difference" if any(node.live[1:]) else None


def gather_elements(node: Node) -> Function:
    axis = node.attributes.get("axis", 0)
    return lambda x, indices: x.gather(axis, from_start(indices, x.shape[axis]))


def gather_nd(node: Node) -> Function:
    """Entries or slices by their coordinates, of each sample by itself where the first axes are of samples."""
    samples = node.attributes.get("batch_dims", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        if not samples:
            return x[tuple(coordinates(x, indices))]
        each, many = x.flatten(0, samples - 1), indices.flatten(0, samples - 1)
        number = torch.arange(each.shape[0], device=x.device).reshape((-1, *[1] * (many.ndim - 2)))
        found = each[(number, *coordinates(each[0], many))]
        return found.reshape((*x.shape[:samples], *found.shape[1:]))

    return run


def coordinates(x: Tensor, indices: Tensor) -> list[Tensor]:
    return [from_start(index, x.shape[axis]) for axis, index in enumerate(indices.unbind(-1))]


def trilu(node: Node) -> Function:
    triangle = torch.triu if node.attributes.get("upper", 1) else torch.tril
    return lambda x, diagonal=None: triangle(x, 0 if diagonal is None else int(diagonal.item()))


def reverse_sequence(node: Node) -> Function:
    """The first entries of each sequence in reverse order, as many as the sequence is long."""
    along, samples = node.attributes.get("time_axis", 0), node.attributes.get("batch_axis", 1)

    def run(x: Tensor, lengths: Tensor) -> Tensor:
        shape = [1] * x.ndim
        shape[samples] = -1
        lengths = lengths.long().reshape(shape)
        shape[samples], shape[along] = 1, -1
        place = torch.arange(x.shape[along], device=x.device).reshape(shape)
        return x.gather(along, torch.where(place < lengths, lengths - 1 - place, place).expand(x.shape))

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Concat", concat, since=4)
    operators.register("Split", split_2, since=2)
    operators.register("Split", split, since=13, host=[1])
    operators.register("Slice", slices_1)
    operators.register("Slice", slices, since=10, host=[1, 2, 3, 4])
    operators.register("Gather", gather, surrogate=gather_surrogate)
    operators.register("GatherElements", gather_elements)
    operators.register("GatherND", gather_nd)
    operators.register("Trilu", trilu, since=14, host=[1])
    operators.register("ReverseSequence", reverse_sequence, since=10)

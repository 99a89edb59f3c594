"""Taking tensors apart by position, and putting them together."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, integers


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
    return tuple(x.narrow(axis, end - length, length) for end, length in zip(accumulate(lengths), lengths, strict=True))


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


def _sliced(x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Tensor:
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = x.shape[axis]
        taken = range(*slice(start, end, step).indices(length))
        if step < 0:  # torch steps forward only
            x, taken = x.flip(axis), range(length - 1 - taken.start, length - 1 - taken.stop, -step)
        cut: list[slice] = [slice(None)] * x.ndim
        cut[axis] = slice(taken.start, max(taken.stop, taken.start), taken.step)
        x = x[tuple(cut)]
    return x


def _from_start(indices: Tensor, length: int) -> Tensor:
    """Indices that count from the end, counted from the start; as torch takes them."""
    indices = indices.long()
    return torch.where(indices < 0, indices + length, indices)


def gather(node: Node) -> Function:
    axis = node.attributes.get("axis", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        place = axis % x.ndim
        flat = _from_start(indices.reshape(-1), x.shape[place])
        taken = x.index_select(place, flat)
        return taken.reshape((*x.shape[:place], *indices.shape, *x.shape[place + 1 :]))

    return run


def gather_elements(node: Node) -> Function:
    axis = node.attributes.get("axis", 0)
    return lambda x, indices: x.gather(axis, _from_start(indices, x.shape[axis]))


def gather_nd(node: Node) -> Function:
    if node.attributes.get("batch_dims", 0):
        raise node.unsupported("batch_dims")
    return lambda x, indices: x[tuple(_coordinates(x, indices))]


def _coordinates(x: Tensor, indices: Tensor) -> list[Tensor]:
    return [_from_start(index, x.shape[axis]) for axis, index in enumerate(indices.unbind(-1))]


REDUCTIONS = {"none": None, "add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_elements(node: Node) -> Function:
    axis, reduction = node.attributes.get("axis", 0), REDUCTIONS[node.attributes.get("reduction", "none")]

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        indices = _from_start(indices, x.shape[axis])
        if reduction is None:
            return x.scatter(axis, indices, updates)
        return x.scatter_reduce(axis, indices, updates, reduction)

    return run


def scatter_nd(node: Node) -> Function:
    reduction = node.attributes.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise node.unsupported(f"reduction {reduction!r}")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        return x.index_put(tuple(_coordinates(x, indices)), updates, accumulate=reduction == "add")

    return run


def top_k(node: Node) -> Function:
    """Since opset 10 the number is an input. Ties may fall otherwise than in the file's runtime."""
    axis, largest = node.attributes.get("axis", -1), bool(node.attributes.get("largest", 1))
    ordered = bool(node.attributes.get("sorted", 1))

    def run(x: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = x.topk(int(number.item()), axis, largest, ordered)
        return values, indices

    return run


def trilu(node: Node) -> Function:
    triangle = torch.triu if node.attributes.get("upper", 1) else torch.tril
    return lambda x, diagonal=None: triangle(x, 0 if diagonal is None else int(diagonal.item()))


def one_hot(node: Node) -> Function:
    axis = node.attributes.get("axis", -1)

    def run(indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        number = int(depth.item())
        classes = torch.arange(number, device=indices.device)
        hot = (_from_start(indices, number).unsqueeze(-1) == classes).movedim(-1, axis)
        off, on = values.unbind()
        return torch.where(hot, on, off)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Concat", concat, since=4)
    operators.register("Split", split_2, since=2)
    operators.register("Split", split, since=13, host=[1])
    operators.register("Slice", slices_1)
    operators.register("Slice", slices, since=10, host=[1, 2, 3, 4])
    operators.register("Gather", gather)
    operators.register("GatherElements", gather_elements)
    operators.register("GatherND", gather_nd)
    operators.register("ScatterElements", scatter_elements)
    operators.register("ScatterND", scatter_nd)
    operators.register("TopK", top_k, since=10, host=[1])
    operators.register("Trilu", trilu, since=14, host=[1])
    operators.register("OneHot", one_hot, since=9, host=[1])
    operators.register("NonZero", always(lambda x: x.nonzero().t()))

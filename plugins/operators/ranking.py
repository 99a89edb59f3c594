"""Which entries are the largest: positions, one-hot vectors, and what stands in for their derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Builder, Function, Node, Operators, straight_through
from auditor.places import is_float


def arg_extreme(largest: bool) -> Builder:
    """The position of an extreme; of equal ones the first, or the last where the file says so.

    Where a gradient is wanted it is carried as a float, with the gradient of the mean position under a softmax.
    """

    def build(node: Node) -> Function:
        axis, keep = node.attributes.get("axis", 0), bool(node.attributes.get("keepdims", 1))
        last, live = bool(node.attributes.get("select_last_index", 0)), any(node.live)

        def run(x: Tensor) -> Tensor:
            extreme = x.amax(axis, keepdim=True) if largest else x.amin(axis, keepdim=True)
            where = (x == extreme).to(torch.uint8)
            found = where.flip(axis).argmax(axis, keepdim=keep) if last else where.argmax(axis, keepdim=keep)
            found = x.shape[axis] - 1 - found if last else found
            if not live or not torch.is_grad_enabled() or not x.is_floating_point():
                return found
            places = torch.arange(x.shape[axis], dtype=x.dtype, device=x.device)
            shares = (x if largest else -x).softmax(axis).movedim(axis, -1)
            mean = (shares * places).sum(-1)
            return straight_through(mean.unsqueeze(axis) if keep else mean, found.to(x.dtype))

        return run

    return build


def of_floats(name: str) -> Any:
    """The surrogate's name for nodes whose first input may hold floats."""

    def surrogate(node: Node) -> str | None:
        return name if _may_be_float(node) else None

    surrogate.__doc__ = f"{name}, where its input holds floats."
    return surrogate


def _may_be_float(node: Node) -> bool:
    return not node.types or node.types[0] == "" or is_float(node.types[0])


def hardmax(node: Node) -> Function:
    """1 at the first of the largest, 0 elsewhere. Before opset 13 all axes from `axis` on were one."""
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1)

    def run(x: Tensor) -> Tensor:
        flat, along = (x, axis) if node.opset >= 13 else (x.flatten(axis % x.ndim), -1)
        first = _first(flat, along)
        places = torch.arange(flat.shape[along], device=x.device)
        hot = (first.movedim(along, -1) == places).movedim(-1, along).to(x.dtype)
        return straight_through(flat.softmax(along), hot).reshape(x.shape)

    return run


def _first(x: Tensor, axis: int) -> Tensor:
    return (x == x.amax(axis, keepdim=True)).to(torch.uint8).argmax(axis, keepdim=True)


def top_k(node: Node) -> Function:
    """Since opset 10 the number is an input. Of equal entries the first comes first, as in onnxruntime."""
    axis, largest = node.attributes.get("axis", -1), bool(node.attributes.get("largest", 1))
    fixed, ordered = node.attributes.get("k", 0), bool(node.attributes.get("sorted", 1))

    def run(x: Tensor, number: Tensor | None = None) -> tuple[Tensor, Tensor]:
        count = int(fixed if number is None else number.item())
        if count > 1 and not ordered:
            raise node.unsupported("more than one entry without an order, which only the runtime knows")
        values, indices = x.sort(dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)

    return run


def one_hot(node: Node) -> Function:
    """Positions that are carried as floats pass a gradient on: each moves the weight between its two neighbours."""
    axis = node.attributes.get("axis", -1)

    def run(indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        number = int(depth.item())
        classes = torch.arange(number, device=indices.device)
        whole = indices.long()
        start = torch.where(whole < 0, number, 0)
        off, on = values.unbind()
        hard = torch.where(((whole + start).unsqueeze(-1) == classes).movedim(-1, axis), on, off)
        if not indices.is_floating_point() or not torch.is_grad_enabled():
            return hard
        gap = ((indices + start).unsqueeze(-1) - classes).movedim(-1, axis).abs()
        return straight_through(off + torch.relu(1 - gap / 2) * (on - off), hard.to(indices.dtype))

    return run


def one_hot_surrogate(node: Node) -> str | None:
    """Triangular, where the indices depend on the input."""
    return "triangular" if node.live and node.live[0] else None


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("ArgMax", arg_extreme(True), surrogate=of_floats("soft arg-max"))
    operators.register("ArgMin", arg_extreme(False), surrogate=of_floats("soft arg-min"))
    operators.register("Hardmax", hardmax, surrogate="softmax")
    operators.register("TopK", top_k, host=[1])
    operators.register("OneHot", one_hot, since=9, host=[1], surrogate=one_hot_surrogate)

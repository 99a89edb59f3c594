"""Taking the entries that fulfil a condition, each once, or in another order: sizes that depend on values."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, truth


def compress(node: Node) -> Function:
    """Slices whose condition is true; conditions may be fewer than slices."""
    axis = node.attributes.get("axis")

    def run(x: Tensor, condition: Tensor) -> Tensor:
        x, along = (x.reshape(-1), 0) if axis is None else (x, axis)
        kept = truth(condition).reshape(-1)[: x.shape[along]].nonzero().reshape(-1)
        return x.index_select(along, kept.to(x.device))

    return run


def unique(node: Node) -> Function:
    """Values, where each is first, which of them each entry is, and how many there are; the gradient is the values'."""
    axis, ordered = node.attributes.get("axis"), bool(node.attributes.get("sorted", 1))

    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, along = (x.reshape(-1), 0) if axis is None else (x, axis)
        if x.is_floating_point() and bool(torch.isnan(x).any()):
            raise ValueError("the distinct values of a tensor with NaN are not defined")
        _, inverse, counts = torch.unique(x.detach(), return_inverse=True, return_counts=True, dim=along)
        inverse = inverse.reshape(-1)
        places = torch.arange(len(inverse), device=x.device)
        first = torch.full_like(counts, len(inverse)).scatter_reduce(0, inverse, places, "amin")
        if not ordered:
            order = first.argsort()
            first, counts, inverse = first[order], counts[order], order.argsort()[inverse]
        return x.index_select(along, first), first, inverse, counts

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Compress", compress, since=9, host=[1])
    operators.register("Unique", unique, since=11)
    operators.register("NonZero", always(lambda x: (x if x.ndim else x[None]).nonzero().t()))

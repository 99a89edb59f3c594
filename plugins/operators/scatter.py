"""Writing entries into a tensor at given positions."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators

from .selection import coordinates, from_start

REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
"""What becomes of entries written to the same place, by the names of ONNX and of torch."""


def _reduction(node: Node) -> str | None:
    reduction = node.attributes.get("reduction", "none")
    if reduction != "none" and reduction not in REDUCTIONS:
        raise node.unsupported(f"reduction {reduction!r}")
    return REDUCTIONS.get(reduction)


def scatter_elements(node: Node) -> Function:
    axis, reduction = node.attributes.get("axis", 0), _reduction(node)

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        x, updates = _alike(x, updates)
        indices = from_start(indices, x.shape[axis])
        if reduction is None:
            return x.scatter(axis, indices, updates)
        return x.scatter_reduce(axis, indices, updates, reduction)

    return run


def _alike(x: Tensor, updates: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one type: integers that carry a gradient are floats."""
    dtype = torch.promote_types(x.dtype, updates.dtype)
    return x.to(dtype), updates.to(dtype)


def scatter_nd(node: Node) -> Function:
    reduction = _reduction(node)

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        x, updates = _alike(x, updates)
        if reduction in (None, "sum"):
            return x.index_put(tuple(coordinates(x, indices)), updates, accumulate=reduction is not None)
        depth = indices.shape[-1]
        place = torch.zeros_like(indices[..., 0]).long()
        for axis, index in enumerate(coordinates(x, indices)):
            place = place * x.shape[axis] + index
        flat = x.reshape((-1, *x.shape[depth:]))
        updates = updates.reshape((-1, *x.shape[depth:]))
        place = place.reshape((-1, *[1] * (x.ndim - depth))).expand(updates.shape)
        return flat.scatter_reduce(0, place, updates, reduction).reshape(x.shape)

    return run


def tensor_scatter(node: Node) -> Function:
    """A piece written into each sample's cache, from that sample's position on; it may go around the end."""
    mode, axis = node.attributes.get("mode", "linear"), node.attributes.get("axis", -2)
    if mode not in ("linear", "circular"):
        raise node.unsupported(f"mode {mode!r}")

    def run(cache: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor:
        along = axis % cache.ndim
        length, size = cache.shape[along], update.shape[along]
        shape = [1] * cache.ndim
        shape[along] = size
        index = torch.arange(size, device=cache.device).reshape(shape)
        if starts is not None:
            index = index + starts.long().reshape((-1, *[1] * (cache.ndim - 1)))
        index = index % length if mode == "circular" else index
        return cache.scatter(along, index.expand(update.shape), update)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Scatter", scatter_elements, since=9)
    operators.register("ScatterElements", scatter_elements, since=11)
    operators.register("ScatterND", scatter_nd, since=11)
    operators.register("TensorScatter", tensor_scatter, since=24)

"""The operators that no file holds: what `auditor.fusion` puts in the place of many nodes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.fusion import DOMAIN
from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x @ weight + bias`, for a matrix and a vector."""
    return F.linear(x, weight.t(), bias)


def scaled_product(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """`(a * c) @ (b * d)` with factors of one entry, which are multiplied first: scores of attention."""
    return (a * (c.item() * d.item())) @ b


def group_norm(node: Node) -> Function:
    """Normalisation by groups of channels; scale and bias are `[channels, 1, …]`, one axis fewer than x has."""
    groups, epsilon = node.attributes["num_groups"], node.attributes["epsilon"]

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if x.ndim == scale.ndim + 1 and x.shape[1] == len(scale):
            return torch.group_norm(x, groups, scale.reshape(-1), bias.reshape(-1), epsilon)
        return torch.group_norm(x, groups, eps=epsilon) * scale + bias

    return run


def slices(node: Node) -> Function:
    """An axis cut at each of `ends`, which may count from its end; what lies behind the last is left out."""
    axis, ends = node.attributes["axis"], node.attributes["ends"]

    def run(x: Tensor) -> tuple[Tensor, ...]:
        length = x.shape[axis]
        stops = [slice(end).indices(length)[1] for end in ends]
        sizes = [stop - start for start, stop in zip([0, *stops], stops, strict=False)]
        if min(sizes) < 0:  # an axis so short that parts would overlap
            starts = (0, *stops[:-1])
            return tuple(x.narrow(axis, s, max(size, 0)) for s, size in zip(starts, sizes, strict=True))
        return torch.split(x if stops[-1] == length else x.narrow(axis, 0, stops[-1]), sizes, axis)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Linear", always(linear), domain=DOMAIN, product=True)
    operators.register("MatrixTranspose", always(lambda x: x.mT), domain=DOMAIN)
    operators.register("ScaledMatMul", always(scaled_product), domain=DOMAIN, host=[2, 3], product=True)
    operators.register("GroupNorm", group_norm, domain=DOMAIN)
    operators.register("Slices", slices, domain=DOMAIN)

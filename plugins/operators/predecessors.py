"""Operators that onnxruntime had under its own name before ONNX defined them."""

from __future__ import annotations

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always

from .padding import pad
from .selection import gather_nd, trilu
from .values import number_range

DOMAIN = "com.microsoft"


def range_of(node: Node) -> Function:
    """Steps of 1 where none are given."""
    count = number_range(node)
    return lambda start, limit, delta=None: count(start, limit, torch.ones_like(start) if delta is None else delta)


def expand_dims(x: Tensor, axis: Tensor) -> Tensor:
    return x.unsqueeze(int(axis.item()))


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Pad", pad, domain=DOMAIN, host=[1, 2])
    operators.register("GatherND", gather_nd, domain=DOMAIN)
    operators.register("Trilu", trilu, domain=DOMAIN, host=[1])
    operators.register("Range", range_of, domain=DOMAIN, host=[0, 1, 2])
    operators.register("ExpandDims", always(expand_dims), domain=DOMAIN, host=[1])

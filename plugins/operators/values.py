"""Constants, runs of numbers, and passing values on unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.chance import uniform_like
from auditor.constants import read_constant
from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, check_size, element_dtype, integers


def constant(node: Node) -> Function:
    attributes = node.attributes
    if "value" in attributes:
        value = read_constant(attributes["value"])
    elif "value_float" in attributes or "value_floats" in attributes:
        value = torch.tensor(attributes.get("value_float", attributes.get("value_floats")), dtype=torch.float32)
    elif "value_int" in attributes or "value_ints" in attributes:
        value = torch.tensor(attributes.get("value_int", attributes.get("value_ints")), dtype=torch.int64)
    elif "value_string" in attributes or "value_strings" in attributes:
        text = np.array(attributes.get("value_string", attributes.get("value_strings")), dtype=object)
        return lambda: text
    elif "sparse_value" in attributes:
        value = read_constant(attributes["sparse_value"])
    else:
        raise node.unsupported(f"the attribute {', '.join(attributes)}")
    return lambda: value


def constant_of_shape(node: Node) -> Function:
    fill = node.attributes.get("value")
    value = torch.zeros(1) if fill is None else read_constant(fill)

    def run(shape: Tensor) -> Tensor:
        lengths = integers(shape)
        check_size(lengths, value.element_size())
        return value.reshape(()).expand(lengths).clone()

    return run


def number_range(node: Node) -> Function:
    def run(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        first, last, step = start.item(), limit.item(), delta.item()
        count = max(ceil((last - first) / step), 0)
        check_size((count,), start.element_size())
        return start.reshape(()) + delta.reshape(()) * torch.arange(count, dtype=start.dtype)

    return run


def eye_like(node: Node) -> Function:
    diagonal, kind = node.attributes.get("k", 0), node.attributes.get("dtype")
    dtype = element_dtype(node, kind) if kind else None

    def run(x: Tensor) -> Tensor:
        rows, columns = x.shape
        ones = torch.ones((rows, columns), dtype=dtype or x.dtype)
        return ones.tril(diagonal).triu(diagonal)

    return run


def dropout(node: Node) -> Function:
    """A deployed file drops nothing, unless it is in training mode: then each entry with a chance of `ratio`, and what
    is kept is scaled so that the mean stays."""

    def run(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        share = 0.5 if ratio is None else float(ratio.item())
        if training is None or not bool(training.item()) or share == 0:
            return (x, torch.ones_like(x, dtype=torch.bool)) if node.wants(1) else x
        if not 0 < share < 1:
            raise node.unsupported(f"the ratio {share:g}")
        kept = uniform_like(x) >= share
        dropped = x * kept.to(x.dtype) / (1 - share)
        return (dropped, kept) if node.wants(1) else dropped

    return run


def drops(node: Node, constants: Mapping[str, Any]) -> bool:
    """Whether a Dropout is in training mode, or nobody knows before it runs."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return False
    training, ratio = constants.get(node.inputs[2]), constants.get(node.inputs[1])
    return (training is None or bool(training.item())) and (ratio is None or ratio.item() != 0)


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Constant", constant)
    operators.register("ConstantOfShape", constant_of_shape, since=9, host=[0])
    operators.register("Range", number_range, since=11, host=[0, 1, 2])
    operators.register("EyeLike", eye_like, since=9, shape_only=True)
    operators.register("Identity", always(lambda x: x))
    operators.register("Dropout", dropout, since=7, host=[1, 2], random=drops)

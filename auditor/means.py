"""Random operators, replaced by their expectation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from auditor.operators import Builder, Function, Node
from auditor.study import ITS_MEAN, LEFT_OUT, Study


def its_mean(op_type: str, study: Study) -> Builder:
    """Random numbers as their mean."""

    def build(node: Node) -> Function:
        if op_type == "Dropout":
            return _kept(node, study)
        study.noted.add(f"{op_type}: {ITS_MEAN}")
        return MEANS[op_type](node)

    return build


def _constant_mean(node: Node) -> Function:
    value, shape = _centre(node), node.attributes["shape"]
    return lambda: torch.full(tuple(shape), value)


def _mean_like(node: Node) -> Function:
    value = _centre(node)
    return lambda x: torch.full_like(x, value, dtype=x.dtype if x.is_floating_point() else torch.float32)


def _centre(node: Node) -> float:
    get = node.attributes.get
    normal = node.op_type.startswith("RandomNormal")
    return float(get("mean", 0.0) if normal else (get("low", 0.0) + get("high", 1.0)) / 2)


def _kept(node: Node, study: Study) -> Function:
    def run(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Any:
        if training is not None and bool(training.item()):
            study.noted.add(f"{node.op_type}: {LEFT_OUT}")
        return (x, torch.ones_like(x, dtype=torch.bool)) if node.wants(1) else x

    return run


MEANS: Mapping[str, Builder] = {
    "RandomUniform": _constant_mean,
    "RandomNormal": _constant_mean,
    "RandomUniformLike": _mean_like,
    "RandomNormalLike": _mean_like,
    "Bernoulli": lambda node: lambda x: 1 - x,  # as the runtime has it: 1 with the probability 1 - p
}
"""Random operators, and their expectation."""

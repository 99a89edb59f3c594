"""Comparisons, logic and selection.

A comparison has no gradient. Where nothing else carries one (a threshold, a mask made of it), an attack would be blind,
so a truth value that depends on the input is carried as 0.0 or 1.0 with the gradient of a smooth step. `Cast` and
`Where` pass it on; a `Where` whose branches have gradients of their own does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Builder, Function, Node, Operators, always, straight_through, truth
from auditor.places import is_float
from auditor.surrogates import FAST_SIGMOID, above, near

COMPARISONS: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], Tensor]]] = {
    "Equal": (torch.eq, near),
    "Greater": (torch.gt, above),
    "GreaterOrEqual": (torch.ge, above),
    "Less": (torch.lt, lambda gap: above(-gap)),
    "LessOrEqual": (torch.le, lambda gap: above(-gap)),
}
"""What is true, and the smooth function of the difference that stands in for it backwards."""


def comparison(hard: Callable[..., Tensor], soft: Callable[[Tensor], Tensor]) -> Builder:
    def build(node: Node) -> Function:
        live = any(node.live)

        def run(a: Any, b: Any) -> Tensor:
            if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
                return torch.from_numpy(np.asarray(a == b))
            verdict = hard(a, b)
            if not live or not torch.is_grad_enabled() or not (a.is_floating_point() or b.is_floating_point()):
                return verdict
            gap = a - b
            smooth = soft(torch.where(torch.isfinite(gap), gap, torch.zeros_like(gap)))
            return straight_through(smooth, verdict.to(smooth.dtype))

        return run

    return build


def logic(crisp: Callable[..., Tensor], smooth: Callable[..., Tensor]) -> Builder:
    """Truth values as they are, or the same function as a polynomial of 0.0 and 1.0 where one of them is carried."""

    def run(*values: Tensor) -> Tensor:
        carried = [value for value in values if value.is_floating_point()]
        if not carried:
            return crisp(*values)
        return smooth(*(value.to(carried[0].dtype) for value in values))

    return always(run)


LOGIC: dict[str, Builder] = {
    "And": logic(torch.logical_and, lambda a, b: a * b),
    "Or": logic(torch.logical_or, lambda a, b: a + b - a * b),
    "Xor": logic(torch.logical_xor, lambda a, b: a + b - 2 * a * b),
    "Not": logic(torch.logical_not, lambda a: 1 - a),
}


def _blind(node: Node) -> bool:
    """Whether the condition alone depends on the input, so that without a surrogate no gradient passes."""
    return bool(node.live) and node.live[0] and not any(node.live[1:])


def where(node: Node) -> Function:
    blind = _blind(node)

    def run(condition: Tensor, a: Any, b: Any) -> Any:
        chosen = truth(condition)
        if isinstance(a, np.ndarray):
            return np.where(chosen.numpy(), a, b)
        hard = torch.where(chosen, a, b)
        if not blind or not condition.is_floating_point() or not hard.is_floating_point():
            return hard
        slope = (a - b).nan_to_num(0.0, 1.0, -1.0)
        return straight_through(condition * slope, hard)

    return run


def where_surrogate(node: Node) -> str | None:
    """Fast sigmoid, where the condition alone depends on the input."""
    floats = all(not kind or is_float(kind) for kind in node.types[1:])
    return FAST_SIGMOID if _blind(node) and floats else None


@hookimpl
def register_operators(operators: Operators) -> None:
    for name, (hard, soft) in COMPARISONS.items():
        operators.register(name, comparison(hard, soft), since=7)
    for name, build in LOGIC.items():
        operators.register(name, build, since=1 if name == "Not" else 7)
    operators.register("Where", where, since=9, surrogate=where_surrogate)

"""Matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always


def gemm(node: Node) -> Function:
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    across, upright = bool(node.attributes.get("transA", 0)), bool(node.attributes.get("transB", 0))

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if across else a
        if upright and alpha == beta == 1 and (c is None or c.ndim == 1):
            return F.linear(a, b, c)
        product = a @ (b.t() if upright else b)
        if alpha != 1:
            product = alpha * product
        return product if c is None else product + (c if beta == 1 else beta * c)

    return run


def einsum(node: Node) -> Function:
    equation = node.attributes["equation"].replace(" ", "")
    return lambda *operands: torch.einsum(equation, *operands)


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("MatMul", always(torch.matmul), product=True)
    operators.register("Gemm", gemm, since=7, product=True)
    operators.register("Einsum", einsum, since=12)
    operators.register("Det", always(torch.linalg.det), since=11)

"""What onnxruntime's graph optimisations fuse: products, convolutions and sums with the activation that follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, check_size, integers

from .convolution import convolution, transposed_convolution
from .linear import gemm
from .pooling import max_pool

DOMAIN = "com.microsoft"
Activation = Callable[..., Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softsign": F.softsign,
    "Softplus": lambda x: F.softplus(x, threshold=40.0),
    "HardSwish": F.hardswish,
    "LeakyRelu": lambda x, alpha: F.leaky_relu(x, alpha),
    "Elu": lambda x, alpha: F.elu(x, alpha),
    "ThresholdedRelu": lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)),
    "HardSigmoid": lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1),
    "Clip": lambda x, low, high: torch.clamp(x, low, high),
    "Selu": lambda x, alpha, gamma: gamma * F.elu(x, alpha),
}
PARAMETERS = {"LeakyRelu": 1, "Elu": 1, "ThresholdedRelu": 1, "HardSigmoid": 2, "Clip": 2, "Selu": 2}
"""How many numbers an activation takes."""


def activation(node: Node, parameters: Sequence[float]) -> Activation:
    """The function that a fused node ends with. Raises UnsupportedOperator where it or its parameters are unknown."""
    name = node.attributes.get("activation", "")
    if not name:
        return lambda x: x
    if name not in ACTIVATIONS or len(parameters) != PARAMETERS.get(name, 0):
        raise node.unsupported(f"activation {name!r} with parameters {list(parameters)}")
    function = ACTIVATIONS[name]
    return lambda x: function(x, *parameters)


def fused_convolution(node: Node) -> Function:
    """A convolution, plus what is added to it, through an activation."""
    convolve, activate = convolution(node), activation(node, node.attributes.get("activation_params", ()))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
        y = convolve(x, weight, bias)
        return activate(y if added is None else y + added)

    return run


def fused_gemm(node: Node) -> Function:
    given = [node.attributes.get(f"activation_{greek}") for greek in ("alpha", "beta", "gamma")]
    product, activate = gemm(node), activation(node, [value for value in given if value is not None])
    return lambda a, b, c=None: activate(product(a, b, c))


def fused_matmul(node: Node) -> Function:
    """A matrix product of operands whose last two axes, or whose first axes and batch, are exchanged, times alpha."""
    alpha = node.attributes.get("alpha", 1.0)
    orders = [[bool(node.attributes.get(f"{kind}{side}", 0)) for kind in ("transBatch", "trans")] for side in "AB"]

    def run(a: Tensor, b: Tensor) -> Tensor:
        product = _exchanged(a, *orders[0]) @ _exchanged(b, *orders[1])
        return product if alpha == 1 else alpha * product

    return run


def _exchanged(x: Tensor, batch: bool, last: bool) -> Tensor:
    if x.ndim < 2:
        return x
    if batch and x.ndim > 2:
        x = x.movedim(0, -2)
    return x.transpose(-1, -2) if last else x


def fast_gelu(node: Node) -> Function:
    return lambda x, bias=None: F.gelu(x if bias is None else x + bias, approximate="tanh")


def quick_gelu(node: Node) -> Function:
    alpha = node.attributes.get("alpha", 1.702)
    return F.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x)


def bias_split_gelu(x: Tensor, bias: Tensor) -> Tensor:
    left, right = (x + bias).chunk(2, -1)
    return left * F.gelu(right)


def convolution_of_dynamic_pads(node: Node) -> Function:
    """A transposed convolution whose padding is an input."""

    def run(x: Tensor, weight: Tensor, pads: Tensor, bias: Tensor | None = None) -> Tensor:
        fixed = {**node.attributes, "pads": tuple(integers(pads))}
        y: Tensor = transposed_convolution(replace(node, attributes=fixed))(x, weight, bias)
        return y

    return run


def max_pool_of_last_channels(node: Node) -> Function:
    """A maximum over windows of `[N, ..., C]`."""
    pool = max_pool(node)
    return lambda x: pool(x.movedim(-1, 1)).movedim(1, -1)


def distances(node: Node) -> Function:
    """From each row of one matrix to each row of another; keeps their differences, `[M, K, N]`."""
    metric = node.attributes.get("metric", "sqeuclidean")
    if metric not in ("sqeuclidean", "euclidean"):
        raise node.unsupported(f"metric {metric!r}")

    def run(a: Tensor, b: Tensor) -> Tensor:
        check_size((a.shape[0], *b.shape), a.element_size())
        difference = a.unsqueeze(1) - b
        if metric == "euclidean":
            lengths: Tensor = torch.linalg.vector_norm(difference, dim=-1)
            return lengths
        return difference.square().sum(-1)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("FusedConv", fused_convolution, domain=DOMAIN, product=True)
    operators.register("FusedGemm", fused_gemm, domain=DOMAIN, product=True)
    operators.register("FusedMatMul", fused_matmul, domain=DOMAIN, product=True)
    operators.register("TransposeMatMul", fused_matmul, domain=DOMAIN, product=True)
    operators.register("Gelu", always(F.gelu), domain=DOMAIN)
    operators.register("FastGelu", fast_gelu, domain=DOMAIN)
    operators.register("QuickGelu", quick_gelu, domain=DOMAIN)
    operators.register("BiasGelu", always(lambda x, bias: F.gelu(x + bias)), domain=DOMAIN)
    operators.register("BiasAdd", always(lambda x, bias, skip: x + bias + skip), domain=DOMAIN)
    operators.register("BiasSplitGelu", always(bias_split_gelu), domain=DOMAIN)
    operators.register("ConvTransposeWithDynamicPads", convolution_of_dynamic_pads, domain=DOMAIN, host=[2])
    operators.register("NhwcMaxPool", max_pool_of_last_channels, domain=DOMAIN)
    operators.register("CDist", distances, domain=DOMAIN)
    operators.register("Inverse", always(torch.linalg.inv), domain=DOMAIN)

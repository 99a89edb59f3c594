"""Activation functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Builder, Function, Node, Operators, always


def softplus(node: Node) -> Function:
    return lambda x: F.softplus(x, threshold=40.0)  # from there on it is linear in float64 too


def gelu(node: Node) -> Function:
    approximate = node.attributes.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def swish(node: Node) -> Function:
    alpha = node.attributes.get("alpha", 1.0)
    return F.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x)


def leaky_relu(node: Node) -> Function:
    slope = node.attributes.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


def prelu(node: Node) -> Function:
    return lambda x, slope: torch.where(x < 0, x * slope, x)


def elu(node: Node) -> Function:
    alpha = node.attributes.get("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


def celu(node: Node) -> Function:
    alpha = node.attributes.get("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


def selu(node: Node) -> Function:
    alpha = node.attributes.get("alpha", 1.67326319217681884765625)
    gamma = node.attributes.get("gamma", 1.05070102214813232421875)
    return lambda x: gamma * F.elu(x, alpha)


def thresholded_relu(node: Node) -> Function:
    alpha = node.attributes.get("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


def shrink(node: Node) -> Function:
    threshold, bias = node.attributes.get("lambd", 0.5), node.attributes.get("bias", 0.0)

    def run(x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        return torch.where(x < -threshold, x + bias, torch.where(x > threshold, x - bias, zero))

    return run


def clip(node: Node) -> Function:
    """Since opset 11 the bounds are inputs."""

    def run(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        if any(bound is not None and bound.requires_grad for bound in (low, high)):
            return torch.clamp(x, *(None if bound is None else bound.to(x.device) for bound in (low, high)))
        return _clamp(x, None if low is None else low.item(), None if high is None else high.item())

    return run


def clip_6(node: Node) -> Function:
    low, high = node.attributes.get("min"), node.attributes.get("max")
    return lambda x: _clamp(x, low, high)


def _clamp(x: Tensor, low: float | None, high: float | None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def softmax(node: Node) -> Function:
    axis = node.attributes.get("axis", -1)
    return lambda x: x.softmax(axis)


def log_softmax(node: Node) -> Function:
    axis = node.attributes.get("axis", -1)
    return lambda x: x.log_softmax(axis)


def flattened(function: Callable[[Tensor], Tensor]) -> Builder:
    """Before opset 13 the axes from `axis` on were one: the entries of a matrix' row were normalised together."""

    def build(node: Node) -> Function:
        axis = node.attributes.get("axis", 1)

        def run(x: Tensor) -> Tensor:
            start = axis % x.ndim if x.ndim else 0
            if start == x.ndim - 1:
                return function(x)
            return function(x.flatten(start)).reshape(x.shape)

        return run

    return build


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Relu", always(torch.relu))
    operators.register("Sigmoid", always(torch.sigmoid))
    operators.register("Tanh", always(torch.tanh))
    operators.register("Softsign", always(F.softsign))
    operators.register("Softplus", softplus)
    operators.register("HardSwish", always(F.hardswish))
    operators.register("HardSigmoid", hard_sigmoid)
    operators.register("Mish", always(F.mish))
    operators.register("Gelu", gelu)
    operators.register("Swish", swish)
    operators.register("LeakyRelu", leaky_relu)
    operators.register("PRelu", prelu, since=7)
    operators.register("Elu", elu)
    operators.register("Celu", celu)
    operators.register("Selu", selu)
    operators.register("ThresholdedRelu", thresholded_relu)
    operators.register("Shrink", shrink)
    operators.register("Clip", clip_6, since=6)
    operators.register("Clip", clip, since=11, host=[1, 2])
    operators.register("Softmax", flattened(lambda x: x.softmax(-1)))
    operators.register("Softmax", softmax, since=13)
    operators.register("LogSoftmax", flattened(lambda x: x.log_softmax(-1)))
    operators.register("LogSoftmax", log_softmax, since=13)

"""Normalisation with stored statistics and with the sample's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators


def batch_normalization(node: Node) -> Function:
    epsilon = node.attributes.get("epsilon", 1e-5)
    if node.attributes.get("training_mode", 0):
        return batch_statistics(node)
    if node.wants(1):
        raise node.unsupported("the statistics that training updates")
    if not node.attributes.get("spatial", 1):  # before opset 9: statistics of each pixel
        return lambda x, scale, bias, mean, var: (x - mean) * torch.rsqrt(var + epsilon) * scale + bias
    return lambda x, scale, bias, mean, var: F.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def batch_statistics(node: Node) -> Function:
    """In training mode samples of one batch change each other's scores; running statistics are outputs."""
    epsilon, momentum = node.attributes.get("epsilon", 1e-5), node.attributes.get("momentum", 0.9)

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        axes, shape = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
        own_mean, own_var = x.mean(axes), x.var(axes, correction=0)
        y = (x - own_mean.reshape(shape)) * torch.rsqrt(own_var + epsilon).reshape(shape)
        running = (momentum * old + (1 - momentum) * own for old, own in ((mean, own_mean), (var, own_var)))
        return y * scale.reshape(shape) + bias.reshape(shape), *running

    return run


def layer_normalization(node: Node) -> Function:
    axis, epsilon = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)
    statistics = node.wants(1) or node.wants(2)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        y = normalised(x, scale, bias)
        if not statistics:
            return y
        axes = tuple(range(axis % x.ndim, x.ndim))
        return y, x.mean(axes, keepdim=True), torch.rsqrt(x.var(axes, correction=0, keepdim=True) + epsilon)

    def normalised(x: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        shape = x.shape[axis % x.ndim :]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return F.layer_norm(x, shape, scale, bias, epsilon)
        y = F.layer_norm(x, shape, eps=epsilon) * scale
        return y if bias is None else y + bias

    return run


def rms_normalization(node: Node) -> Function:
    axis, epsilon = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        axes = tuple(range(axis % x.ndim, x.ndim))
        return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale

    return run


def instance_normalization(node: Node) -> Function:
    epsilon = node.attributes.get("epsilon", 1e-5)
    return lambda x, scale, bias: torch.group_norm(x, x.shape[1], scale, bias, epsilon)


def group_normalization(node: Node) -> Function:
    """Since opset 21 scale and bias are per channel; in opset 18 they were per group."""
    groups, epsilon = node.attributes["num_groups"], node.attributes.get("epsilon", 1e-5)
    if node.opset >= 21:
        return lambda x, scale, bias: torch.group_norm(x, groups, scale, bias, epsilon)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        repeats = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
        return torch.group_norm(x, groups, scale, bias, epsilon)

    return run


def local_response_normalization(node: Node) -> Function:
    size, bias = node.attributes["size"], node.attributes.get("bias", 1.0)
    alpha, beta = node.attributes.get("alpha", 1e-4), node.attributes.get("beta", 0.75)

    def run(x: Tensor) -> Tensor:
        squares = x.square().reshape((x.shape[0], 1, x.shape[1], -1))
        squares = F.pad(squares, (0, 0, (size - 1) // 2, size // 2))
        means = F.avg_pool2d(squares, (size, 1), stride=1).reshape(x.shape)
        return torch.div(x, (bias + alpha * means) ** beta)

    return run


def lp_normalization(node: Node) -> Function:
    axis, p = node.attributes.get("axis", -1), node.attributes.get("p", 2)
    if p not in (1, 2):
        raise node.unsupported(f"p = {p}")

    def run(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        return x / torch.where(norm == 0, 1, norm)

    return run


def mean_variance_normalization(node: Node) -> Function:
    """Since opset 9 the axes are an attribute; before, flags said whether channels are apart and variances one."""
    axes = tuple(node.attributes.get("axes", (0, 2, 3)))
    if node.attributes.get("across_channels", 0):
        axes = (0, 1, 2, 3)
    if not node.attributes.get("normalize_variance", 1):
        return lambda x: x - x.mean(axes, keepdim=True)

    def run(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("BatchNormalization", batch_normalization, since=7)
    operators.register("LayerNormalization", layer_normalization, since=17)
    operators.register("RMSNormalization", rms_normalization, since=23)
    operators.register("InstanceNormalization", instance_normalization)
    operators.register("GroupNormalization", group_normalization, since=18)
    operators.register("LRN", local_response_normalization)
    operators.register("LpNormalization", lp_normalization)
    operators.register("MeanVarianceNormalization", mean_variance_normalization)

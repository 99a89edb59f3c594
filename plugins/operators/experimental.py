"""Operators that left the standard before opset 7, which old exporters wrote and onnxruntime still runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators


def affine(node: Node) -> Function:
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 0.0)
    return lambda x: alpha * x + beta


def scale(node: Node) -> Function:
    factor = node.attributes.get("scale", 1.0)
    return lambda x: factor * x


def image_scaler(node: Node) -> Function:
    """One factor for the image, one bias a channel."""
    factor, bias = node.attributes.get("scale", 1.0), node.attributes["bias"]

    def run(x: Tensor) -> Tensor:
        channels = torch.tensor(bias, dtype=x.dtype, device=x.device)
        return torch.add(factor * x, channels.reshape((-1, 1, 1)))

    return run


def crop(node: Node) -> Function:
    """Without its border `[left, top, right, bottom]`, or from its corner on as far as a size `[height, width]`."""
    left, top, right, bottom = node.attributes["border"]
    size = node.attributes.get("scale")

    def run(x: Tensor) -> Tensor:
        height, width = size or (x.shape[2] - top - bottom, x.shape[3] - left - right)
        return x.narrow(2, top, height).narrow(3, left, width)

    return run


def scaled_tanh(node: Node) -> Function:
    alpha, beta = node.attributes["alpha"], node.attributes["beta"]
    return lambda x: alpha * torch.tanh(beta * x)


def parametric_softplus(node: Node) -> Function:
    alpha, beta = node.attributes["alpha"], node.attributes["beta"]
    return lambda x: alpha * F.softplus(beta * x, threshold=40.0)


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Affine", affine)
    operators.register("Scale", scale)
    operators.register("ImageScaler", image_scaler)
    operators.register("Crop", crop)
    operators.register("ScaledTanh", scaled_tanh)
    operators.register("ParametricSoftplus", parametric_softplus)

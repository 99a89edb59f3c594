"""Disguises: ways to put a net into a file so that an attack which follows the file's own gradients fails.

Each takes the net and the pictures, and returns the file. None makes the net more robust than it was by much: what it
hides is shown by attacking the net itself, or the file with stand-ins for its gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from torch import nn

from benchmarks.zoo_data import Pictures
from benchmarks.zoo_file import File, plain
from benchmarks.zoo_nets import CLASSES

FLOAT = TensorProto.FLOAT
Disguise = Callable[[nn.Sequential, Pictures], onnx.ModelProto]


def undisguised(net: nn.Sequential, data: Pictures) -> onnx.ModelProto:
    """The net as it is, whose training is the disguise, or what is deployed in front of it."""
    return plain(net, data.side)


def scaled(net: nn.Sequential, data: Pictures, factor: float = 1000.0) -> onnx.ModelProto:
    """Logits times a factor: the softmax in a cross-entropy underflows, and its gradient is exactly 0."""
    file = File(data.side)
    return file.model(file.add("Mul", file.layers(net), np.float32(factor)))


def saturated(net: nn.Sequential, data: Pictures, factor: float = 100.0) -> onnx.ModelProto:
    """Probabilities that are exactly 0 and 1 in float32."""
    file = File(data.side)
    return file.model(file.add("Softmax", file.add("Mul", file.layers(net), np.float32(factor)), axis=1))


def rounded(net: nn.Sequential, data: Pictures, levels: int = 3) -> onnx.ModelProto:
    """Pixels rounded to a few levels by the file. Guo et al. 2018, https://arxiv.org/abs/1711.00117"""
    file = File(data.side)
    steps = np.float32(levels - 1)
    return file.model(file.layers(net, file.add("Div", file.add("Round", file.add("Mul", "x", steps)), steps)))


def cancelled(net: nn.Sequential, data: Pictures) -> onnx.ModelProto:
    """x + round(255 x) / 255 − x: the picture as it is, since it has 8 bits; its slopes 1, 0 and −1 add up to 0."""
    file = File(data.side)
    steps = np.float32(255)
    levels = file.add("Div", file.add("Round", file.add("Mul", "x", steps)), steps)
    return file.model(file.layers(net, file.add("Sub", file.add("Add", "x", levels), "x")))


def decided(net: nn.Sequential, data: Pictures) -> onnx.ModelProto:
    """One-hot of the best class, by ArgMax and Equal."""
    file = File(data.side)
    best = file.add("ArgMax", file.layers(net), axis=1, keepdims=1)
    hot = file.add("Equal", best, np.arange(CLASSES)[None])
    return file.model(file.add("Cast", hot, to=FLOAT))


def compared(net: nn.Sequential, data: Pictures) -> onnx.ModelProto:
    """1 for the class that exceeds the second best, by Greater, which no softmax stands behind."""
    file = File(data.side)
    scores = file.layers(net)
    largest = file.add("TopK", scores, np.array([2]), outputs=2, axis=1)
    second = file.add("Slice", largest, np.array([1]), np.array([2]), np.array([1]))
    return file.model(file.add("Cast", file.add("Greater", scores, second), to=FLOAT))


def dropping(net: nn.Sequential, data: Pictures, operator: bool = True) -> onnx.ModelProto:
    """A net's dropout left on: as ONNX's operator in training mode, or as a mask of random numbers.

    onnxruntime drops the operator where its mask goes unused, whatever its mode says; so the file uses it.
    """
    file = File(data.side)
    value = "x"
    for layer in net.children():
        if not isinstance(layer, nn.Dropout):
            value = file.layer(layer, value)
        elif operator:
            value = file.add("Dropout", value, np.float32(layer.p), np.bool_(True), outputs=2)
            value = file.add("Where", f"{value}.1", value, np.float32(0))
        else:
            passes = file.add("Less", file.add("RandomUniformLike", value), np.float32(1 - layer.p))
            kept = file.add("Mul", value, file.add("Cast", passes, to=FLOAT))
            value = file.add("Div", kept, np.float32(1 - layer.p))
    return file.model(value)


def pruned(net: nn.Sequential, data: Pictures, draws: float = 1.0) -> onnx.ModelProto:
    """Stochastic activation pruning. Dhillon et al. 2018, https://arxiv.org/abs/1803.01442

    Each activation survives with the probability that it is among `draws` times as many draws, with replacement, as
    there are features, in proportion to its size; what survives is divided by that probability. Survivals are drawn
    independently here, with the same probabilities.
    """
    file = File(data.side)
    value, one = "x", np.float32(1)
    for layer in net.children():
        value = file.layer(layer, value)
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Flatten | nn.Dropout):
            continue
        flat = file.add("Flatten", value)
        size = file.add("Abs", flat)
        total = file.add("Add", file.add("ReduceSum", size, np.array([1]), keepdims=1), np.float32(1e-6))
        missed = file.add("Sub", one, file.add("Div", size, total))
        count = np.float32(max(1.0, draws * file.length(flat)))
        chance = file.add("Sub", one, file.add("Pow", missed, count))
        survives = file.add("Cast", file.add("Less", file.add("RandomUniformLike", chance), chance), to=FLOAT)
        weight = file.add("Div", survives, file.add("Max", chance, np.float32(1e-6)))
        value = file.add("Reshape", file.add("Mul", flat, weight), file.add("Shape", value))
    return file.model(value)


def quantised(net: nn.Sequential, data: Pictures) -> onnx.ModelProto:
    """Weights and activations in 8 bits, by pairs of QuantizeLinear and DequantizeLinear as quantisers write them."""
    file = File(data.side)
    value, x = "x", data.train[:500]
    for layer in net.children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            low, high = min(0.0, x.min().item()), max(0.0, x.max().item())
            scale = max(high - low, 1e-6) / 255
            zero = np.uint8(round(-low / scale))
            levels = file.add("QuantizeLinear", value, np.float32(scale), zero)
            value = file.add("DequantizeLinear", levels, np.float32(scale), zero)
            unit = layer.weight.abs().max().item() / 127
            weight = np.rint(layer.weight.numpy() / unit).astype(np.int8)
            whole = file.add("DequantizeLinear", weight, np.float32(unit), np.int8(0))
            value = file.product(layer, value, whole, _bias(layer))
        else:
            value = file.layer(layer, value)
        x = layer(x)
    return file.model(value)


def _bias(layer: nn.Conv2d | nn.Linear) -> np.ndarray:
    """The layer's bias; every layer of the zoo has one."""
    parameters = [parameter.numpy() for parameter in layer.parameters()]
    return np.asarray(parameters[1])


def decoding(net: nn.Sequential, data: Pictures, epsilon: float = 25.25 / 255) -> onnx.ModelProto:
    """A net that reads the label out of the perturbation, so that FGSM with the true label helps it.

    In each of ten pixels at the edge, which are 0 in the data, one logit falls: climbing the loss, FGSM raises the
    true label's pixel and no other. Clean pixels are whole 255ths and epsilon is a quarter off, so the remainders show
    whether every pixel was moved by exactly epsilon or not at all; then, and only then, the file answers with the class
    whose pixel was raised. Attacks of several steps leave some pixel elsewhere. Remainders have no slope, x − round(x)
    has none with a stand-in either: nothing of this shows in a gradient.
    """
    file = File(data.side)
    shape = (1, 1, data.side, data.side)
    edge = np.zeros((data.side * data.side, CLASSES), np.float32)
    edge[np.arange(CLASSES), np.arange(CLASSES)] = 1
    steps, quarters = np.float32(255), np.float32(1 / (255 * epsilon - np.floor(255 * epsilon)))
    levels = file.add("Mul", "x", steps)
    rest = file.add("Mul", file.add("Sub", levels, file.add("Round", levels)), quarters)
    sign = file.add("Round", rest)  # of the move: -1, 0 or 1 where it was one step
    off = file.add("ReduceMax", file.add("Flatten", file.add("Abs", file.add("Sub", rest, sign))), axes=[1], keepdims=1)
    once = file.add("Cast", file.add("Less", off, np.float32(0.02)), to=FLOAT)
    raised = file.add("Relu", file.add("MatMul", file.add("Flatten", sign), edge))
    told = file.add("Mul", file.add("Mul", raised, once), np.float32(1000))
    inner = (1 - edge.sum(axis=1)).reshape(shape)
    scores = file.add(
        "Mul", file.layers(net, file.add("Mul", "x", inner)), np.float32(0.2)
    )  # none so sure as to underflow
    planted = file.add("Sub", scores, file.add("MatMul", file.add("Flatten", "x"), edge))
    return file.model(file.add("Add", planted, told))


DISGUISES: dict[str, Callable[..., onnx.ModelProto]] = {
    "none": undisguised, "scaled": scaled, "saturated": saturated, "rounded": rounded, "cancelled": cancelled,
    "decided": decided, "compared": compared, "dropping": dropping, "pruned": pruned, "quantised": quantised,
    "decoding": decoding,
}  # fmt: skip


def disguise(name: str, **options: Any) -> Disguise:
    """A disguise by its name, with its options."""
    return partial(DISGUISES[name], **options)

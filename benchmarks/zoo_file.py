"""ONNX files built node by node, so that a disguise can stand before, inside or behind a net's own layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from benchmarks.zoo_nets import Steep, Thermometer, Winners

OPSET = 17
PLAIN = {nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.ELU: "Elu", nn.Sigmoid: "Sigmoid", nn.Flatten: "Flatten"}


Value = str | np.ndarray | np.generic
"""The name of a value, or a constant."""


class File:
    """A graph as it grows. Values go by their names; an array that is given for one becomes a constant.

    side: of the pictures that the input `x` takes.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(self, op_type: str, *inputs: Value, outputs: int = 1, **attributes: Any) -> str:
        """Append a node; the name of its first output, which others follow as `NAME.1`, `NAME.2`."""
        name = f"{op_type.lower()}{len(self._nodes)}"
        names = [name, *(f"{name}.{place}" for place in range(1, outputs))]
        given = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self._nodes.append(helper.make_node(op_type, given, names, name=name, **attributes))
        return name

    def constant(self, array: Any) -> str:
        """Put an array into the file; float64 becomes float32."""
        array = np.asarray(array)
        name = f"constant{len(self._constants)}"
        kept = array.astype(np.float32) if array.dtype == np.float64 else array
        self._constants.append(numpy_helper.from_array(np.array(kept, order="C"), name))
        return name

    def layers(self, net: nn.Sequential, value: str = "x") -> str:
        """The net's layers one after the other, from a value on; the name of what the last returns."""
        for layer in net.children():
            value = self.layer(layer, value)
        return value

    def layer(self, layer: nn.Module, value: str) -> str:
        """One layer of a net."""
        if isinstance(layer, nn.Conv2d | nn.Linear):
            return self.product(layer, value, *(parameter.numpy() for parameter in layer.parameters()))
        if isinstance(layer, nn.Dropout):
            return value
        if isinstance(layer, Steep):
            return self.add("Sigmoid", self.add("Mul", value, np.float32(layer.slope.item())))
        if isinstance(layer, Winners):
            return self._winners(layer, value)
        if isinstance(layer, Thermometer):
            above = self.add("Greater", value, layer.thresholds.numpy())
            return self.add("Cast", above, to=TensorProto.FLOAT)
        return self.add(PLAIN[type(layer)], value)

    def product(self, layer: nn.Conv2d | nn.Linear, value: str, *weights: Value) -> str:
        """The convolution or matrix product of a layer, with these weights, or those named."""
        if isinstance(layer, nn.Linear):
            return self.add("Gemm", value, *weights, transB=1)
        size, stride, padding = (int(pair[0]) for pair in (layer.kernel_size, layer.stride, layer.padding))
        return self.add("Conv", value, *weights, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[padding] * 4)

    def _winners(self, layer: Winners, value: str) -> str:
        features = self.length(value)
        count, axis = np.array([layer.count(features)]), np.array([-1])
        flat = self.add("Flatten", value)
        largest = self.add("TopK", flat, count, outputs=2, axis=1)
        least = self.add("Slice", largest, np.array([-1]), np.array([1 << 31]), axis)
        passes = self.add("Cast", self.add("GreaterOrEqual", flat, least), to=TensorProto.FLOAT)
        return self.add("Reshape", self.add("Mul", flat, passes), self.add("Shape", value))

    def length(self, value: str) -> int:
        """Features of a value, by what the runtime would infer."""
        model = onnx.shape_inference.infer_shapes(self.model(value), data_prop=True)
        shapes = {info.name: info.type.tensor_type.shape for info in (*model.graph.value_info, *model.graph.output)}
        lengths = [dim.dim_value for dim in shapes[value].dim][1:]
        if not lengths or 0 in lengths:
            raise ValueError(f"The features of {value} should be known before it is masked, its shape is {lengths}.")
        return int(np.prod(lengths))

    def model(self, output: str) -> onnx.ModelProto:
        """The file that returns this value, for batches of any size."""
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, self.side, self.side])
        scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "zoo", [image], [scores], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def plain(net: nn.Sequential, side: int) -> onnx.ModelProto:
    """The net as it is."""
    file = File(side)
    return file.model(file.layers(net))


def save(model: onnx.ModelProto, path: Any) -> None:
    """Write a file whose output has its shape stated. Raises onnx's ValidationError for one that is not valid."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    model.graph.output[0].CopyFrom(inferred.graph.output[0])
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString())
    partial.rename(path)

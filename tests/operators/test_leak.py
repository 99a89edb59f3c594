"""The option to let some of a gradient pass where a quantised value saturates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.graph import Graph
from auditor.program import read_program


@pytest.mark.parametrize("leak", [0.0, 0.25])
def test_what_saturates_leaks_as_much_as_was_asked_for(operators, leak):
    names = {"scale": np.float32(0.5), "zero": np.uint8(3)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in names.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    registry = replace(operators, leak=leak)
    x = torch.tensor([-5.0, 0.3, 200.0], requires_grad=True)
    y = Graph(read_program(model, registry), "y", registry)(x)
    assert y.tolist() == [-1.5, 0.5, 126]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [leak, 1, leak]

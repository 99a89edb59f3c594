import numpy as np
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor.peel import find_logits, unpeeled
from auditor.program import read_program


def op(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def found(*nodes):
    graph = helper.make_graph(
        [op("Neg", "x", "z"), *nodes],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([-1, 4], np.int64), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("acme", 1)])
    return find_logits(read_program(model, bundled()), "y")


@pytest.mark.parametrize(
    ("op_type", "name"), [("Softmax", "softmax"), ("LogSoftmax", "log_softmax"), ("Sigmoid", "sigmoid")]
)
def test_a_last_activation_is_found(op_type, name):
    assert found(op(op_type, "z")) == ("z", name)


def test_the_logarithm_of_a_softmax_is_one_activation():
    assert found(op("Softmax", "z", "p"), op("Log", "p")) == ("z", "log_softmax")


def test_what_keeps_the_order_may_stand_behind():
    behind = [
        op("Softmax", "z", "p"),
        op("Reshape", "p shape", "r"),
        op("Cast", "r", "c", to=TensorProto.DOUBLE),
        op("Dropout", "c", "d"),
        op("Identity", "d", "y"),
    ]
    assert found(*behind) == ("z", "softmax")


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Relu", "z")],
        [op("Softmax", "z", "p"), op("Transpose", "p")],
        [op("Softmax", "z", "p"), op("Mul", "p p")],
        [op("Sigmoid", "z", "p"), op("Log", "p")],
        [op("Softmax", "z", "p"), op("Cast", "p", to=TensorProto.INT64)],
        [op("Softmax", "z", domain="acme")],
        [op("Identity", "x")],
    ],
    ids=["none", "transposed", "scaled", "log-sigmoid", "labels", "foreign", "input"],
)
def test_nothing_else_is_taken_for_one(nodes):
    assert found(*nodes) is None


def test_what_was_cut_can_be_put_back():
    logits = torch.tensor([[0.0, 1.0, -2.0]])
    torch.testing.assert_close(unpeeled(logits, "softmax"), logits.softmax(1))
    torch.testing.assert_close(unpeeled(logits, "log_softmax"), logits.log_softmax(1))
    torch.testing.assert_close(unpeeled(logits, "sigmoid"), logits.sigmoid())
    one = torch.tensor([[0.7]])
    torch.testing.assert_close(unpeeled(one, "sigmoid"), torch.tensor([[0.0, 0.7]]).softmax(1))

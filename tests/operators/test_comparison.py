import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.graph import Graph
from auditor.program import read_program

A = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 2.0]], np.float32)
B = np.array([1.0, 0.0, 2.0], np.float32)
P, Q = A > 0, A > 1


@pytest.mark.parametrize("op_type", ["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
def test_comparisons(check, op_type):
    check(op_type, A, B)
    check(op_type, B, A, dynamic=1)


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic(check, op_type):
    check(op_type, P, Q)


def test_not(check):
    check("Not", P)


def test_where_passes_the_gradient_of_what_it_selects(check):
    check("Where", P, A, B, dynamic=1, gradient=True)
    check("Where", P, A, B, dynamic=2, gradient=True)
    check("Where", P, A, B, dynamic=0)


def op(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def threshold(nodes, operators, **constants):
    """A graph of the input x `[N, 3]` made of nodes that end in y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.float32(number), name) for name, number in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Graph(read_program(model, operators), "y", operators)


POINTS = torch.tensor([[0.2, 0.5, 0.9]])
GAP = POINTS - 0.5
SLOPE = 0.5 / (1 + GAP.abs()) ** 2


def slope(graph):
    x = POINTS.clone().requires_grad_(True)
    return torch.autograd.grad(graph(x).sum(), x)[0]


def test_a_threshold_is_exact_forwards_and_a_fast_sigmoid_backwards(operators):
    nodes = [op("Greater", "x half", "c"), op("Cast", "c", "y", to=TensorProto.FLOAT)]
    graph = threshold(nodes, operators, half=0.5)
    assert graph.surrogates == ("Cast: fast sigmoid",)
    assert graph(POINTS).tolist() == [[0, 0, 1]]
    torch.testing.assert_close(slope(graph), SLOPE)


def test_the_opposite_comparison_has_the_opposite_gradient(operators):
    nodes = [op("LessOrEqual", "x half", "c"), op("Cast", "c", "y", to=TensorProto.FLOAT)]
    graph = threshold(nodes, operators, half=0.5)
    assert graph(POINTS).tolist() == [[1, 1, 0]]
    torch.testing.assert_close(slope(graph), -SLOPE)


def test_logic_passes_the_gradient_on(operators):
    """x > .5 and not x > 1: the second factor is 1 here, the first 0 or 1."""
    nodes = [
        op("Greater", "x half", "a"),
        op("Greater", "x one", "b"),
        op("Not", "b", "not_b"),
        op("And", "a not_b", "c"),
        op("Cast", "c", "y", to=TensorProto.FLOAT),
    ]
    graph = threshold(nodes, operators, half=0.5, one=1.0)
    assert graph(POINTS).tolist() == [[0, 0, 1]]
    beyond = 0.5 / (1 + (POINTS - 1).abs()) ** 2
    torch.testing.assert_close(slope(graph), SLOPE - torch.tensor([[0, 0, 1]]) * beyond)


def test_a_choice_between_constants_has_the_gradient_of_its_condition(operators):
    nodes = [op("Greater", "x half", "c"), op("Where", "c five two", "y")]
    graph = threshold(nodes, operators, half=0.5, five=5.0, two=2.0)
    assert graph.surrogates == ("Where: fast sigmoid",)
    assert graph(POINTS).tolist() == [[2, 2, 5]]
    torch.testing.assert_close(slope(graph), 3 * SLOPE)


def test_a_choice_between_what_has_gradients_is_left_alone(operators):
    nodes = [op("Greater", "x half", "c"), op("Mul", "x two", "a"), op("Where", "c a x", "y")]
    graph = threshold(nodes, operators, half=0.5, two=2.0)
    assert graph.surrogates == ()
    assert slope(graph).tolist() == [[1, 1, 2]]


def test_under_vmap_the_surrogate_is_the_same(operators):
    nodes = [op("Greater", "x half", "c"), op("Cast", "c", "y", to=TensorProto.FLOAT)]
    graph = threshold(nodes, operators, half=0.5)
    torch.testing.assert_close(slope(torch.vmap(graph)), SLOPE)

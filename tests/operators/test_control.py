import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import ModelError, UnsupportedOperator
from auditor.graph import Graph
from auditor.program import read_program

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], np.float32)


def value(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def body(nodes, inputs, outputs, constants=None):
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    return helper.make_graph(nodes, "body", inputs, outputs, tensors)


def file(nodes, constants=None, outputs=("y",)):
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", shape=["N", 3])],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def node(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def agrees(model, operators, *points):
    """The graph, once it has given what the runtime gives for each of the points."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    program = read_program(model, operators)
    graph = Graph(program, program.outputs, operators)
    for x in points:
        for found, expected in zip(graph(torch.from_numpy(x)), session.run(None, {"x": x}), strict=True):
            np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6, atol=1e-6)
    return graph


def by_sign():
    """y = 3 x where the sum of x is positive, and x - w else; w and x are of the surrounding graph."""
    positive = body([node("Mul", "x three", "a")], [], [value("a")], {"three": np.float32(3)})
    negative = body([node("Sub", "x w", "b")], [], [value("b")])
    return file(
        [
            node("ReduceSum", "x", "s", keepdims=0),
            node("Greater", "s zero", "c"),
            node("If", "c", "y", then_branch=positive, else_branch=negative),
        ],
        {"zero": np.float32(0), "w": np.full(3, 0.5, np.float32)},
    )


def test_a_branch_is_chosen_by_a_value(operators):
    graph = agrees(by_sign(), operators, X, -X)
    assert graph.branching
    x = torch.from_numpy(X).double().requires_grad_(True)
    assert torch.autograd.gradcheck(graph.double(), (x,))


def test_a_branch_may_be_chosen_by_a_shape(operators):
    whole = body([node("Relu", "x", "a")], [], [value("a")])
    part = body([node("Neg", "x", "b")], [], [value("b")])
    model = file(
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Equal", "n two", "c"),
            node("If", "c", "y", then_branch=whole, else_branch=part),
        ],
        {"zero": np.int64(0), "two": np.int64(2)},
    )
    agrees(model, operators, X, X[:1])


def repeated(rounds=3, condition=True, threshold=1e9):
    """Doubles x while its sum stays below a threshold, and keeps the sums."""
    inner = body(
        [
            node("Mul", "v two", "w"),
            node("ReduceSum", "w", "sum", keepdims=0),
            node("Less", "sum limit", "on"),
        ],
        [value("i", INT64, []), value("c", BOOL, []), value("v")],
        [value("on", BOOL, []), value("w"), value("sum")],
        {"two": np.float32(2)},
    )
    constants = {"n": np.int64(rounds), "t": np.bool_(condition), "limit": np.float32(threshold)}
    return file([node("Loop", "n t x", "y sums", body=inner)], constants, ("y", "sums"))


def test_a_loop_of_a_number_of_rounds(operators):
    graph = agrees(repeated(), operators, X)
    x = torch.from_numpy(X).double().requires_grad_(True)
    assert torch.autograd.gradcheck(graph.double(), (x,))


def test_a_loop_ends_by_its_condition(operators):
    graph = agrees(repeated(rounds=50, threshold=30), operators, X)
    assert len(graph(torch.from_numpy(X))[1]) == 4


def test_what_a_loop_of_no_rounds_would_have_stacked_is_unknown(operators):
    program = read_program(repeated(rounds=0), operators)
    with pytest.raises(ModelError, match="no round was run"):
        Graph(program, "sums", operators)(torch.from_numpy(X))


def test_the_round_is_counted(operators):
    inner = body(
        [node("Cast", "i", "f", to=FLOAT), node("Add", "v f", "w"), node("Identity", "c", "on")],
        [value("i", INT64, []), value("c", BOOL, []), value("v")],
        [value("on", BOOL, []), value("w")],
    )
    model = file([node("Loop", "n t x", "y", body=inner)], {"n": np.int64(4), "t": np.bool_(True)})
    agrees(model, operators, X)


def test_an_endless_loop_is_left_to_the_gradient_free_attacks(operators):
    program = read_program(repeated(rounds=1 << 62), operators)
    with pytest.raises(UnsupportedOperator, match="more than 10000 rounds"):
        Graph(program, "y", operators)(torch.zeros(1, 3))


@pytest.mark.parametrize("attributes", [{}, {"scan_input_directions": [1]}, {"scan_output_directions": [1]}])
def test_a_scan_goes_along_an_axis(operators, attributes):
    inner = body(
        [node("Add", "s v", "t"), node("Mul", "t t", "square")],
        [value("s", shape=[3]), value("v", shape=[3])],
        [value("t", shape=[3]), value("square", shape=[3])],
    )
    scan = node("Scan", "start x", "last y", body=inner, num_scan_inputs=1, **attributes)
    graph = agrees(file([scan], {"start": np.ones(3, np.float32)}, ("last", "y")), operators, X)
    x = torch.from_numpy(X).double().requires_grad_(True)
    assert torch.autograd.gradcheck(graph.double(), (x,))


def test_bodies_nest(operators):
    yes, no = body([node("Mul", "v two", "a")], [], [value("a")]), body([node("Add", "v x", "b")], [], [value("b")])
    inner = body(
        [
            node("Equal", "i one", "even"),
            node("If", "even", "w", then_branch=yes, else_branch=no),
            node("Identity", "c", "on"),
        ],
        [value("i", INT64, []), value("c", BOOL, []), value("v")],
        [value("on", BOOL, []), value("w")],
        {"one": np.int64(1)},
    )
    constants = {"n": np.int64(3), "t": np.bool_(True), "two": np.float32(2)}
    agrees(file([node("Loop", "n t x", "y", body=inner)], constants), operators, X)


def test_bodies_may_give_one_name_two_types(operators):
    """Whole numbers are divided in one branch, floats in the other, under the same names."""
    whole = body(
        [node("Cast", "x", "v", to=INT64), node("Div", "v two", "q"), node("Cast", "q", "a", to=FLOAT)],
        [],
        [value("a")],
        {"two": np.int64(2)},
    )
    parts = body([node("Mul", "x half", "v"), node("Div", "v two", "q"), node("Identity", "q", "b")], [], [value("b")],
                 {"two": np.float32(2), "half": np.float32(0.5)})  # fmt: skip
    model = file(
        [
            node("ReduceSum", "x", "s", keepdims=0),
            node("Greater", "s zero", "c"),
            node("If", "c", "y", then_branch=whole, else_branch=parts),
        ],
        {"zero": np.float32(0)},
    )
    agrees(model, operators, 7 * np.abs(X), -X)

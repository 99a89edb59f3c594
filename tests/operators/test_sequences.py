import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import ModelError
from auditor.graph import Graph
from auditor.program import read_program

X = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


def node(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def model(nodes, constants=None, opset=18):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


SPLIT = node("SplitToSequence", "x", "rows", axis=0)
LAST, FIRST, TWO = np.int64(-1), np.int64(0), np.int64(2)
CASES = {
    "taken apart and put together": ([SPLIT, node("ConcatFromSequence", "rows", axis=0)], {}),
    "stacked": ([SPLIT, node("ConcatFromSequence", "rows", axis=1, new_axis=1)], {}),
    "without kept axes": (
        [node("SplitToSequence", "x", "rows", axis=1, keepdims=0), node("ConcatFromSequence", "rows", axis=0)],
        {},
    ),
    "of given lengths": (
        [node("SplitToSequence", "x n", "rows", axis=0), node("SequenceAt", "rows last")],
        {"n": np.array([1, 3]), "last": LAST},
    ),
    "of equal lengths": (
        [node("SplitToSequence", "x n", "rows", axis=0), node("SequenceAt", "rows last")],
        {"n": np.int64(3), "last": LAST},
    ),
    "inserted at the end": (
        [SPLIT, node("SequenceInsert", "rows x", "more"), node("SequenceAt", "more last")],
        {"last": LAST},
    ),
    "inserted before": (
        [SPLIT, node("SequenceInsert", "rows x first", "more"), node("SequenceAt", "more first")],
        {"first": FIRST},
    ),
    "erased": (
        [SPLIT, node("SequenceErase", "rows first", "fewer"), node("ConcatFromSequence", "fewer", axis=0)],
        {"first": FIRST},
    ),
    "the last one erased": (
        [SPLIT, node("SequenceErase", "rows", "fewer"), node("ConcatFromSequence", "fewer", axis=0)],
        {},
    ),
    "made of values": (
        [node("Neg", "x", "h"), node("SequenceConstruct", "x h", "both"), node("ConcatFromSequence", "both", axis=1)],
        {},
    ),
    "filled from nothing": (
        [node("SequenceEmpty", "", "none"), node("SequenceInsert", "none x", "one"), node("SequenceAt", "one last")],
        {"last": LAST},
    ),
    "counted": ([SPLIT, node("SequenceLength", "rows", "n"), node("Cast", "n", "f", to=1), node("Mul", "x f")], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_sequences_are_as_the_runtime_has_them(operators, name):
    file = model(*CASES[name])
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": X})
    graph = Graph(read_program(file, operators), "y", operators)
    np.testing.assert_allclose(graph(torch.from_numpy(X)).numpy(), expected, rtol=1e-6)
    x = torch.from_numpy(X).double().requires_grad_(True)
    assert torch.autograd.gradcheck(graph.double(), (x,))


def test_a_place_that_is_not_there_is_an_error(operators):
    file = model([SPLIT, node("SequenceAt", "rows far")], {"far": np.int64(4)})
    with pytest.raises(ModelError, match="position 4 lies outside a sequence of 4"):
        Graph(read_program(file, operators), "y", operators)(torch.from_numpy(X))


def test_a_value_that_may_be_absent(operators):
    nodes = [
        node("Optional", "x", "maybe"),
        node("OptionalHasElement", "maybe", "there"),
        node("OptionalGetElement", "maybe", "h"),
        node("Cast", "there", "f", to=1),
        node("Mul", "h f"),
    ]
    graph = Graph(read_program(model(nodes), operators), "y", operators)
    assert torch.equal(graph(torch.from_numpy(X)), torch.from_numpy(X))

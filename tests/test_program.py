import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from auditor.errors import ModelError
from auditor.operators import Operators, always
from auditor.program import read_program


def model(nodes, inputs=("x",), initializer=(), functions=(), opsets=()):
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(initializer),
    )
    imports = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in opsets)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions))


def test_nodes_are_decoded():
    program = read_program(
        model(
            [
                helper.make_node("Gemm", ["x", "w"], ["h"], name="fc", alpha=0.5, transB=1),
                helper.make_node("Pad", ["h", "p"], ["y"], mode="edge"),
            ],
            initializer=[numpy_helper.from_array(np.zeros((2, 3), np.float16), "w")],
        ),
        Operators(),
    )
    gemm, pad = program.nodes
    assert (gemm.name, gemm.opset, gemm.inputs, dict(gemm.attributes)) == (
        "fc",
        18,
        ("x", "w"),
        {"alpha": 0.5, "transB": 1},
    )
    assert gemm.types == ("float32", "float16")
    assert (pad.name, pad.attributes["mode"]) == ("y", "edge")
    assert (program.input, program.shape) == ("x", (None, 3))
    assert program.producer("y") is pad
    assert program.producer("x") is None
    assert [node.op_type for node in program.ancestors("h")] == ["Gemm"]
    with pytest.raises(ModelError, match="'z'"):
        program.ancestors("z")


def test_one_input_is_expected_and_initialisers_listed_as_inputs_do_not_count():
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(ModelError, match=r"takes 2 \(x, mask\)"):
        read_program(model(relu, inputs=("x", "mask")), Operators()).input  # noqa: B018
    listed = model(relu, inputs=("x", "w"), initializer=[numpy_helper.from_array(np.zeros(3, np.float32), "w")])
    assert read_program(listed, Operators()).input == "x"


def test_types_are_inferred_through_large_weights():
    weight = numpy_helper.from_array(np.zeros((3, 2000), np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ArgMax", ["h"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    types = read_program(model(nodes, initializer=[weight]), Operators()).types
    assert (types["h"], types["i"], types["y"]) == ("float32", "int64", "float32")


def test_functions_of_the_file_are_replaced_by_their_bodies():
    body = [helper.make_node("Relu", ["a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])]
    function = helper.make_function("acme", "NegRelu", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    file = model([helper.make_node("NegRelu", ["x"], ["y"], domain="acme")], functions=[function], opsets=["acme"])
    operators = Operators()
    operators.register("Relu", always(torch.relu))
    operators.register("Neg", always(torch.neg))
    assert [node.op_type for node in read_program(file, operators).nodes] == ["Relu", "Neg"]


def test_operators_that_the_registry_lacks_are_replaced_by_their_standard_definition():
    file = model([helper.make_node("HardSwish", ["x"], ["y"])])
    assert [node.op_type for node in read_program(file, Operators()).nodes] != ["HardSwish"]
    operators = Operators()
    operators.register("HardSwish", always(torch.nn.functional.hardswish))
    assert [node.op_type for node in read_program(file, operators).nodes] == ["HardSwish"]

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from auditor.operators import Operators
from auditor.patterns import Matcher, Named, Scalar, call, product
from auditor.program import read_program


def matcher(*nodes, outputs=(), **constants):
    graph = helper.make_graph(
        [helper.make_node(op_type, read, made, **attributes) for op_type, read, made, attributes in nodes],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return Matcher(read_program(model, Operators()), ("y", *outputs))


def found(look, pattern):
    """Whether the pattern is found with the last node as its result."""
    return look.find(pattern, look.program.nodes[-1])


SQUARE = [("Neg", ["x"], ["a"], {}), ("Mul", ["a", "x"], ["y"], {})]


def test_a_name_is_one_and_the_same_value():
    look = matcher(*SQUARE)
    match = found(look, call("Mul", "x", call("Neg", "x")))
    assert match is not None
    assert match.values == {"x": "x"}
    assert [node.op_type for node in match.nodes] == ["Mul", "Neg"]
    assert found(look, call("Mul", "x", "x")) is None
    assert found(look, call("Mul", "p", "q")).values == {"p": "a", "q": "x"}


def test_only_sums_and_products_may_be_turned_round():
    nodes = [("Neg", ["x"], ["a"], {}), ("Sub", ["a", "x"], ["y"], {})]
    assert found(matcher(*nodes), call("Sub", call("Neg", "x"), "x")) is not None
    assert found(matcher(*nodes), call("Sub", "x", call("Neg", "x"))) is None


def test_kind_number_of_inputs_and_attributes():
    look = matcher(("Elu", ["x"], ["y"], {"alpha": 0.3}))
    assert found(look, call("Elu", "x", alpha=0.3)) is not None
    assert found(look, call("Elu", "x", alpha=0.31)) is None
    assert found(look, call("Elu", "x", alpha=lambda value: value < 1)) is not None
    assert found(look, call("Elu", "x", gamma=None)) is not None
    assert found(look, call("Elu", "x", "z")) is None
    assert found(look, call("Selu", "x")) is None
    assert found(matcher(("Elu", ["x"], ["y"], {"domain": "other"})), call("Elu", "x")) is None


@pytest.mark.parametrize(("value", "fits"), [(0.1, True), ([0.1], True), ([[0.1]], False), ([0.1, 0.1], False)])
def test_numbers_are_constants_of_one_entry(value, fits):
    look = matcher(("Mul", ["x", "c"], ["y"], {}), c=value)
    assert (found(look, call("Mul", "x", 0.1)) is not None) == fits
    assert (found(look, call("Mul", "x", Scalar("c"))) is not None) == fits
    assert found(look, call("Mul", "x", 0.1001)) is None


def test_a_constant_may_be_a_node():
    tensor = numpy_helper.from_array(np.array(0.5, np.float32))
    look = matcher(("Constant", [], ["c"], {"value": tensor}), ("Mul", ["x", "c"], ["y"], {}))
    assert found(look, call("Mul", "x", 0.5)) is not None
    text = helper.make_tensor("t", TensorProto.STRING, [1], [b"half"])
    look = matcher(("Constant", [], ["c"], {"value": text}), ("Mul", ["x", "c"], ["y"], {}))
    assert found(look, call("Mul", "x", 0.5)) is None


def test_alternatives_are_tried_until_the_rest_fits_too():
    look = matcher(*SQUARE)
    assert found(look, call("Mul", (call("Abs", "x"), call("Neg", "x")), "x")) is not None
    assert found(look, call("Mul", ("p", call("Neg", "p")), "p")).values == {"p": "x"}
    assert found(look, call("Mul", Named("p", call("Neg", "x")), "x")).values == {"p": "a", "x": "x"}


@pytest.mark.parametrize("order", ["abc", "acb", "bca", "cab"])
def test_three_factors_in_any_order(order):
    first, second, third = order
    nodes = [("Neg", ["x"], ["a"], {}), ("Abs", ["x"], ["b"], {}), ("Exp", ["x"], ["c"], {})]
    nodes += [("Mul", [first, second], ["d"], {}), ("Mul", [third, "d"], ["y"], {})]
    factors = call("Neg", "x"), call("Abs", "x"), call("Exp", "x")
    assert found(matcher(*nodes), product(*factors)).values == {"x": "x"}


def test_values_inside_must_be_of_no_use_outside():
    pattern = call("Mul", call("Neg", "x"), "x")
    assert found(matcher(*SQUARE), pattern) is not None
    assert found(matcher(*SQUARE, outputs=["a"]), pattern) is None
    assert found(matcher(("Neg", ["x"], ["a"], {}), ("Abs", ["a"], ["z"], {}), SQUARE[1]), pattern) is None

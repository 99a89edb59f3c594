import numpy as np
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor.peel import Cut, cuts, find_logits, keeps_order, unpeeled
from auditor.program import read_program


def op(op_type, inputs, outputs="y", **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def program(*nodes):
    constants = {
        "shape": np.array([-1, 4], np.int64),
        "hundred": np.float32(100),
        "two": np.full((1, 4), 2, np.float32),
        "ramp": np.arange(1, 5, dtype=np.float32),
        "minus": np.float32(-1),
        "classes": np.array([1], np.int64),
        "samples": np.array([0], np.int64),
        "first": np.array([0], np.int64),
        "k": np.array([2], np.int64),
        "depth": np.array(4, np.int64),
        "off_on": np.array([0, 1], np.float32),
    }
    graph = helper.make_graph(
        [op("Neg", "x", "z"), *nodes],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("acme", 1)])
    return read_program(model, bundled())


def found(*nodes):
    return find_logits(program(*nodes), "y")


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


@pytest.mark.parametrize(
    "last",
    [
        op("Clip", "p low high"),
        op("Mul", "p hundred"),
        op("Mul", "two p"),
        op("Div", "p hundred"),
        op("Add", "p minus"),
        op("Sub", "p hundred"),
        op("Max", "p minus"),
        op("Round", "p"),
    ],
    ids=["clip", "factor", "equal-factors", "divisor", "shift", "difference", "floor", "rounding"],
)
def test_what_lets_no_class_overtake_another_may_stand_behind(last):
    assert found(op("Softmax", "z", "p"), last) == ("z", "softmax")
    assert not cuts(program(op("Softmax", "z", "p"), last), "y")[0].plain


def test_a_factor_may_be_the_number_of_a_constant_node():
    factor = helper.make_node("Constant", [], ["c"], value_float=100.0)
    assert found(op("Softmax", "z", "p"), factor, op("Mul", "p c")) == ("z", "softmax")


@pytest.mark.parametrize(
    "last",
    [
        op("Mul", "p ramp"),
        op("Mul", "p minus"),
        op("Div", "hundred p"),
        op("Sub", "hundred p"),
        op("Add", "p ramp"),
        op("Add", "p x"),
        op("Max", "p x"),
    ],
)
def test_what_may_let_a_class_overtake_another_stays(last):
    assert found(op("Softmax", "z", "p"), last) is None


def test_the_logarithm_may_take_clipped_probabilities():
    assert found(op("Softmax", "z", "p"), op("Clip", "p low", "c"), op("Log", "c")) == ("z", "log_softmax")


def test_a_shift_may_be_computed_where_it_is_the_same_for_all_classes():
    total = [op("Softmax", "z", "p"), op("ReduceSum", "x classes", "s"), op("Mul", "s hundred", "t")]
    assert found(*total, op("Add", "t p")) == ("z", "softmax")
    assert found(*total, op("Mul", "t p")) is None
    across = [op("Softmax", "z", "p"), op("ReduceSum", "x samples", "t")]
    assert found(*across, op("Add", "t p")) is None


BEST = [op("ArgMax", "z", "a", axis=1, keepdims=0)]
TOP = [op("TopK", "z k", "v i", axis=1), op("Gather", "i first", "g", axis=1), op("Squeeze", "g classes", "a")]
LARGEST = [op("ReduceMax", "z classes", "m"), op("Equal", "z m", "e")]


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Hardmax", "z")],
        [*BEST, op("OneHot", "a depth off_on")],
        [*TOP, op("OneHot", "a depth off_on")],
        [*LARGEST, op("Cast", "e", to=TensorProto.FLOAT)],
        [*LARGEST, op("Cast", "e", to=TensorProto.INT64)],
        [*LARGEST, op("Where", "e hundred minus")],
        [op("Hardmax", "z", "h"), op("Cast", "h", to=TensorProto.INT64)],
    ],
    ids=["hardmax", "argmax", "topk", "equal", "equal-integers", "where", "integers"],
)
def test_a_decision_is_found(nodes):
    assert found(*nodes) == ("z", "decision")


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Hardmax", "z", axis=0)],
        [op("ArgMax", "z", "a", keepdims=0), op("OneHot", "a depth off_on")],
        [op("TopK", "z k", "v i"), op("OneHot", "v depth off_on")],
        [op("ReduceMax", "z", "m"), op("Equal", "z m", "e"), op("Cast", "e", to=TensorProto.FLOAT)],
        [op("ReduceMax", "x classes", "m"), op("Equal", "z m", "e"), op("Cast", "e", to=TensorProto.FLOAT)],
        [*LARGEST, op("Where", "e x minus")],
        [op("IsNaN", "z", "e"), op("Cast", "e", to=TensorProto.FLOAT)],
    ],
    ids=["samples", "argmax-samples", "values", "all", "other", "computed", "no-decision"],
)
def test_no_other_mark_is_a_decision(nodes):
    assert found(*nodes) is None


def test_one_ending_may_stand_on_another_and_the_deepest_cut_comes_first():
    stacked = program(
        op("Softmax", "z", "p"), op("ArgMax", "p", "a", axis=1, keepdims=0), op("OneHot", "a depth off_on")
    )
    assert cuts(stacked, "y") == [Cut("z", "decision", True), Cut("p", "decision", True)]


def test_order_is_kept_where_scores_that_differ_rank_as_the_logits():
    logits = torch.tensor([[0.0, 1.0, -2.0], [3.0, 1.0, 2.0]])
    assert keeps_order(100 * logits.softmax(1), logits)
    assert keeps_order(logits.clamp(0.5, 1.5), logits)
    assert keeps_order(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), logits)
    assert not keeps_order(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), logits)
    assert not keeps_order(torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.1, 0.3]]), logits), "right class, wrong ranking"


def test_scores_that_tell_no_classes_apart_show_no_order():
    logits = torch.tensor([[0.0, 1.0, -2.0]])
    assert not keeps_order(torch.ones(1, 3), logits)
    assert not keeps_order(1e6 + logits, logits)
    assert keeps_order(torch.tensor([[1.0, 1.0 - 1e-6, 0.5]]), torch.tensor([[0.0, 1.0, -2.0]])), "a tie up to rounding"


def test_the_order_of_one_number_shows_nothing():
    assert not keeps_order(torch.tensor([[0.0, 70.0]]), torch.tensor([[0.5]]))

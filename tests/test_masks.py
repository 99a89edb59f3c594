"""What counts as a mask. What a net without one computes is in test_smoothing."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from auditor.masks import unmask
from tests.onnx_files import make, value

CONSTANTS = {
    "k": np.array([2], np.int64),
    "axis": np.array([1], np.int64),
    "zero": np.zeros((), np.float32),
    "half": np.full((), 0.5, np.float32),
    "w": np.ones((4, 4), np.float32),
    "b": np.ones(4, np.float32),
    "depth": np.array(4, np.int64),
    "two": np.array([0, 1], np.float32),
    "classes": np.arange(4),
    "other": np.array([-1, 1], np.float32),
}


def op(op_type, inputs, outputs, **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def edited(*nodes):
    """What was taken out, and the nodes that are left, by operator."""
    model = make(list(nodes), [value("x", ["N", 4])], [value("y", None)], CONSTANTS)
    found = unmask(model)
    return found, {node.output[0]: (node.op_type, *node.input) for node in model.graph.node}


RANKS = [op("TopK", "x k", "top places"), op("ReduceMin", "top axis", "least")]
LARGEST = ("mask of the largest: left out",)
RANDOM = ("random mask: left out",)
NUMBER = {"to": TensorProto.FLOAT}


@pytest.mark.parametrize(
    "nodes",
    [
        [*RANKS, op("GreaterOrEqual", "x least", "g"), op("Cast", "g", "c", **NUMBER), op("Mul", "x c", "y")],
        [*RANKS, op("GreaterOrEqual", "x least", "g"), op("Cast", "g", "c", **NUMBER), op("Mul", "c x", "y")],
        [*RANKS, op("Less", "x least", "g"), op("Where", "g zero x", "y")],
        [*RANKS, op("Less", "x least", "g"), op("Not", "g", "n"), op("Where", "n x zero", "y")],
        [
            *RANKS[:1],
            op("Sub", "x x", "z"),
            op("OneHot", "places depth two", "o"),
            op("ReduceSum", "o axis", "m", keepdims=0),
            op("Mul", "x m", "y"),
        ],
    ],
)
def test_masks_of_the_largest(nodes):
    found, left = edited(*nodes)
    assert found == LARGEST
    assert left["y"] == ("Identity", "x")


def test_random_masks():
    nodes = op("RandomUniformLike", "x", "u"), op("Greater", "u half", "g"), op("Where", "g x zero", "y")
    assert edited(*nodes)[0] == RANDOM
    found, left = edited(op("Bernoulli", "half", "m"), op("Mul", "x m", "y"))
    assert (found, left["y"]) == (RANDOM, ("Identity", "x"))


def test_a_random_mask_that_is_scaled_by_a_sample_s_own_share():
    nodes = [
        op("RandomUniformLike", "x", "u"),
        op("Less", "u x", "g"),
        op("Cast", "g", "c", **NUMBER),
        op("Div", "c x", "m"),
        op("Mul", "x m", "y"),
    ]
    found, left = edited(*nodes)
    assert (found, left["y"]) == (RANDOM, ("Identity", "x"))


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Greater", "x half", "g"), op("Where", "g x zero", "y")],  # follows neither ranks nor chance
        [*RANKS, op("Mul", "x least", "y")],  # the value itself, not what it decides
        [op("RandomNormalLike", "x", "n"), op("Mul", "x n", "y")],
        [*RANKS, op("GreaterOrEqual", "x least", "g"), op("Sub", "x b", "z"), op("Where", "g x z", "y")],
        [op("ArgMax", "x", "i", axis=-1, keepdims=0), op("OneHot", "i depth other", "y")],
        [op("Relu", "x", "r"), op("MatMul", "r w", "y")],
        [op("Softmax", "x", "p"), op("Clip", "p zero half", "y")],
    ],
)
def test_what_is_no_mask_stays(nodes):
    found, left = edited(*nodes)
    assert found == ()
    assert left == {node.output[0]: (node.op_type, *node.input) for node in nodes}


def test_the_last_clipping_is_left_out_through_what_passes():
    found, left = edited(op("MatMul", "x w", "z"), op("Clip", "z zero half", "c"), op("Flatten", "c", "y"))
    assert found == ("the last Clip: left out",)
    assert left["c"] == ("Identity", "z")


@pytest.mark.parametrize(("name", "gap"), [("Greater", ("x", "half")), ("LessOrEqual", ("half", "x"))])
def test_the_last_comparison_becomes_its_gap(name, gap):
    found, left = edited(op(name, "x half", "g"), op("Cast", "g", "y", **NUMBER))
    assert (found, left["g"]) == ((f"the last {name}: left out",), ("Sub", *gap))


@pytest.mark.parametrize("places", ["i classes", "classes i"])
def test_a_comparison_of_places_marks_one_too(places):
    found, left = edited(op("ArgMax", "x", "i", axis=1), op("Equal", places, "g"), op("Cast", "g", "y", **NUMBER))
    assert (found, left["g"]) == (("Equal of ArgMax: softmax",), ("Softmax", "x"))


def test_the_place_of_the_largest_is_followed_through_what_passes():
    nodes = op("ArgMax", "x", "i", axis=-1), op("Squeeze", "i axis", "s"), op("OneHot", "s depth two", "y")
    found, left = edited(*nodes)
    assert (found, left["y"]) == (("OneHot of ArgMax: softmax",), ("Softmax", "x"))

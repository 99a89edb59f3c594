"""Following a file node by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper
from onnx_files import FLOAT, make, value, write

from auditor.host import Host
from auditor.inner import Inside
from auditor.operators import Operators, always
from auditor.parting import Course, follow, sections
from auditor.program import read_program
from auditor.target import TargetOptions

X = np.array([[0.5, -1.0, 2.0, -0.25]], np.float32)


@pytest.fixture
def operators() -> Operators:
    return bundled()


def course(tmp_path: Path, model: onnx.ModelProto, operators: Operators) -> Course:
    inside, _ = opened(tmp_path, model, operators)
    return follow(inside, read_program(inside.model, operators), operators, inside.feed(X))


def opened(tmp_path: Path, model: onnx.ModelProto, operators: Operators) -> tuple[Inside, Path]:
    path, options = write(tmp_path / "m.onnx", model), TargetOptions(operators=operators)
    return Inside(path, Host.load(installed=False).load_target(str(path), options), options), path


def wrong(operators: Operators, op_type: str, function) -> None:  # type: ignore[no-untyped-def]
    operators.table["", op_type] = []
    operators.register(op_type, always(function))


def chain(*op_types: str, count: int = 1) -> onnx.ModelProto:
    nodes = [
        helper.make_node(op_type, [f"v{i}" if i else "x"], [f"v{i + 1}"], name=f"n{i}")
        for i, op_type in enumerate(op_types * count)
    ]
    return make(nodes, [value("x", ["N", 4])], [value(f"v{len(nodes)}", ["N", 4])])


def test_a_right_twin_is_followed_to_the_end(tmp_path: Path, operators: Operators) -> None:
    found = course(tmp_path, chain("Tanh", "Sin", count=40), operators)
    assert (found.nodes, found.first, found.origin, found.unseen) == (80, None, None, ())


@pytest.mark.parametrize("place", [0, 7, 30, 79])
def test_the_wrong_node_is_found_wherever_it_is(place: int, tmp_path: Path, operators: Operators) -> None:
    op_types = ["Tanh", "Sin"] * 40
    op_types[place] = "Abs"
    wrong(operators, "Abs", lambda x: x.abs() + 0.25)
    found = course(tmp_path, chain(*op_types), operators)
    assert found.first is not None
    assert found.origin is found.first
    assert found.first.section.node.name == f"n{place}"
    assert found.first.own is not None
    assert found.first.own.difference == pytest.approx(0.25, rel=1e-5)
    assert found.nodes == place + 1


def test_an_error_behind_amplified_rounding_is_still_found(tmp_path: Path, operators: Operators) -> None:
    wrong(operators, "Mul", lambda a, b: a * b * (1 - 1e-6))
    wrong(operators, "Neg", lambda x: -x + 1)
    nodes = [
        helper.make_node("Mul", ["x", "four"], ["a"], name="product"),
        helper.make_node("Floor", ["a"], ["b"], name="step"),
        helper.make_node("Neg", ["b"], ["c"], name="sign"),
    ]
    model = make(nodes, [value("x", ["N", 4])], [value("c", ["N", 4])], {"four": np.array(4, np.float32)})
    found = course(tmp_path, model, operators)
    assert found.first is not None
    assert found.origin is not None
    assert (found.first.section.node.name, found.first.made_here) == ("step", False)
    assert (found.origin.section.node.name, found.origin.made_here) == ("sign", True)


def test_whole_numbers_are_given_to_a_node_as_the_twin_carries_them(tmp_path: Path, operators: Operators) -> None:
    """A wrong Neg that goes wrong on floats alone, behind a Cast whose result the twin carries as floats."""
    wrong(operators, "Neg", lambda x: -x + 1 if x.is_floating_point() else -x)
    nodes = [
        helper.make_node("Mul", ["x", "four"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.INT32, name="whole"),
        helper.make_node("Neg", ["b"], ["c"], name="sign"),
        helper.make_node("Cast", ["c"], ["y"], to=FLOAT, name="back"),
    ]
    model = make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], {"four": np.array(4, np.float32)})
    found = course(tmp_path, model, operators)
    assert found.origin is not None
    assert found.origin.section.node.name == "sign"
    assert found.origin.own is not None
    assert found.origin.own.difference == 1


def test_an_input_of_whole_numbers_is_carried_too(tmp_path: Path, operators: Operators) -> None:
    wrong(operators, "Neg", lambda x: -x + 1 if x.is_floating_point() else -x)
    nodes = [
        helper.make_node("Neg", ["x"], ["a"], name="sign"),
        helper.make_node("Cast", ["a"], ["y"], to=FLOAT, name="back"),
    ]
    model = make(nodes, [value("x", ["N", 4], TensorProto.INT32)], [value("y", ["N", 4])])
    found = course(tmp_path, model, operators)
    assert found.origin is not None
    assert found.origin.section.node.name == "sign"


def test_another_shape_is_an_error_of_the_node(tmp_path: Path, operators: Operators) -> None:
    wrong(operators, "Tanh", lambda x: x.tanh()[..., :3])
    found = course(tmp_path, chain("Sin", "Tanh"), operators)
    assert found.origin is not None
    assert found.origin.gap.shapes == ((1, 3), (1, 4))


def test_a_function_of_the_file_counts_as_one_node(tmp_path: Path, operators: Operators) -> None:
    inner = [helper.make_node("Sin", ["a"], ["s"]), helper.make_node("Abs", ["s"], ["b"])]
    function = helper.make_function("com.acme", "SinAbs", ["a"], ["b"], inner, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"], name="before"),
        helper.make_node("SinAbs", ["t"], ["y"], name="both", domain="com.acme"),
    ]
    model = make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("com.acme", 3))
    assert course(tmp_path, model, operators).first is None
    wrong(operators, "Abs", lambda x: x.abs() + 0.25)
    found = course(tmp_path, model, operators)
    assert found.origin is not None
    assert found.origin.section.label == "node 'both', com.acme::SinAbs (opset 3)"


def test_bodies_and_shape_chains_are_followed(tmp_path: Path, operators: Operators) -> None:
    """An If that reads a value of the surrounding graph, and a Reshape whose shape is computed from the input's."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op_type, ["t"], [name])], name, [], [value(name, ["N", 4])]
        )
        for name, op_type in (("then", "Sin"), ("else", "Cos"))
    }
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"], name="before"),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["large"]),
        helper.make_node("If", ["large"], ["i"], name="choice", **branches),
        helper.make_node("Shape", ["i"], ["shape"]),
        helper.make_node("Reshape", ["i", "shape"], ["y"], name="again"),
    ]
    model = make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], {"zero": np.array(0, np.float32)})
    assert course(tmp_path, model, operators).first is None
    wrong(operators, "Sin", torch.cos)
    found = course(tmp_path, model, operators)
    assert found.origin is not None
    assert found.origin.section.node.name == "choice"


def test_half_precision_rounds_more_before_it_counts(tmp_path: Path, operators: Operators) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["z"], name="product"),
        helper.make_node("Cast", ["z"], ["y"], to=FLOAT),
    ]
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float16)
    model = make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], {"w": weight})
    assert course(tmp_path, model, operators).origin is None


def test_what_does_not_lead_to_the_scores_is_left_out(tmp_path: Path, operators: Operators) -> None:
    nodes = [
        helper.make_node("Add", ["one", "one"], ["two"], name="constant"),
        helper.make_node("Mul", ["x", "two"], ["y"], name="kept"),
        helper.make_node("Sin", ["x"], ["aside"], name="dropped"),
    ]
    model = make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], {"one": np.array(1, np.float32)})
    found = sections(model, read_program(model, operators), "y")
    assert [(section.node.name, section.reads, section.makes) for section in found] == [("kept", ("x",), ("y",))]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, operators: Operators) -> None:
    from auditor.errors import ModelError

    path, options = write(tmp_path / "m.onnx", chain("Tanh")), TargetOptions(operators=operators)
    target = Host.load(installed=False).load_target(str(path), options)
    write(path, chain("Sin"))
    with pytest.raises(ModelError, match="changed"):
        Inside(path, target, options)

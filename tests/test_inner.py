"""Values inside a file, as the runtime computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import INT64, make, slow_where, value, write

from auditor.errors import ModelError, NotRun
from auditor.host import Host
from auditor.inner import Inside
from auditor.target import TargetOptions

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def opened(path: Path, **options: object) -> Inside:
    given = TargetOptions(**options)  # type: ignore[arg-type]
    target = Host.load(installed=False).load_target(str(path), given)
    return Inside(path, target, given)


def two(batch: int | str = "N") -> onnx.ModelProto:
    nodes = [helper.make_node("Mul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    weight = np.array([1, -1, 2, -2], np.float32)
    return make(nodes, [value("x", [batch, 4])], [value("y", [batch, 4])], {"w": weight})


def test_inner_and_outer_values_come_back(tmp_path: Path) -> None:
    inside = opened(write(tmp_path / "m.onnx", two()))
    found = inside.values(["a", "y"], inside.feed(X))
    np.testing.assert_array_equal(found["a"], X * [1, -1, 2, -2])
    np.testing.assert_array_equal(found["y"], np.maximum(found["a"], 0))
    (scores,) = inside.scores([inside.feed(X)])
    np.testing.assert_array_equal(scores, found["y"])
    assert inside.readout.source == "y"


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    inside = opened(write(tmp_path / "m.onnx", two(3)))
    feed = inside.feed(X)
    np.testing.assert_array_equal(feed, X[[0, 1, 1]])
    assert inside.values(["a"], feed)["a"].shape == (3, 4)


def test_weights_beside_the_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(two(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    inside = opened(path)
    np.testing.assert_array_equal(inside.values(["a"], X)["a"], X * [1, -1, 2, -2])


def test_inputs_get_the_files_type(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    path = write(tmp_path / "m.onnx", make(nodes, [value("x", ["N", 4], TensorProto.UINT8)], [value("y", ["N", 4])]))
    feed = opened(path).feed(X + 0.6)
    assert feed.dtype == np.uint8
    np.testing.assert_array_equal(feed, X + 1)


def test_a_value_that_can_not_be_returned_is_left_out(tmp_path: Path) -> None:
    inside = opened(write(tmp_path / "m.onnx", two()))
    assert list(inside.values(["a", "nowhere", "y"], X)) == ["a", "y"]


def test_an_input_on_which_the_file_never_ends_is_stopped(tmp_path: Path) -> None:
    inside = opened(write(tmp_path / "m.onnx", slow_where(5000.0)), timeout=2.0)
    with pytest.raises(ModelError, match="did not answer"):
        inside.values(["y"], np.full((1, 4), 6000.0, np.float32))
    assert inside.values(["y"], X[:1])["y"].shape == (1, 4)


def test_labels_are_read_as_one_hot_scores(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["z"]), helper.make_node("ArgMax", ["z"], ["y"], axis=1, keepdims=0)]
    path = write(tmp_path / "m.onnx", make(nodes, [value("x", ["N", 4])], [value("y", ["N"], INT64)]))
    (scores,) = opened(path).scores([X])
    np.testing.assert_array_equal(scores, [[0, 0, 0, 1], [0, 0, 0, 1]])


def shape_chain() -> onnx.ModelProto:
    """A chain of shapes with an unused output, which the runtime folds away; without optimisations it may crash."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["g"]),
        helper.make_node("Unsqueeze", ["g", "axis"], ["g1"]),
        helper.make_node("Size", ["x"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "n1", "n1"], ["three"], axis=0),
        helper.make_node("Split", ["three", "ones"], ["p", "", "q"], axis=0),
        helper.make_node("Concat", ["g1", "p"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    constants = {
        "zero": np.array(0, np.int64),
        "axis": np.zeros(1, np.int64),
        "ones": np.ones(3, np.int64),
        "w": np.eye(4, 3, dtype=np.float32),
    }
    return make(nodes, [value("x", [1, 4])], [value("y", [1, 3])], constants)


def test_a_runtime_that_crashes_takes_nobody_along(tmp_path: Path) -> None:
    """Other versions of the runtime may not crash on it; then the values come."""
    inside = opened(write(tmp_path / "m.onnx", shape_chain()))
    for ask in (lambda: inside.values(["y"], X[:1])["y"], lambda: next(inside.scores([X[:1]]))):
        said, found = "", X[:1, :3]
        try:
            found = ask()
        except NotRun as error:
            said = str(error)
        assert said.startswith("without optimisations m.onnx crashed its process" if said else "")
        np.testing.assert_array_equal(found, X[:1, :3])

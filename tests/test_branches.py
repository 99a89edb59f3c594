"""Branches read off files: what the runtime answers changes at the thresholds that are read, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from auditor.plugins.operators import bundled
from auditor.plugins.targets.onnx_ import OnnxTarget
from ml_nodes import ML, random_forest
from onnx import TensorProto, helper

from auditor.preprocess import Preprocess
from auditor.target import TargetOptions

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
INF = np.float32(np.inf)


def opened(
    path: Path,
    before: list[Any],
    forest: dict[str, Any],
    *,
    kind: int = FLOAT,
    shape: tuple[int, ...] = (4,),
    sample: tuple[int, ...] | None = None,
    after: list[Any] | None = None,
    preprocess: Preprocess | None = None,
    constants: dict[str, np.ndarray] | None = None,
    op_type: str = "TreeEnsembleRegressor",
) -> OnnxTarget:
    """A file of nodes from `x` to `t`, trees from `t` (or `x`) to `y`, and nodes from `y` to `z`."""
    trees = helper.make_node(op_type, ["t" if before else "x"], ["y"], domain=ML, **forest)
    inits = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(
        [*before, trees, *(after or [])],
        "forest",
        [helper.make_tensor_value_info("x", kind, ["N", *shape])],
        [helper.make_tensor_value_info("z" if after else "y", FLOAT, None)],
        inits,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 5 if op_type == "TreeEnsemble" else 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    options = TargetOptions(operators=bundled(), preprocess=preprocess or Preprocess(), trust=True)
    target = OnnxTarget(path, options)
    target.fit(sample or shape)
    return target


def stumps(modes: tuple[str, ...], seed: int = 0, features: int = 4, *, scale: float = 1.0) -> dict[str, Any]:
    """Twelve trees of one branch each; every leaf has scores of its own, so that each branch shows."""
    draws = np.random.default_rng(seed)
    lists: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "featureids", "values", "modes")}
    lists |= {"truenodeids": [], "falsenodeids": []}
    leaves: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(12):
        row = (tree, 0, tree % features, float(scale * draws.uniform(0.1, 0.9)), modes[tree % len(modes)], 1, 2)
        for entries in (row, (tree, 1, 0, 0.0, "LEAF", 0, 0), (tree, 2, 0, 0.0, "LEAF", 0, 0)):
            for column, entry in zip(lists.values(), entries, strict=True):
                column.append(entry)
        for place, target, weight in ((1, 0, 2.0**tree), (2, 0, 0.0), (1, 1, 0.0), (2, 1, 1.0)):
            for column, entry in zip(leaves.values(), (tree, place, target, weight), strict=True):
                column.append(entry)
    return (
        {f"nodes_{k}": v for k, v in lists.items()} | {f"target_{k}": v for k, v in leaves.items()} | {"n_targets": 2}
    )


def check_steps(target: OnnxTarget, sample: tuple[int, ...], count: int) -> None:
    """Every threshold is the last float of its side, by the runtime's answer; there are so many in all, and the answer
    is the same at both ends of every interval in between."""
    thresholds = target.thresholds()
    assert thresholds is not None
    assert sum(map(len, thresholds)) == count
    for feature, cuts in enumerate(thresholds):
        assert (np.diff(cuts) > 0).all()
        points = np.full((2 * len(cuts), int(np.prod(sample))), 0.5, np.float32)
        points[0::2, feature], points[1::2, feature] = cuts, np.nextafter(cuts, INF)
        scores = target.scores(points.reshape(-1, *sample))
        steps = (np.diff(scores, axis=0) != 0).any(axis=1)
        assert steps[0::2].all(), "a threshold where nothing changes"
        assert not steps[1::2].any(), "a change between two thresholds"


@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), MODES])
@pytest.mark.parametrize("kind", [FLOAT, DOUBLE])
def test_every_branch(tmp_path: Path, modes: tuple[str, ...], kind: int) -> None:
    check_steps(opened(tmp_path / "f.onnx", [], stumps(modes), kind=kind), (4,), 12)


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(scale=255.0),
        Preprocess(mean=(0.1307,), std=(0.3081,)),
        Preprocess(scale=3.7, mean=(0.1, 0.2, 0.3, 0.4), std=(0.7, 1.1, -0.9, 1.3)),
    ],
)
def test_thresholds_are_in_sample_units(tmp_path: Path, preprocess: Preprocess) -> None:
    target = opened(tmp_path / "f.onnx", [], stumps(MODES), preprocess=preprocess)
    check_steps(target, (4,), 12)
    thresholds = target.thresholds()
    assert thresholds is not None
    raw = opened(tmp_path / "raw.onnx", [], stumps(MODES)).thresholds()
    assert raw is not None
    mean, std = np.resize(preprocess.mean or 0.0, 4), np.resize(preprocess.std or 1.0, 4)
    for feature, values in enumerate(thresholds):
        undone = np.sort((raw[feature].astype(np.float64) * std[feature] + mean[feature]) / preprocess.scale)
        np.testing.assert_allclose(values, undone, rtol=1e-5)


def test_features_come_in_the_order_of_the_sample(tmp_path: Path) -> None:
    """A file that takes channels first in the order BGR, and samples with channels last."""
    preprocess = Preprocess(layout="nchw", channels="bgr", scale=2.0)
    flat = [helper.make_node("Flatten", ["x"], ["t"])]
    options: dict[str, Any] = {"shape": (3, 2, 2), "sample": (2, 2, 3), "preprocess": preprocess}
    check_steps(opened(tmp_path / "f.onnx", flat, stumps(MODES, features=12), **options), (2, 2, 3), 12)


@pytest.mark.parametrize("case", ["scaler", "arithmetic", "falling"])
def test_what_stands_before_the_trees_is_undone(tmp_path: Path, case: str) -> None:
    node = helper.make_node
    constants = {"a": np.array([[2.0, 3.0, 0.7, 1.3]], np.float32), "b": np.array(0.11, np.float32)}
    before = {
        "scaler": [node("Scaler", ["x"], ["t"], domain=ML, offset=[0.1, 0.2, 0.3, 0.0], scale=[1.1, 0.7, 2.0, 3.0])],
        "arithmetic": [
            node("Mul", ["a", "x"], ["m"]),
            node("Sub", ["m", "b"], ["s"]),
            node("Cast", ["s"], ["t"], to=1),
        ],
        "falling": [node("Sub", ["b", "x"], ["m"]), node("Identity", ["m"], ["t"])],
    }[case]
    forest = stumps(MODES)
    if case == "falling":
        forest["nodes_values"] = [-value for value in forest["nodes_values"]]
    check_steps(opened(tmp_path / "f.onnx", before, forest, constants=constants), (4,), 12)


def test_a_file_of_integers_rounds(tmp_path: Path) -> None:
    """So that thresholds lie half way between two integers, as samples of 0 to 1 come to them."""
    before, forest = [helper.make_node("Cast", ["x"], ["t"], to=FLOAT)], stumps(("BRANCH_LEQ",), scale=200)
    target = opened(tmp_path / "f.onnx", before, forest, kind=TensorProto.INT64, preprocess=Preprocess(scale=255))
    check_steps(target, (4,), 12)
    thresholds = target.thresholds()
    assert thresholds is not None
    for values in thresholds:
        np.testing.assert_allclose(values * 255 % 1, 0.5, atol=1e-4)


def test_the_new_operator_says_the_same(tmp_path: Path) -> None:
    """Two trees of one feature each, by TreeEnsemble: at most .25, and below .5."""
    forest = {
        "n_targets": 2,
        "tree_roots": [0, 1],
        "nodes_featureids": [0, 2],
        "nodes_splits": onnx.numpy_helper.from_array(np.array([0.25, 0.5], np.float32)),
        "nodes_modes": onnx.numpy_helper.from_array(np.array([0, 1], np.uint8)),
        "nodes_truenodeids": [0, 2],
        "nodes_trueleafs": [1, 1],
        "nodes_falsenodeids": [1, 3],
        "nodes_falseleafs": [1, 1],
        "leaf_targetids": [0, 1, 0, 1],
        "leaf_weights": onnx.numpy_helper.from_array(np.array([1, 2, 3, 4], np.float32)),
    }
    target = opened(tmp_path / "f.onnx", [], forest, op_type="TreeEnsemble")
    check_steps(target, (4,), 2)
    thresholds = target.thresholds()
    assert thresholds is not None
    assert [values.tolist() for values in thresholds] == [[0.25], [], [np.nextafter(np.float32(0.5), -INF)], []]


@pytest.mark.parametrize("seed", range(3))
def test_leaves_are_where_the_runtime_says_the_same(tmp_path: Path, seed: int) -> None:
    """One deep tree: all points of a leaf's box get the same scores, and some point lies in each."""
    draws = np.random.default_rng(seed)
    forest = random_forest(draws, "target", [0, 1], trees=1, modes=MODES) | {"n_targets": 2}
    target = opened(tmp_path / "f.onnx", [], forest)
    trees = target.trees()
    assert trees is not None
    points = draws.normal(size=(4000, 4)).astype(np.float32)
    scores = target.scores(points)
    values = points[:, trees.features]
    inside = ((values >= trees.low) & (values <= trees.high)).all(axis=2)
    assert (inside.sum(axis=1) == 1).all()
    for leaf in inside.T[inside.any(axis=0)]:
        assert len(np.unique(scores[leaf], axis=0)) == 1
    assert len(np.unique(inside.argmax(axis=1))) == len(np.unique(scores, axis=0)) > 3


@pytest.mark.parametrize("case", ["sum", "mixed", "columns", "equal", "twice"])
def test_other_files_have_no_thresholds(tmp_path: Path, case: str) -> None:
    """A score that sees the input past the trees, features that are mixed or picked, other branches."""
    node = helper.make_node
    constants = {"w": np.eye(4, 2, dtype=np.float32), "m": np.eye(4, dtype=np.float32), "c": np.arange(4)}
    before = {
        "mixed": [node("MatMul", ["x", "m"], ["t"])],
        "columns": [node("Gather", ["x", "c"], ["t"], axis=1)],
        "twice": [node("Mul", ["x", "x"], ["t"])],
    }.get(case, [])
    after = [node("MatMul", ["x", "w"], ["l"]), node("Add", ["y", "l"], ["z"])] if case == "sum" else None
    forest = stumps(("BRANCH_EQ",) if case == "equal" else MODES)
    target = opened(tmp_path / "f.onnx", before, forest, after=after, constants=constants)
    assert target.trees() is None
    assert target.thresholds() is None


def test_anything_may_stand_behind_the_trees(tmp_path: Path) -> None:
    after = [helper.make_node("Neg", ["y"], ["n"]), helper.make_node("Softmax", ["n"], ["z"])]
    thresholds = opened(tmp_path / "f.onnx", [], stumps(MODES), after=after).thresholds()
    assert thresholds is not None
    assert sum(map(len, thresholds)) == 12


def test_without_operators_nothing_is_read(tmp_path: Path) -> None:
    opened(tmp_path / "f.onnx", [], stumps(MODES))
    target = OnnxTarget(tmp_path / "f.onnx", TargetOptions(trust=True))
    target.fit((4,))
    assert target.thresholds() is None


def test_real_forests(shared: Path) -> None:
    """Boosted trees over pictures in [0, 1], and a forest of scikit-learn's behind a ZipMap."""
    for name, features, count in (("mnist_2_6_robust_trees_eps0.3", 784, 561), ("iris_random_forest_zipmap", 4, 99)):
        target = OnnxTarget(shared / "models" / f"{name}.onnx", TargetOptions(operators=bundled(), trust=True))
        target.fit((features,))
        thresholds = target.thresholds()
        assert thresholds is not None
        assert len(thresholds) == features
        assert sum(map(len, thresholds)) == count

"""One-node models of the ML domain: the twin's operator beside the runtime's, and random forests to try it on."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper

from auditor.graph import Graph
from auditor.program import read_program

ML = "ai.onnx.ml"


def one_node(op_type: str, x: np.ndarray, outputs: dict[str, int], opset: int, **attributes: Any) -> onnx.ModelProto:
    """A model of this node alone. outputs: name to element type."""
    node = helper.make_node(op_type, ["x"], list(outputs), domain=ML, **attributes)
    kind = TensorProto.STRING if x.dtype == object else helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node],
        "one node",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info(name, output, None) for name, output in outputs.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def runtime(model: onnx.ModelProto, x: np.ndarray) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def twin(model: onnx.ModelProto) -> Graph:
    """The graph of all outputs."""
    operators = bundled()
    program = read_program(model, operators)
    return Graph(program, program.outputs, operators)


def compare(
    op_type: str,
    x: np.ndarray,
    *,
    outputs: dict[str, int] | None = None,
    opset: int = 3,
    tolerance: float = 1e-6,
    **attributes: Any,
) -> Graph:
    """Asserts that the twin returns what the runtime returns; the graph."""
    outputs = outputs or {"y": TensorProto.FLOAT}
    model = one_node(op_type, x, outputs, opset, **attributes)
    graph = twin(model)
    with torch.no_grad():
        found = graph(x if x.dtype == object else torch.from_numpy(x))
    for value, expected in zip(found, runtime(model, x), strict=True):
        value = value if isinstance(value, np.ndarray) else value.numpy()
        assert value.shape == np.shape(expected)
        if np.asarray(expected).dtype.kind == "f":
            scale = max(1, float(np.nan_to_num(np.abs(expected)).max(initial=0)))
            np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance * scale)
        else:
            assert value.tolist() == np.asarray(expected).tolist()
    return graph


def random_tree(draws: np.random.Generator, levels: int) -> list[tuple[int, int]]:
    """Children of each node of a tree, `(-1, -1)` for a leaf; the root is the first."""
    nodes: list[tuple[int, int]] = [(-1, -1)]
    open_nodes = [(0, 0)]
    while open_nodes:
        place, level = open_nodes.pop()
        if level < levels and (level == 0 or draws.random() < 0.7):
            nodes[place] = (len(nodes), len(nodes) + 1)
            open_nodes += [(len(nodes), level + 1), (len(nodes) + 1, level + 1)]
            nodes += [(-1, -1), (-1, -1)]
    return nodes


def random_forest(
    draws: np.random.Generator,
    role: str,
    targets: list[int],
    *,
    features: int = 4,
    trees: int = 5,
    modes: tuple[str, ...] = ("BRANCH_LEQ",),
    missing: bool = False,
    positive: bool = False,
    grid: bool = False,
) -> dict[str, Any]:
    """Attributes of an older tree operator whose every leaf has a weight for each of the targets.

    role: "target" or "class". grid: thresholds among -1, 0 and 1, which inputs hit.
    """
    lists: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {f"{role}_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        for place, (yes, no) in enumerate(random_tree(draws, levels=4)):
            threshold = draws.integers(-1, 2) if grid else draws.standard_normal()
            row = (tree, place, int(draws.integers(features)), float(threshold))
            row += (str(draws.choice(modes)) if yes > 0 else "LEAF", max(yes, 0), max(no, 0))
            for column, entry in zip(lists.values(), row, strict=True):
                column.append(entry)
            for target in targets if yes < 0 else []:
                weight = draws.random() / trees if positive else draws.standard_normal()
                for column, entry in zip(leaves.values(), (tree, place, target, weight), strict=True):
                    column.append(entry)
    if missing:
        lists["nodes_missing_value_tracks_true"] = draws.integers(0, 2, len(lists["nodes_modes"])).tolist()
    return {**lists, **leaves}

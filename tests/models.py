"""Small ONNX files and samples made on the spot, for tests that need a real file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def linear_model(
    path: Path, *, features: int = 12, classes: int = 3, seed: int = 0, softmax: bool = False, batch: int | str = "N"
) -> tuple[np.ndarray, np.ndarray]:
    """Write Wx + b as an ONNX file; returns W `[features, classes]` and b."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(features, classes)).astype(np.float32)
    bias = (rng.normal(size=classes) / 4).astype(np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["p"], axis=1))
    save(
        path,
        nodes,
        {"w": weight, "b": bias},
        inputs=[batch, features],
        output=("p" if softmax else "z", [batch, classes]),
    )
    return weight, bias


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    inputs: list[int | str],
    output: tuple[str, list[int | str]],
    opset: int = 17,
) -> None:
    """A graph with one float input `x` and one float output as a file."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def labelled(
    path: Path, weight: np.ndarray, bias: np.ndarray, *, n: int = 40, seed: int = 1, **more: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Write samples that the linear model classifies correctly; returns x and y."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 0.9, size=(n, len(weight))).astype(np.float32)
    y = (x @ weight + bias).argmax(axis=1)
    np.savez(path, x=x, y=y, **more)
    return x, y

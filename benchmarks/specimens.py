"""Small classifiers of the handwritten digits in `examples/mnist`, each built with other means of ONNX.

All compute nearly the same: a linear classifier, fitted to the samples by least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "mnist"
SAMPLES = EXAMPLES / "samples.npz"
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
PIXELS, CLASSES, RIDGE = 784, 10, 30.0
SHAPE: list[int | str] = ["N", 1, 28, 28]
Arrays = Mapping[str, np.ndarray]


@cache
def fitted() -> tuple[np.ndarray, np.ndarray]:
    """Weights `[784, 10]` and shifts `[10]`."""
    with np.load(SAMPLES) as samples:
        x = samples["x"].reshape(-1, PIXELS).astype(np.float64) / 255
        y = np.eye(CLASSES)[samples["y"]]
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    solution = np.linalg.solve(x.T @ x + RIDGE * np.eye(PIXELS + 1), x.T @ y)
    return solution[:-1].astype(np.float32), solution[-1].astype(np.float32)


def node(op_type: str, inputs: str, outputs: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), domain=domain, **attributes)


def info(name: str, shape: list[Any] | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], arrays: Arrays) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_graph(nodes, "g", inputs, outputs, tensors)


def classifier(
    nodes: list[onnx.NodeProto], arrays: Arrays | None = None, *, output: str = "y", functions: Any = ()
) -> onnx.ModelProto:
    """A file that takes pictures; `w` and `b` are there."""
    w, b = fitted()
    body = graph(nodes, [info("x", SHAPE)], [info(output, None)], {"w": w, "b": b, **(arrays or {})})
    opsets = [helper.make_opsetid(domain, version) for domain, version in (("", 17), ("ai.onnx.ml", 3), ("own", 1))]
    return helper.make_model(body, opset_imports=opsets, ir_version=8, functions=list(functions))


def dense() -> onnx.ModelProto:
    return classifier([node("Flatten", "x", "f"), node("Gemm", "f w b", "z"), node("Softmax", "z", "y")])


def chained() -> onnx.ModelProto:
    """The shape is computed, as exporters do."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 rest", "to", axis=0),
        node("Reshape", "x to", "f"),
        node("MatMul", "f w", "m"),
        node("Add", "m b", "y"),
    ]
    return classifier(nodes, {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])})


def looped() -> onnx.ModelProto:
    """Three rounds that each add a third."""
    body = graph(
        [node("Mul", "z third", "part"), node("Add", "sum part", "more"), node("Identity", "c", "d")],
        [info("i", [], INT64), info("c", [], BOOL), info("sum", None)],
        [info("d", [], BOOL), info("more", None)],
        {"third": np.float32([1 / 3])},
    )
    nodes = [
        node("Flatten", "x", "f"),
        node("Gemm", "f w b", "z"),
        node("Sub", "z z", "zero"),
        node("Loop", "rounds go zero", "y", body=body),
    ]
    return classifier(nodes, {"rounds": np.array(3), "go": np.array(True)})


def branched() -> onnx.ModelProto:
    """Dark pictures take another way than bright ones."""
    ways = {
        name: graph([node("Mul", f"z {name}", f"out_{name}")], [], [info(f"out_{name}", None)], {name: np.float32([k])})
        for name, k in (("dark", 1.0), ("bright", 2.0))
    }
    nodes = [
        node("Flatten", "x", "f"),
        node("Gemm", "f w b", "z"),
        node("ReduceMean", "x", "mean", keepdims=0),
        node("Less", "mean half", "c"),
        node("If", "c", "y", then_branch=ways["dark"], else_branch=ways["bright"]),
    ]
    return classifier(nodes, {"half": np.float32(0.13)})


def quantised() -> onnx.ModelProto:
    """Eight bits, both ways of writing it."""
    w, _ = fitted()
    scale = np.float32(np.abs(w).max() / 127)
    nodes = [
        node("Flatten", "x", "f"),
        node("QuantizeLinear", "f sx zx", "q"),
        node("DequantizeLinear", "q sx zx", "d"),
        node("DynamicQuantizeLinear", "d", "a sa za"),
        node("MatMulInteger", "a wq za", "i"),
        node("Cast", "i", "c", to=FLOAT),
        node("Mul", "sa sw", "s"),
        node("Mul", "c s", "m"),
        node("Add", "m b", "y"),
    ]
    arrays = {"sx": np.float32(1 / 255), "zx": np.uint8(0), "sw": scale, "wq": np.rint(w / scale).astype(np.int8)}
    return classifier(nodes, {name: np.asarray(array) for name, array in arrays.items()})


def sequenced() -> onnx.ModelProto:
    """Cut into halves and put together again."""
    nodes = [
        node("Flatten", "x", "f"),
        node("SplitToSequence", "f half", "parts", axis=1),
        node("SequenceAt", "parts zero", "first"),
        node("SequenceAt", "parts one", "second"),
        node("Concat", "first second", "again", axis=1),
        node("Gemm", "again w b", "y"),
    ]
    return classifier(nodes, {"half": np.array(392), "zero": np.array(0), "one": np.array(1)})


def calling() -> onnx.ModelProto:
    """A function of the file's own."""
    opsets = [helper.make_opsetid("", 17)]
    body = [node("Flatten", "a", "flat"), node("MatMul", "flat m", "p"), node("Add", "p s", "r")]
    function = helper.make_function("own", "Affine", ["a", "m", "s"], ["r"], body, opsets)
    return classifier([node("Affine", "x w b", "y", domain="own")], functions=[function])


def mapped() -> onnx.ModelProto:
    """As scikit-learn's converter ends: labels, and a list of maps."""
    w, b = fitted()
    linear: dict[str, Any] = {
        "coefficients": w.T.reshape(-1).tolist(),
        "intercepts": b.tolist(),
        "post_transform": "SOFTMAX",
        "classlabels_ints": list(range(CLASSES)),
    }
    nodes = [
        node("Flatten", "x", "f"),
        node("Scaler", "f", "s", domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
        node("LinearClassifier", "s", "label p", domain="ai.onnx.ml", **linear),
        node("ZipMap", "p", "y", domain="ai.onnx.ml", classlabels_int64s=list(range(CLASSES))),
    ]
    model = classifier(nodes)
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="y"))
    model.graph.output.append(info("label", None, INT64))
    return model


SPECIMENS: dict[str, Callable[[], onnx.ModelProto]] = {
    "dense": dense,
    "chained": chained,
    "looped": looped,
    "branched": branched,
    "quantised": quantised,
    "sequenced": sequenced,
    "calling": calling,
    "mapped": mapped,
    "natural": lambda: onnx.load(EXAMPLES / "natural.onnx"),
    "robust": lambda: onnx.load(EXAMPLES / "robust.onnx"),
}

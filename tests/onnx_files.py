"""ONNX files of any kind made on the spot: harmless, odd and hostile ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def value(name: str, shape: list[int | str | None] | None, kind: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def make(
    nodes: list[onnx.NodeProto],
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    ml: int | None = None,
) -> onnx.ModelProto:
    """A model of these nodes. ml: opset of the ML domain, where they need it."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])]
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, tensors), opset_imports=opsets, ir_version=8
    )


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def linear(
    path: Path,
    weight: np.ndarray,
    *,
    ending: tuple[str, ...] = (),
    shape: list[int | str | None] | None = None,
    kind: int = FLOAT,
    **attributes: Any,
) -> Path:
    """x @ weight for flattened x, then one node for each name in `ending`. shape: of the input, batch included."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["z0"]),
    ]
    for place, op_type in enumerate(ending):
        extra = attributes if place == len(ending) - 1 else {}
        nodes.append(helper.make_node(op_type, [f"z{place}"], [f"z{place + 1}"], **extra))
    last = f"z{len(ending)}"
    out = INT64 if ending and ending[-1] == "ArgMax" else FLOAT
    given = ["N", len(weight)] if shape is None else shape
    return write(path, make(nodes, [value("x", given, kind)], [value(last, None, out)], {"w": weight}))


def huge_constant() -> onnx.ModelProto:
    """A hundred bytes that ask for 256 GiB."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    return make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], {"s": np.array([1 << 36], np.int64)})


def endless_loop() -> onnx.ModelProto:
    """A loop of 2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Add", ["a", "one"], ["b"]), helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [value("i", [], INT64), value("c", [], TensorProto.BOOL), value("a", ["N", 4])],
        [value("d", [], TensorProto.BOOL), value("b", ["N", 4])],
    )
    constants = {"n": np.array(1 << 62), "t": np.array(True), "one": np.array(1, np.float32)}
    loop = helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body)
    return make([loop], [value("x", ["N", 4])], [value("y", ["N", 4])], constants)


def slow_where(threshold: float) -> onnx.ModelProto:
    """x itself, but after 2^40 rounds of a loop where the first value is above the threshold."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"]), helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [value("i", [], INT64), value("c", [], TensorProto.BOOL), value("a", ["N", 4])],
        [value("d", [], TensorProto.BOOL), value("b", ["N", 4])],
    )
    nodes = [
        helper.make_node("Gather", ["x", "zero"], ["row"], axis=0),
        helper.make_node("Gather", ["row", "zero"], ["first"], axis=0),
        helper.make_node("Greater", ["first", "limit"], ["slow"]),
        helper.make_node("Where", ["slow", "many", "one"], ["n"]),
        helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body),
    ]
    constants = {
        "zero": np.array(0),
        "limit": np.array(threshold, np.float32),
        "many": np.array(1 << 40),
        "one": np.array(1),
        "t": np.array(True),
    }
    return make(nodes, [value("x", ["N", 4])], [value("y", ["N", 4])], constants)

"""Quantised nodes: the twin beside the runtime, on whole numbers as they are and as carried floats, and under vmap."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from auditor.plugins.operators import bundled
from onnx import helper, numpy_helper

from auditor.graph import Graph
from auditor.program import read_program

CONTRIB = "com.microsoft"
OPERATORS = bundled()
Inputs = tuple[np.ndarray | None, ...]


def one_node(op_type: str, inputs: Inputs, dynamic: int, *, node: dict[str, Any], opset: int = 21) -> onnx.ModelProto:
    """A model of this node: input number `dynamic` is the model's, the others are constants. node: attributes."""
    names = ["" if value is None else f"in{i}" for i, value in enumerate(inputs)]
    proto = helper.make_node(op_type, names, ["y"], domain=CONTRIB)
    proto.attribute.extend(helper.make_attribute(name, value) for name, value in node.items())
    return model([proto], dict(zip(names, inputs, strict=True)), names[dynamic], opset)


def model(nodes: list[onnx.NodeProto], values: dict[str, np.ndarray | None], x: str, opset: int) -> onnx.ModelProto:
    """A model of these nodes and values, all but `x` constants; its output is `y`."""
    given = values[x]
    assert given is not None
    graph = helper.make_graph(
        nodes,
        "nodes",
        [helper.make_tensor_value_info(x, helper.np_dtype_to_tensor_dtype(given.dtype), given.shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in values.items() if n and n != x and v is not None],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def runtime(model: onnx.ModelProto, *batches: np.ndarray) -> list[np.ndarray]:
    """What the runtime returns for each of these inputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {session.get_inputs()[0].name: x})[0] for x in batches]


def twin(model: onnx.ModelProto) -> Graph:
    program = read_program(model, OPERATORS)
    return Graph(program, program.outputs[0], OPERATORS)


def compare(
    op_type: str, *inputs: np.ndarray | None, dynamic: int = 0, tolerance: float = 0.0, steps: float = 0.0, **node: Any
) -> Graph:
    """Asserts that the twin returns what the runtime returns; the graph.

    tolerance: as a share of the largest value, for floats. steps: how far levels may be apart, where they are few.
    """
    x = inputs[dynamic]
    assert x is not None
    whole = one_node(op_type, inputs, dynamic, node=node)
    graph = twin(whole)
    for given in (x, x[::-1].copy()):
        (expected,) = runtime(whole, given)
        room = steps + tolerance * max(1.0, float(np.abs(expected.astype(float)).max(initial=0)))
        given = torch.from_numpy(given)
        with torch.no_grad():
            for found in (graph(given), graph(given.float()), torch.vmap(graph)(given.float()[None])[0]):
                assert found.shape == expected.shape
                np.testing.assert_allclose(found.numpy().astype(float), expected.astype(float), rtol=0, atol=room)
                assert np.mean(found.numpy() != expected) <= 0.01 or tolerance
    return graph


def gradient(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The gradient of the sum of what the graph returns, with the input carried as floats."""
    point = torch.from_numpy(x).float().requires_grad_(True)
    return np.asarray(torch.autograd.grad(graph(point).sum(), point)[0].numpy())


def compare_carried(op_type: str, kind: str, x: np.ndarray, *others: np.ndarray, first: bool = True) -> Graph:
    """Asserts that a node whose input a Cast made whole returns what the runtime returns, with a gradient and without.

    kind: the type of the whole numbers. others: its further inputs. first: whether x comes before them.
    """
    names = [f"in{i}" for i in range(len(others))]
    to = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=to),
        helper.make_node(op_type, ["whole", *names] if first else [*names, "whole"], ["y"]),
    ]
    x = x.astype(np.float32)
    proto = onnx.shape_inference.infer_shapes(model(nodes, {"x": x, **dict(zip(names, others, strict=True))}, "x", 18))
    (expected,) = runtime(proto, x)
    graph = twin(proto)
    with torch.no_grad():
        np.testing.assert_array_equal(graph(torch.from_numpy(x)).numpy(), expected)
    live = torch.from_numpy(x).requires_grad_(True)
    y = graph(live)
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    (passed,) = torch.autograd.grad(y.sum(), live)
    assert passed.count_nonzero()
    pair = torch.from_numpy(np.stack([x, x]))
    np.testing.assert_array_equal(torch.vmap(graph)(pair)[1].detach().numpy(), expected)
    return graph

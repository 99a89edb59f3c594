"""One-node models: the twin's operator against the runtime, and its gradient against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from auditor.plugins.operators import bundled
from onnx import TensorProto, helper, numpy_helper

from auditor.graph import Graph
from auditor.operators import Operators
from auditor.program import read_program

DEPRECATED = {("GroupNormalization", 18), ("MeanVarianceNormalization", 7)}
"""What the checker refuses now, but exporters wrote and the runtime still runs."""
Check = Callable[..., Graph]


@cache
def saturates() -> bool:
    """Whether the runtime's sums of unsigned by signed bytes overflow 16 bits here, as they do on processors without
    VNNI (255 × 127 twice is 64,770): then it does not compute what its operators are specified to."""
    a, b = np.full((1, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    model = one_node("MatMulInteger", (a, b), 17, 0, 1)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"in0": a})
    return bool((found != 64 * 255 * 127).any())


@pytest.fixture(autouse=True)
def wide_sums(request: pytest.FixtureRequest) -> None:
    """Skip what is marked `wide_sums` where the runtime has none to compare with."""
    if request.node.get_closest_marker("wide_sums") and saturates():
        pytest.skip("onnxruntime's sums of unsigned by signed bytes saturate on this processor")


@pytest.fixture(scope="session")
def operators() -> Operators:
    return bundled()


def one_node(
    op_type: str, inputs: tuple[np.ndarray | None, ...], opset: int, dynamic: int, outputs: int, **attributes: Any
) -> onnx.ModelProto:
    """A model of this one node: input number `dynamic` is the model's, all others are constants."""
    names = ["" if value is None else f"in{i}" for i, value in enumerate(inputs)]
    node = helper.make_node(op_type, names, [f"out{i}" for i in range(outputs)], **attributes)
    x = inputs[dynamic]
    assert x is not None
    graph = helper.make_graph(
        [node],
        "one node",
        [helper.make_tensor_value_info(names[dynamic], helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_empty_tensor_value_info(f"out{i}") for i in range(outputs)],
        [numpy_helper.from_array(v, names[i]) for i, v in enumerate(inputs) if v is not None and i != dynamic],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    for i, output in enumerate(model.graph.output):
        if not output.type.tensor_type.HasField(
            "shape"
        ):  # inference knows nothing of some operators; these keep the rank
            output.CopyFrom(helper.make_tensor_value_info(f"out{i}", TensorProto.FLOAT, [None] * x.ndim))
    if (op_type, opset) not in DEPRECATED:
        onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def check(operators: Operators) -> Check:
    """Asserts that an operator returns what the runtime returns, alone and under vmap, and has the right gradient."""

    def run(
        op_type: str,
        *inputs: np.ndarray | None,
        opset: int = 17,
        dynamic: int = 0,
        outputs: int = 1,
        gradient: bool = False,
        mapped: bool = True,
        tolerance: float = 2e-6,
        **attributes: Any,
    ) -> Graph:
        model = one_node(op_type, inputs, opset, dynamic, outputs, **attributes)
        program = read_program(model, operators)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        x = inputs[dynamic]
        assert x is not None
        graph = None
        for output, expected in zip(program_outputs(model), session.run(None, {program.input: x}), strict=True):
            graph = Graph(program, output, operators)
            with torch.no_grad():
                found = graph(torch.from_numpy(x))
            assert tuple(found.shape) == expected.shape
            scale = max(
                float(np.abs(expected, where=np.isfinite(expected), out=np.zeros(expected.shape)).max(initial=0)), 1
            )
            np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance * scale)
            if mapped:
                pair = torch.from_numpy(np.stack([x, x[::-1]] if x.ndim else [x, x]))
                both = torch.vmap(graph)(pair)
                np.testing.assert_allclose(both[0].numpy(), found.numpy(), rtol=1e-5, atol=1e-5 * scale)
                np.testing.assert_allclose(both[1].numpy(), graph(pair[1]).numpy(), rtol=1e-5, atol=1e-5 * scale)
        assert graph is not None
        if gradient:
            x64 = torch.from_numpy(x).double().requires_grad_(True)
            assert torch.autograd.gradcheck(graph.double(), (x64,))
        return graph

    return run


def program_outputs(model: onnx.ModelProto) -> list[str]:
    return [value.name for value in model.graph.output]

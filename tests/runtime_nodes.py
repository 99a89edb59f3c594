"""The twin beside the runtime or the standard: one-node models of any domain, and files that the runtime has optimised.

All inputs of a one-node model are the model's, so that each can move.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from auditor.plugins.operators import bundled
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from auditor.graph import Graph
from auditor.program import read_program

CONTRIB = "com.microsoft"


def one_node(
    op_type: str, inputs: tuple[Any, ...], wanted: list[str], domain: str, opset: int, **attributes: Any
) -> onnx.ModelProto:
    """A model of this node alone; absent inputs are None, absent outputs empty names."""
    names = ["" if value is None else f"in{i}" for i, value in enumerate(inputs)]
    node = helper.make_node(op_type, names, wanted, domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "one node",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in zip(names, inputs, strict=True)
            if value is not None
        ],
        [helper.make_empty_tensor_value_info(name) for name in wanted if name],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def runtime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def twin(model: onnx.ModelProto) -> Graph:
    """The graph of all outputs."""
    operators = bundled()
    program = read_program(model, operators)
    return Graph(program, program.outputs, operators)


def compare(
    op_type: str,
    *inputs: np.ndarray | None,
    domain: str = "",
    opset: int = 17,
    outputs: int | list[str] = 1,
    standard: bool = False,
    gradient: bool = False,
    mapped: bool = True,
    tolerance: float = 2e-6,
    **attributes: Any,
) -> None:
    """Asserts that an operator returns what its oracle does, alone and under vmap, with the right gradients.

    outputs: how many, or their names. standard: ask onnx's reference evaluator, where the runtime lacks the operator.
    """
    wanted = [f"out{i}" for i in range(outputs)] if isinstance(outputs, int) else outputs
    model = one_node(op_type, inputs, wanted, domain, opset, **attributes)
    graph = twin(model)
    given = [value for value in inputs if value is not None]
    feeds = dict(zip((value.name for value in model.graph.input), given, strict=True))
    expected = ReferenceEvaluator(model).run(None, feeds) if standard else runtime(model, feeds)
    tensors = [torch.from_numpy(value) for value in given]
    with torch.no_grad():
        found = graph(*tensors)
    for ours, theirs in zip(found, expected, strict=True):
        assert tuple(ours.shape) == np.shape(theirs)
        finite = np.where(np.isfinite(theirs), np.abs(theirs), 0)
        scale = max(float(finite.max(initial=0)), 1)
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance * scale)
    moving = [i for i, tensor in enumerate(tensors) if tensor.is_floating_point()]

    def of_floats(*floats: torch.Tensor) -> Any:
        values: list[torch.Tensor] = list(tensors)
        for position, value in zip(moving, floats, strict=True):
            values[position] = value
        return graph(*values)

    floats = [tensors[i] for i in moving]
    if mapped:
        both = torch.vmap(of_floats)(*(torch.stack([value, value * 0.5]) for value in floats))
        halved = of_floats(*(value * 0.5 for value in floats))
        for pair, first, second in zip(both, found, halved, strict=True):
            torch.testing.assert_close(pair[0], first, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(pair[1], second, rtol=1e-5, atol=1e-5)
    if gradient:
        graph.double()
        wide = [value.double().requires_grad_(True) for value in floats]

        def differentiable(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(value for value in of_floats(*values) if value.is_floating_point())

        assert torch.autograd.gradcheck(differentiable, wide, fast_mode=True)


def network(text: str, weights: dict[str, np.ndarray], opset: int = 17) -> onnx.ModelProto:
    """A model from the text of its graph, in ONNX's own syntax, and its weights."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


def compare_optimised(model: onnx.ModelProto, level: str, folder: Path, x: np.ndarray) -> set[str]:
    """Asserts that the twin of the file that the runtime saves agrees with it; the operators in that file.

    level: of the runtime's optimisations, EXTENDED or ALL.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(folder / f"{level}.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    saved = onnx.load(options.optimized_model_filepath)
    (found,) = twin(saved)(torch.from_numpy(x))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return {f"{node.domain}:{node.op_type}" for node in saved.graph.node}

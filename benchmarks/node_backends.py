"""The backends that play onnx's node tests: our twin, two converters to torch, and onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from benchmarks.node_cases import Case, is_float

Run = Callable[[Sequence[Any]], Sequence[Any]]
"""From a case's inputs to its outputs."""
WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}


def twin(case: Case) -> Run:
    """Our differentiable twin, in float64 where the case has such inputs, otherwise in float32."""
    graph = build_graph(case.model)
    dtype = torch.float64 if any(_is_double(value) for value in case.inputs) else torch.float32
    graph.to(dtype)

    @torch.no_grad()
    def run(inputs: Sequence[Any]) -> Sequence[Any]:
        outputs: Sequence[Any] = graph(*[to_torch(value, dtype) for value in inputs])
        return outputs

    return run


def build_graph(model: ModelProto) -> Any:
    """The twin's graph of all the outputs of a model."""
    from auditor.plugins.operators import bundled

    from auditor.graph import Graph
    from auditor.program import read_program

    operators = bundled()
    program = read_program(model, operators)
    return Graph(program, program.outputs, operators)


def onnx2pytorch(case: Case) -> Run:
    """onnx2pytorch's module."""
    _without_torchvision()
    from onnx2pytorch import ConvertModel

    return _module(ConvertModel(case.model))


def onnx2torch(case: Case) -> Run:
    """onnx2torch's module."""
    _without_torchvision()
    from onnx2torch import convert

    return _module(convert(case.model))


def _module(module: nn.Module) -> Run:
    module.eval()

    @torch.no_grad()
    def run(inputs: Sequence[Any]) -> Sequence[Any]:
        outputs = module(*[to_torch(value, None) for value in inputs])
        return outputs if isinstance(outputs, (tuple, list)) else (outputs,)

    return run


class Torchvision(ModuleType):
    """Stands in for torchvision, which has no build for every torch; the converters import it for a few operators."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def lacking(*_: Any, **__: Any) -> None:
            raise NotImplementedError(f"torchvision's {name}")

        return lacking


def _without_torchvision() -> None:
    for name in ("torchvision", "torchvision.io", "torchvision.ops"):
        sys.modules.setdefault(name, Torchvision(name))


def onnxruntime(case: Case) -> Run:
    """onnxruntime's CPU provider, with its default optimisations."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = _for_numpy(case)
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(inputs: Sequence[Any]) -> Sequence[Any]:
        names = [value.name for value in case.model.graph.input]
        feed = {name: value for name, value in zip(names, inputs, strict=True) if not _foreign(value)}
        outputs: Sequence[Any] = session.run(None, feed)
        return outputs

    return run


def _for_numpy(case: Case) -> ModelProto:
    """The model, with inputs that numpy itself has no type for as constants, and such outputs cast to float32."""
    model = ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    for value, given in zip(list(graph.input), case.inputs, strict=True):
        if _foreign(given):
            graph.initializer.append(numpy_helper.from_array(given, value.name))
            graph.input.remove(value)
    for value, expected in zip(graph.output, case.expected, strict=True):
        if _foreign(expected):
            graph.node.append(helper.make_node("Cast", [value.name], [f"{value.name} cast"], to=TensorProto.FLOAT))
            value.name = f"{value.name} cast"
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def _foreign(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind != "O" and value.dtype.isbuiltin != 1


BACKENDS: dict[str, Callable[[Case], Run]] = {
    "twin": twin,
    "onnx2pytorch": onnx2pytorch,
    "onnx2torch": onnx2torch,
    "onnxruntime": onnxruntime,
}


def _is_double(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def to_torch(value: Any, floats: torch.dtype | None) -> Any:
    """Floats in the given type, or where that is None in their own; the nearest integers; text as it is."""
    if isinstance(value, list):
        return [to_torch(part, floats) for part in value]
    if value is None or value.dtype.kind in "OU":
        return None if value is None else value.astype(object)
    name = value.dtype.name
    if is_float(value.dtype):
        if name == "bfloat16":
            found = torch.from_numpy(value.astype(np.float32)).bfloat16()
        else:
            found = torch.from_numpy(np.array(value, dtype=None if value.dtype.isbuiltin == 1 else np.float32))
        return found if floats is None else found.to(floats)
    if "int" in name and value.dtype.isbuiltin != 1:
        return torch.from_numpy(value.astype(np.int8))
    if name in WIDER and floats is not None:
        wide = value.astype(WIDER[name])
        if not np.array_equal(wide.astype(value.dtype), value) or (wide < 0).any():
            raise ValueError(f"{name} values beyond int64")
        return torch.from_numpy(wide)
    return torch.from_numpy(np.array(value))


def to_numpy(value: Any) -> Any:
    """An output as numpy has it."""
    if isinstance(value, (list, tuple)):
        return [to_numpy(part) for part in value]
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return value.float().numpy() if value.dtype is torch.bfloat16 else value.numpy()
    return value

"""An ONNX file as the twin's builder reads it: nodes with decoded attributes, constants as tensors, element types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import AttributeProto, TensorProto, helper, inliner, numpy_helper, shape_inference
from torch import Tensor

from auditor.errors import ModelError
from auditor.operators import Node, Operators

SMALL = 1024
"""Entries up to which a constant may matter for the inference of types and shapes."""
WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64", "int4": "int8", "uint4": "uint8"}
"""Integers that torch can't compute with, and those that stand in for them."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """The graph of a file, with nothing left to decode.

    nodes: in an order in which they can run. input, shape: the one input, with its batch axis; None where a length is
    left open. types: element type of each value, by numpy's names, as far as it can be inferred.
    """

    nodes: tuple[Node, ...]
    input: str
    shape: tuple[int | None, ...]
    types: Mapping[str, str]
    _protos: Mapping[str, TensorProto] = field(repr=False)
    _constants: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def constant(self, name: str) -> Tensor | None:
        """An initialiser as a tensor (floats of any width as float32); None where the name is not one."""
        if name not in self._constants:
            if name not in self._protos:
                return None
            self._constants[name] = read_tensor(self._protos[name])
        return self._constants[name]

    def producer(self, name: str) -> Node | None:
        """The node that computes a value."""
        return next((node for node in self.nodes if name in node.outputs), None)

    def ancestors(self, output: str) -> list[Node]:
        """The nodes that the output depends on, in order. Raises ModelError where nothing computes it."""
        wanted, kept = {output}, []
        for node in reversed(self.nodes):
            if wanted.intersection(name for name in node.outputs if name):
                kept.append(node)
                wanted.update(node.inputs)
        if not kept:
            raise ModelError(f"The file should compute an output {output!r}; none of its nodes does.")
        return kept[::-1]


def read_program(model: onnx.ModelProto, operators: Operators) -> Program:
    """Decode a model, whose external data must have been loaded.

    Functions of the file itself, and operators that the registry lacks but the ONNX standard defines by simpler ones,
    are replaced by their bodies. Raises ModelError where the file has not exactly one input.
    """
    model = _inline(model, operators)
    graph = model.graph
    protos = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in protos]
    if len(inputs) != 1:
        raise ModelError(
            f"A file to audit takes one input, this one takes {len(inputs)} ({', '.join(i.name for i in inputs)}); "
            "fix the others in the file."
        )
    opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
    types = _element_types(model)
    return Program(
        nodes=tuple(_decode(node, opsets, types) for node in graph.node),
        input=inputs[0].name,
        shape=tuple(d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim),
        types=types,
        _protos=protos,
    )


def read_tensor(proto: TensorProto) -> Tensor:
    """A constant as torch computes with it: floats as float32, integers as near as there is, booleans.

    Raises ModelError for strings, and for data that lie in another file.
    """
    if proto.data_location == TensorProto.EXTERNAL:
        raise ModelError(f"The constant {proto.name!r} lies in another file; load the model with its external data.")
    if proto.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise ModelError(f"The twin computes with numbers, the constant {proto.name!r} holds none.")
    array = numpy_helper.to_array(proto)
    if array.dtype.kind == "c":
        raise ModelError(f"The twin computes with real numbers, the constant {proto.name!r} is complex.")
    wide = WIDER.get(array.dtype.name)
    if wide is None and array.dtype.kind not in "iub":
        wide = "float32"
    return torch.from_numpy(np.array(array, dtype=wide or array.dtype, order="C"))


def _inline(model: onnx.ModelProto, operators: Operators) -> onnx.ModelProto:
    if model.functions:
        model = inliner.inline_local_functions(model)
    lacking = {(_domain(node.domain), node.op_type) for node in model.graph.node}
    lacking = {key for key in lacking if key not in operators and _has_body(*key)}
    if lacking:
        model = inliner.inline_selected_functions(model, sorted(lacking), inline_schema_functions=True)
    return model


def _has_body(domain: str, op_type: str) -> bool:
    if not onnx.defs.has(op_type, domain):
        return False
    schema = onnx.defs.get_schema(op_type, domain=domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _decode(proto: onnx.NodeProto, opsets: Mapping[str, int], types: Mapping[str, str]) -> Node:
    domain = _domain(proto.domain)
    return Node(
        op_type=proto.op_type,
        domain=domain,
        opset=opsets.get(domain, 1),
        name=proto.name or next(iter(proto.output), ""),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={attribute.name: _value(attribute) for attribute in proto.attribute},
        types=tuple(types.get(name, "") for name in proto.input),
    )


def _value(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.STRING:
        return value.decode(errors="replace")
    if attribute.type == AttributeProto.STRINGS:
        return tuple(entry.decode(errors="replace") for entry in value)
    if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
        return tuple(value)
    return value


def _element_types(model: onnx.ModelProto) -> dict[str, str]:
    """Element types by inference on a copy of the graph without its weights, which may be too large to copy."""
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = skeleton.graph
    graph.name = "skeleton"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.input.extend(model.graph.input)
    listed = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, initial=1.0) <= SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in listed:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        graph = shape_inference.infer_shapes(skeleton).graph
    except (shape_inference.InferenceError, ValueError, TypeError):
        graph = skeleton.graph  # types then stay unknown where the file does not state them
    known = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*graph.input, *model.graph.value_info, *graph.value_info, *graph.output):
        known[value.name] = value.type.tensor_type.elem_type
    return {name: _type_name(kind) for name, kind in known.items()}


def _type_name(kind: int) -> str:
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return ""
    return str(helper.tensor_dtype_to_np_dtype(kind).name)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain

"""An ONNX graph as the twin's builder reads it: nodes with decoded attributes, constants as tensors, element types."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    SparseTensorProto,
    TensorProto,
    helper,
    inliner,
    shape_inference,
)

from auditor.constants import read_constant
from auditor.errors import ModelError, first_line
from auditor.operators import Node, Operators

SMALL = 1024
"""Entries up to which a constant may matter for the inference of types and shapes."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A graph with nothing left to decode: that of a file, or the body of a node.

    nodes: in an order in which they can run. inputs, outputs: names; of a file's own graph those inputs that are no
    constants. shape: of the first input, with its batch axis; None where a length is left open. types: element type of
    each value, by numpy's names, as far as it can be inferred.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    types: Mapping[str, str]
    _protos: Mapping[str, TensorProto | SparseTensorProto] = field(repr=False)
    _constants: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def input(self) -> str:
        """The one input of a classifier. Raises ModelError where there are none or several."""
        if len(self.inputs) != 1:
            raise ModelError(
                f"A file to audit takes one input, this one takes {len(self.inputs)} ({', '.join(self.inputs)}); "
                "fix the others in the file."
            )
        return self.inputs[0]

    def constant(self, name: str) -> Any:
        """An initialiser as a tensor (floats of any width as float32); None where the name is not one."""
        if name not in self._constants:
            if name not in self._protos:
                return None
            self._constants[name] = read_constant(self._protos[name])
        return self._constants[name]

    def producer(self, name: str) -> Node | None:
        """The node that computes a value."""
        return next((node for node in self.nodes if name in node.outputs), None)

    def ancestors(self, outputs: Iterable[str]) -> list[Node]:
        """The nodes that the outputs depend on, in order, their other outputs unnamed.

        Raises ModelError where nothing computes one of the outputs.
        """
        wanted = set(outputs)
        there = {*self.inputs, *self._protos, *(name for node in self.nodes for name in node.outputs)}
        for name in sorted(wanted - there):
            raise ModelError(f"The file should compute an output {name!r}; none of its nodes does.")
        kept = []
        for node in reversed(self.nodes):
            used = tuple(name if name in wanted else "" for name in node.outputs)
            if any(used):
                kept.append(replace(node, outputs=used))
                wanted.update(node.reads)
        return kept[::-1]

    @property
    def captured(self) -> tuple[str, ...]:
        """Values of the surrounding graph that a body reads."""
        own = {"", *self.inputs, *self._protos, *(name for node in self.nodes for name in node.outputs)}
        read = [name for node in self.nodes for name in node.reads] + list(self.outputs)
        return tuple(dict.fromkeys(name for name in read if name not in own))


def read_program(model: onnx.ModelProto, operators: Operators) -> Program:
    """Decode a model, whose external data must have been loaded.

    Functions of the file itself, and operators that the registry lacks but the ONNX standard defines by simpler ones,
    are replaced by their bodies. Raises ModelError for constants that the twin can't compute with.
    """
    model = _inline(model, operators)
    opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
    return _decode(model.graph, _inferred(model), opsets, {})


def _inline(model: onnx.ModelProto, operators: Operators) -> onnx.ModelProto:
    """The model with bodies in place of the functions that the registry lacks.

    Those whose body can't be made, since it depends on a type that nothing states, stay, and are found lacking.
    """
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # whatever the inliner's native code says
            raise ModelError(f"The functions inside the file can't be expanded ({first_line(error)}).") from error
    lacking = {(_domain(node.domain), node.op_type) for node in _all_nodes(model.graph)}
    lacking = {key for key in lacking if key not in operators and _has_body(*key)}
    if lacking:
        with contextlib.suppress(Exception):
            model = inliner.inline_selected_functions(model, sorted(lacking), inline_schema_functions=True)
    return model


def _has_body(domain: str, op_type: str) -> bool:
    if not onnx.defs.has(op_type, domain):
        return False
    schema = onnx.defs.get_schema(op_type, domain=domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _all_nodes(graph: GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the bodies inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g)


def _decode(graph: GraphProto, inferred: GraphProto, opsets: Mapping[str, int], around: Mapping[str, str]) -> Program:
    """inferred: the same graph with the types of its values. around: those of the graphs that it lies in."""
    types = {**around, **_element_types(graph), **_element_types(inferred)}
    protos: dict[str, TensorProto | SparseTensorProto] = {tensor.name: tensor for tensor in graph.initializer}
    protos |= {sparse.values.name: sparse for sparse in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in protos]
    return Program(
        nodes=tuple(_node(*both, opsets, types) for both in zip(graph.node, inferred.node, strict=True)),
        inputs=tuple(value.name for value in inputs),
        outputs=tuple(value.name for value in graph.output),
        shape=tuple(d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim) if inputs else (),
        types=types,
        _protos=protos,
    )


def _node(proto: onnx.NodeProto, inferred: onnx.NodeProto, opsets: Mapping[str, int], types: Mapping[str, str]) -> Node:
    domain = _domain(proto.domain)
    attributes = {
        attribute.name: _decode(attribute.g, same.g, opsets, types)
        if attribute.type == AttributeProto.GRAPH
        else _value(attribute)
        for attribute, same in zip(proto.attribute, inferred.attribute, strict=True)
    }
    bodies = [body for body in attributes.values() if isinstance(body, Program)]
    outputs = list(proto.output)
    while outputs and not outputs[-1]:
        outputs.pop()
    return Node(
        op_type=proto.op_type,
        domain=domain,
        opset=opsets.get(domain, 1),
        name=proto.name or next(iter(proto.output), ""),
        inputs=tuple(proto.input),
        outputs=tuple(outputs),
        attributes=attributes,
        types=tuple(types.get(name, "") for name in proto.input),
        captured=tuple(dict.fromkeys(name for body in bodies for name in body.captured)),
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


def _inferred(model: onnx.ModelProto) -> GraphProto:
    """The graph with inferred element types, without its large weights: inference copies what it is given."""
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = skeleton.graph
    graph.name = "skeleton"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.input.extend(model.graph.input)
    graph.value_info.extend(model.graph.value_info)
    listed = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, initial=1.0) <= SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in listed:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        return shape_inference.infer_shapes(skeleton).graph
    except (shape_inference.InferenceError, ValueError, TypeError):
        return graph  # types then stay unknown where the file does not state them


def _element_types(graph: GraphProto) -> dict[str, str]:
    """Element types that a graph states of its own values, those of bodies inside it left out."""
    known = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        known[value.name] = value.type.tensor_type.elem_type or known.get(value.name, TensorProto.UNDEFINED)
    return {name: _type_name(kind) for name, kind in known.items()}


def _type_name(kind: int) -> str:
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return ""
    return str(helper.tensor_dtype_to_np_dtype(kind).name)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain

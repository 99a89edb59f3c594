"""What a graph hides gradients with that takes several nodes to see, found and taken out: masks, mostly.

A layer that keeps its k largest entries (k-WTA, https://arxiv.org/abs/1905.10510) is discontinuous nearly everywhere:
the derivative of what it keeps says nothing of the step to come. A stand-in lets all entries pass, where the net can
bear it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

CLASSES = (1, -1)
RANKS = "mask of the largest"
"""What a mask by rank is called."""
LAST = "the last"
"""How the name of what stood at the end begins."""
RANKING = frozenset({"TopK"})
DRAWING = frozenset({"RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike", "Bernoulli"})
DECIDING = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Bernoulli"})
"""What makes a mask of a value that follows ranks or chance."""
PLACING = frozenset({"ScatterElements", "ScatterND", "Scatter", "OneHot"})
"""What makes a mask of positions."""
CARRYING = frozenset(
    {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Transpose", "Slice", "Gather", "Not"}
    | {"And", "Or", "ReduceMin", "ReduceMax", "ReduceSum", "Min", "Max", "Add", "Sub", "Mul", "Div"}
)
"""What a value may go through on its way to become a mask, and a mask on its way to where it is used."""
PASSING = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
"""What may stand between the place of the largest and the vector that marks it, or behind the last clipping."""
CLIPPING = frozenset({"Relu", "Clip"})
GAPS = {"Greater": (0, 1), "GreaterOrEqual": (0, 1), "Less": (1, 0), "LessOrEqual": (1, 0)}
"""Comparisons, and which input less which other is positive where they are true."""
SMALL = 1 << 12
"""Entries of a constant that is looked into."""
SQUASHING = frozenset({"Softmax", "Sigmoid", "HardSigmoid"})
"""What leaves nothing to clip but what lies beyond its range by rounding."""


def unmask(model: ModelProto, *, ranks: bool = True) -> tuple[str, ...]:
    """Let values pass where the graph masks them, in place; returns what was taken out, for the report.

    A value is masked where it is multiplied with a mask, or where `Where` chooses between it and a constant by one.
    A vector that marks the largest of some entries becomes their softmax. Scores are neither clipped nor compared at
    the end, where those of all classes but one may be 0 and tell nothing. ranks: whether masks of the largest go too.
    """
    graph = model.graph
    found = {f"{kind}: left out" for kind in (*_unmasked(graph, ranks), *_unclipped(graph))}
    return tuple(sorted(found | {f"{kind} of ArgMax: softmax" for kind in _softened(graph)}))


def _unmasked(graph: GraphProto, ranks: bool) -> Iterable[str]:
    """Names of the masks that were taken out."""
    constants = _constants(graph)
    follows: dict[str, str] = {}
    masks: dict[str, str] = {}
    ranked = {name: n.input[0] for n in graph.node if ranks and n.op_type in RANKING for name in n.output}
    named = []
    for node in graph.node:
        if (ranks and node.op_type in RANKING) or node.op_type in DRAWING:
            kind = RANKS if node.op_type in RANKING else "random mask"
            follows |= dict.fromkeys(node.output, kind)
            if node.op_type in DECIDING:
                masks |= dict.fromkeys(node.output, kind)
            continue
        kinds = [masks.get(name) or follows.get(name) for name in node.input]
        kind = next((kind for kind in kinds if kind), "")
        if not kind:
            continue
        passed = _masked(node, masks, constants) or _placed(node, ranked, constants)
        if passed:
            named.append(kind)
            output = node.output[0]
            node.CopyFrom(helper.make_node("Identity", [passed], [output], name=node.name))
        elif node.op_type in DECIDING or node.op_type in PLACING or (node.op_type == "Div" and node.input[0] in masks):
            masks |= dict.fromkeys(node.output, kind)
        elif node.op_type in CARRYING and all(kinds[n] or name in constants for n, name in enumerate(node.input)):
            heir = masks if any(name in masks for name in node.input) else follows
            heir |= dict.fromkeys(node.output, kind)
        elif node.op_type == "Where" and all(name in constants for name in node.input[1:]):
            masks |= dict.fromkeys(node.output, kind)
    return named


def _masked(node: NodeProto, masks: dict[str, str], constants: dict[str, np.ndarray | None]) -> str:
    """The value that a node masks; empty where it does something else."""
    if node.op_type == "Mul" and len(node.input) == 2:
        first, second = map(str, node.input)
        for value, mask in ((first, second), (second, first)):
            if mask in masks and value not in masks and value not in constants:
                return value
    if node.op_type == "Where" and node.input[0] in masks:
        moving = [str(name) for name in node.input[1:] if name not in constants]
        return moving[0] if len(moving) == 1 else ""
    return ""


def _placed(node: NodeProto, ranked: dict[str, str], constants: dict[str, np.ndarray | None]) -> str:
    """The value whose largest entries a node puts back in their places, among constants; empty where it does not."""
    if node.op_type not in ("Scatter", "ScatterElements") or node.input[0] not in constants:
        return ""
    places, entries = (ranked.get(name, "") for name in node.input[1:3])
    return places if places == entries else ""


def _unclipped(graph: GraphProto) -> list[str]:
    """Names of what clipped the outputs, and was taken out."""
    makers = {name: node for node in graph.node for name in node.output if name}
    found = []
    for output in graph.output:
        node = makers.get(output.name)
        while node is not None and node.op_type in PASSING:
            node = makers.get(node.input[0])
        if node is not None and node.op_type in GAPS:
            found.append(f"{LAST} {node.op_type}")
            inputs = [node.input[place] for place in GAPS[node.op_type]]
            node.CopyFrom(helper.make_node("Sub", inputs, [node.output[0]], name=node.name))
        if node is None or node.op_type not in CLIPPING:
            continue
        source = makers.get(node.input[0])
        if source is None or source.op_type not in SQUASHING:
            found.append(f"{LAST} {node.op_type}")
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], [node.output[0]], name=node.name))
    return found


def _softened(graph: GraphProto) -> set[str]:
    """Put a softmax in the place of vectors that mark the largest along the axis of classes; by what they were made."""
    makers = {name: node for node in graph.node for name in node.output if name}
    constants = _constants(graph)
    found = set()
    for node in graph.node:
        place = _marked(node, constants)
        index = makers.get(place)
        while index is not None and index.op_type in PASSING:
            index = makers.get(index.input[0])
        if index is None or index.op_type != "ArgMax" or _attribute(index, "axis", 0) not in CLASSES:
            continue
        found.add(node.op_type)
        output, axis = node.output[0], _attribute(index, "axis", 0)
        node.CopyFrom(helper.make_node("Softmax", [index.input[0]], [output], name=node.name, axis=axis))
    return found


def _marked(node: NodeProto, constants: dict[str, np.ndarray | None]) -> str:
    """The position that a node marks with a 1 among zeros, or with a truth; empty where it does something else."""
    if node.op_type == "OneHot" and _attribute(node, "axis", -1) in CLASSES:
        values = constants.get(node.input[2])
        return str(node.input[0]) if values is not None and values.tolist() == [0, 1] else ""
    if node.op_type == "Equal":
        for place, other in (tuple(node.input), tuple(node.input)[::-1]):
            values = constants.get(other)
            if values is not None and values.size > 1 and values.ravel().tolist() == list(range(values.size)):
                return str(place)
    return ""


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _constants(graph: GraphProto) -> dict[str, np.ndarray | None]:
    """Small constants by name, larger ones as None."""
    known: dict[str, np.ndarray | None] = {}
    for tensor in graph.initializer:
        known[tensor.name] = numpy_helper.to_array(tensor) if np.prod(tensor.dims, initial=1.0) <= SMALL else None
    for node in graph.node:
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value" and np.prod(a.t.dims, initial=1.0) <= SMALL]
            known |= dict.fromkeys(node.output, numpy_helper.to_array(values[0]) if values else None)
        elif node.op_type in ("Shape", "ConstantOfShape") or (node.input and all(name in known for name in node.input)):
            known |= dict.fromkeys(node.output, None)
    return known

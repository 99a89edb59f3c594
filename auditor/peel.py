"""Cutting what squashes scores off the end of a graph, so that attacks climb logits: not saturated, not decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from onnx import TensorProto
from torch import Tensor

from auditor.access import OutputKind
from auditor.batching import TOLERANCE
from auditor.constants import read_constant
from auditor.heads import two_columns
from auditor.operators import Node
from auditor.program import Program

ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
"""Operators whose inputs are logits, and what `Twin.peeled` calls them."""
KEEPING_ORDER = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout", "Cast"})
"""Operators that may stand behind: entries stay in their order, and as they are."""
ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""The same, but for rounding: a quantised file rounds its probabilities too, mostly to 0 and 1."""
RISING = frozenset({"Clip", "Round", "Floor", "Ceil", "Log"})
"""Entries change and may become equal, but none overtakes another."""
SHIFTING = {"Add": (0, 1), "Sub": (0,), "Mul": (0, 1), "Div": (0,), "Max": (0, 1), "Min": (0, 1)}
"""The same, where the other operand is one number, and positive where it is a factor; and where scores may stand."""
REDUCING = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"})
INDEXING = KEEPING_ORDER | {"Slice", "Gather"}
"""What picks the first of the best classes."""
CLASSES = (1, -1)
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})

APPLY: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(dim=1),
    "log_softmax": lambda logits: logits.log_softmax(dim=1),
    "sigmoid": torch.sigmoid,
    "decision": lambda logits: torch.zeros_like(logits).scatter(1, logits.argmax(dim=1, keepdim=True), 1.0),
}
"""What was cut, on logits `[batch, columns]`."""
RETURNS = {
    "softmax": OutputKind.PROBABILITIES,
    "log_softmax": OutputKind.LOG_PROBABILITIES,
    "sigmoid": OutputKind.PROBABILITIES,
    "decision": OutputKind.PROBABILITIES,
}


@dataclass(frozen=True)
class Cut:
    """Where a graph may end earlier.

    logits: the value to end at. peeled: what the file ends in. plain: whether nothing else changes entries on the way.
    """

    logits: str
    peeled: str
    plain: bool


def cuts(program: Program, output: str) -> list[Cut]:
    """Where the graph may be cut, deepest first: one ending may stand upon another, as a decision on a softmax.

    That the order of the classes stays is only likely by the graph: compare `unpeeled`, or ask `keeps_order`.
    """
    found: list[Cut] = []
    value, plain = output, True
    while (end := find_logits(program, value)) is not None:
        changing = [node.op_type for node in _behind(program, value)[0] if node.op_type not in KEEPING_ORDER]
        plain = plain and changing in ([], ["Log"])
        value = end[0]
        found.insert(0, Cut(value, found[-1].peeled if found else end[1], plain))
    return found


def find_logits(program: Program, output: str) -> tuple[str, str] | None:
    """Name of the value that the last activation or decision takes, and which; None where the output ends in none.

    Whether an activation runs over the classes can't be read off the graph; compare `APPLY` with what the file says.
    """
    behind, node = _behind(program, output)
    if node is None or node.domain:
        return None
    decided = _decided(program, node)
    if decided is not None:
        return decided, "decision"
    if any(passed.attributes.get("to", TensorProto.FLOAT) not in FLOATS for passed in behind):
        return None
    if any(passed.op_type == "Log" for passed in behind):
        return (node.inputs[0], "log_softmax") if node.op_type == "Softmax" else None
    if node.op_type in ACTIVATIONS:
        return node.inputs[0], ACTIVATIONS[node.op_type]
    return None


def unpeeled(logits: Tensor, peeled: str) -> Tensor:
    """What the file returns for these logits `[batch, columns]`: scores `[batch, classes]`."""
    return two_columns(APPLY[peeled](logits), RETURNS[peeled])


def keeps_order(scores: Tensor, logits: Tensor) -> bool:
    """Whether of any two classes that the scores tell apart the logits prefer the same one.

    Two entries of a row are told apart where they differ by more than rounding, as a share of the largest entry; scores
    that tell none apart show nothing. Where the file returns one number its order shows nothing either, since a factor
    moves the threshold.
    scores: `[batch, classes]`. logits: `[batch, columns]`.
    """
    if scores.shape != logits.shape:
        return False
    ordered = scores.double().gather(1, logits.argsort(dim=1, descending=True))
    rounding = TOLERANCE * ordered.nan_to_num(0.0, 0.0, 0.0).abs().max()
    overtaken = ordered - ordered.cummin(dim=1).values > rounding
    told_apart = ordered.amax(dim=1) - ordered.amin(dim=1) > rounding
    return bool(told_apart.any()) and not bool(overtaken.any())


def _behind(program: Program, output: str) -> tuple[list[Node], Node | None]:
    """The nodes at the end that no class overtakes another in, the last first, and the node before them."""
    behind: list[Node] = []
    node = program.producer(output)
    while node is not None and (source := _source(program, node)) is not None:
        behind.append(node)
        node = program.producer(source)
    return behind, node


def _source(program: Program, node: Node) -> str | None:
    """The input whose order the node keeps; None where it may change it."""
    if node.op_type in ROUNDING:
        return node.inputs[0]
    if node.domain or not node.inputs:
        return None
    if node.op_type == "Cast" and program.types.get(node.inputs[0]) == "bool":
        return None  # a decision, which `_decided` reads
    if node.op_type in KEEPING_ORDER or node.op_type in RISING:
        return node.inputs[0]
    if len(node.inputs) == 2:
        for position in SHIFTING.get(node.op_type, ()):
            if _shifts(program, node.op_type, node.inputs[1 - position]):
                return node.inputs[position]
    return None


def _shifts(program: Program, op_type: str, other: str) -> bool:
    number = _number(program, other)
    if number is None:
        return op_type in ("Add", "Sub") and _one_a_row(program, other)
    return number > 0 or op_type not in ("Mul", "Div")


def _one_a_row(program: Program, name: str) -> bool:
    """Whether a value holds the same number for all classes of a sample."""
    node = program.producer(name)
    if node is None or node.domain:
        return False
    if node.op_type in REDUCING:
        return _over_classes(program, node) and bool(node.attributes.get("keepdims", 1))
    if node.op_type not in ("Mul", "Add", "Sub", "Div"):
        return False
    return all(_number(program, entry) is not None or _one_a_row(program, entry) for entry in node.inputs)


def _over_classes(program: Program, node: Node) -> bool:
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1:
        axis = _number(program, node.inputs[1])
        return axis is not None and axis in CLASSES
    return axes is not None and len(axes) == 1 and axes[0] in CLASSES


def _number(program: Program, name: str) -> float | None:
    """The one number that a constant holds, however often; None for anything else."""
    node = program.producer(name)
    value = program.constant(name)
    if node is not None and (node.domain, node.op_type) == ("", "Constant"):
        value = node.attributes.get("value", node.attributes.get("value_float"))
        value = read_constant(value) if isinstance(value, TensorProto) else value
    if isinstance(value, float):
        return value
    if not isinstance(value, Tensor) or not value.numel() or not bool((value == value.flatten()[0]).all()):
        return None
    return float(value.flatten()[0])


def _decided(program: Program, node: Node) -> str | None:
    """The scores whose largest entry the node marks; None where it does something else."""
    if node.op_type == "Hardmax":
        return node.inputs[0] if node.attributes.get("axis", -1) in CLASSES else None
    if node.op_type == "OneHot":
        return _ranked(program, node.inputs[0]) if node.attributes.get("axis", -1) in CLASSES else None
    condition = program.producer(node.inputs[0]) if node.op_type in ("Cast", "Where") else None
    if node.op_type == "Where" and None in (_number(program, name) for name in node.inputs[1:]):
        return None
    if condition is None or condition.domain or condition.op_type not in ("Equal", "GreaterOrEqual"):
        return None
    for scores, best in (condition.inputs, condition.inputs[::-1]):
        largest = program.producer(best)
        if largest is not None and largest.op_type == "ReduceMax" and largest.inputs[0] == scores:
            return scores if _over_classes(program, largest) else None
    return None


def _ranked(program: Program, index: str) -> str | None:
    """The scores that an index of the best class was taken from."""
    node = program.producer(index)
    while node is not None and not node.domain and node.op_type in INDEXING:
        index = node.inputs[0]
        node = program.producer(index)
    if node is None or node.domain:
        return None
    ranks = node.op_type == "ArgMax" or (node.op_type == "TopK" and node.outputs[1:] == (index,))
    first = node.attributes.get("axis", 0 if node.op_type == "ArgMax" else -1)
    return node.inputs[0] if ranks and first in CLASSES else None

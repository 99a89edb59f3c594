"""Cutting the last activation off a graph, so that attacks climb logits and not saturated probabilities."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor

from auditor.access import OutputKind
from auditor.heads import two_columns
from auditor.operators import Node
from auditor.program import Program

ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
"""Operators whose inputs are logits, and what `Twin.peeled` calls them."""
KEEPING_ORDER = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout", "Cast"})
"""Operators that may stand behind: entries stay in their order."""
ROUNDING = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""The same, but for rounding: a quantised file rounds its probabilities too, mostly to 0 and 1."""
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})

APPLY: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(dim=1),
    "log_softmax": lambda logits: logits.log_softmax(dim=1),
    "sigmoid": torch.sigmoid,
}
"""What was cut, on logits `[batch, columns]`."""
RETURNS = {
    "softmax": OutputKind.PROBABILITIES,
    "log_softmax": OutputKind.LOG_PROBABILITIES,
    "sigmoid": OutputKind.PROBABILITIES,
}


def find_logits(program: Program, output: str) -> tuple[str, str] | None:
    """Name of the value that the last activation takes, and the activation; None where the output ends in none.

    Whether the activation runs over the classes can't be read off the graph; compare `APPLY` with what the file says.
    """
    node = program.producer(output)
    while node is not None and _passes(node):
        if node.attributes.get("to", TensorProto.FLOAT) not in FLOATS:
            return None
        node = program.producer(node.inputs[0])
    if node is None or node.domain:
        return None
    before = program.producer(node.inputs[0]) if node.op_type == "Log" else None
    if before is not None and not before.domain and before.op_type == "Softmax":
        return before.inputs[0], "log_softmax"
    if node.op_type in ACTIVATIONS:
        return node.inputs[0], ACTIVATIONS[node.op_type]
    return None


def _passes(node: Node) -> bool:
    return node.op_type in ROUNDING or (not node.domain and node.op_type in KEEPING_ORDER)


def unpeeled(logits: Tensor, peeled: str) -> Tensor:
    """What the file returns for these logits `[batch, columns]`: scores `[batch, classes]`."""
    return two_columns(APPLY[peeled](logits), RETURNS[peeled])

"""The interpreter: an ONNX graph as a torch module, made of the registry's functions.

Everything that can be settled is settled when it is made: nodes that the output does not need are dropped, what depends
on constants alone is computed once, and each remaining node becomes a line in a list: function, where its inputs
lie, where its outputs go, which values are dead afterwards. A forward pass walks the list.

Values live in one of two places. Those that only steer shapes stay on the host as small CPU tensors, so that a GPU is
never asked for a number; the others live where the input is and have its precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import ModelError
from auditor.operators import MEMORY, Function, Node, Operators
from auditor.program import Program

HOST_FLOATS = 64
"""Entries up to which a constant of floats may be part of a computation on the host."""

Step = tuple[Function, tuple[int, ...], tuple[int, ...], tuple[int, ...], str]
"""Function, slots of its inputs, slots of its outputs, slots that are dead afterwards, label."""


class Graph(nn.Module):
    """What the file computes for one of its outputs, differentiable.

    forward: from `[batch, ...]`, a float tensor in the file's units, to the output in the file's own shape. Weights are
    buffers: `.to(device)` and `.double()` work, and the input must have the same device and precision. Half-precision
    files are computed in float32. Operators are run as the file has them, so a file that insists on a batch of 1 must
    be given one; `auditor.batching` lifts that.

    free_batch: the batch that the file insists on, to be taken as a placeholder: a Reshape to a constant shape that
    begins with it keeps the input's first axis instead. That is a guess at what the file means, to be checked.

    surrogates: operators on the way whose backward pass is not their derivative. buffer_names: which buffer holds which
    of the file's constants. Raises UnsupportedOperator where the registry lacks an operator, ModelError where the file
    contradicts itself; at a forward pass, ModelError naming the node that failed.
    """

    surrogates: tuple[str, ...]
    buffer_names: dict[str, str]

    def __init__(self, program: Program, output: str, operators: Operators, *, free_batch: int | None = None) -> None:
        super().__init__()
        plan = _Plan(program, output, operators, free_batch)
        self.surrogates = tuple(sorted(plan.surrogates))
        self._input, self._output = plan.slots[program.input, False], plan.slot(output, host=False)
        self._slots = len(plan.slots) + 1
        self._steps: list[Step] = plan.scheduled(keep=self._output)
        self._host = [(plan.slots[name, True], plan.constants[name]) for name, host in plan.used if host]
        self._weights: list[tuple[int, str]] = []
        self.buffer_names = {}
        for name, host in plan.used:
            if not host:
                slot = plan.slots[name, False]
                self.buffer_names[name] = f"constant_{slot}"
                self.register_buffer(f"constant_{slot}", plan.constants[name])
                self._weights.append((slot, f"constant_{slot}"))

    def forward(self, x: Tensor) -> Tensor:
        values: list[Any] = [None] * self._slots
        for slot, constant in self._host:
            values[slot] = constant
        for slot, name in self._weights:
            values[slot] = self._buffers[name]
        values[self._input] = x
        label = ""
        try:
            for function, sources, targets, dead, label in self._steps:  # noqa: B007 - read where a step fails
                result = function(*[values[source] for source in sources])
                if isinstance(result, tuple):
                    for target, part in zip(targets, result, strict=False):
                        values[target] = part
                else:
                    values[targets[0]] = result
                for slot in dead:
                    values[slot] = None
        except (ModelError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ModelError(_failure(label, error)) from error
        output: Tensor = values[self._output]
        return output


@dataclass(frozen=True)
class _Line:
    """A step before its dead values are known."""

    function: Function
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    label: str


class _Plan:
    """Assigns slots: `(value, whether on the host)` to a number; 0 is the absent optional input."""

    def __init__(self, program: Program, output: str, operators: Operators, free_batch: int | None) -> None:
        self.program = program
        self.constants: dict[str, Tensor] = {}
        self.used: list[tuple[str, bool]] = []
        self.slots: dict[tuple[str, bool], int] = {}
        self.lines: list[_Line] = []
        self.surrogates: set[str] = set()
        self._on_host: set[str] = set()
        self._folded = 0
        self._claim(program.input, host=False)
        for node in program.ancestors(output):
            self._add(node if free_batch is None else self._freed(node, free_batch), operators)
        if output in self.constants:
            raise ModelError(f"The output {output!r} does not depend on the input of the file; name another one.")

    def _add(self, node: Node, operators: Operators) -> None:
        operator = operators.find(node)
        try:
            function = operator.build(node)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(_failure(node.label, error)) from error
        given = [name for name in node.inputs if name]
        for name in given:
            self._read_constant(name)
        if self.constants.keys() >= set(given):
            self._fold(node, function)
            return
        on_host = operator.shape_only or all(self._hostable(name) for name in given)
        sources = tuple(
            self.slot(name, host=False if operator.shape_only else on_host or position in operator.host)
            for position, name in enumerate(node.inputs)
        )
        targets = tuple(self._claim(name, host=on_host) for name in node.outputs)
        self.lines.append(_Line(function, sources, targets, node.label))
        if on_host:
            self._on_host.update(node.outputs)
        else:
            surrogate = operator.surrogate_for(node)
            if surrogate:
                self.surrogates.add(f"{node.op_type}: {surrogate}")
            self._adopt_precision(node, targets)

    def _freed(self, node: Node, batch: int) -> Node:
        """The node, with the first length of a constant shape replaced by the 0 that means: as in the input."""
        if node.domain or node.op_type != "Reshape" or len(node.inputs) != 2:
            return node
        self._read_constant(node.inputs[1])
        shape = self.constants.get(node.inputs[1])
        if shape is None or shape.numel() < 1 or int(shape[0]) != batch:
            return node
        if node.attributes.get("allowzero", 0) and 0 in shape.tolist():
            return node  # a 0 of the file's own means an empty axis
        name = f"{node.inputs[1]} for any batch"
        self.constants[name] = torch.cat([shape.new_zeros(1), shape[1:]])
        return replace(node, inputs=(node.inputs[0], name), attributes={**node.attributes, "allowzero": 0})

    def _read_constant(self, name: str) -> None:
        value = None if name in self.constants else self.program.constant(name)
        if value is not None:
            self.constants[name] = value

    def _hostable(self, name: str) -> bool:
        if name in self._on_host:
            return True
        value = self.constants.get(name)
        return value is not None and (not value.is_floating_point() or value.numel() <= HOST_FLOATS)

    def _fold(self, node: Node, function: Function) -> None:
        try:
            with torch.no_grad():
                results = function(*[self.constants.get(name) for name in node.inputs])
        except ModelError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ModelError(_failure(node.label, error)) from error
        results = results if isinstance(results, tuple) else (results,)
        for name, value in zip(node.outputs, results, strict=False):
            self._folded += value.numel() * value.element_size()
            if self._folded > MEMORY:
                raise ModelError(
                    f"What the file derives from its constants may take {MEMORY >> 20} MiB, it takes more at node "
                    f"{node.name!r}; such a file is broken or hostile."
                )
            self.constants[name] = value.detach().contiguous()

    def slot(self, name: str, *, host: bool) -> int:
        """Where a value lies in this place; it is moved there first where it lies in the other."""
        if not name:
            return 0
        if (name, host) in self.slots:
            return self.slots[name, host]
        if name in self.constants:
            self.used.append((name, host))
            return self._claim(name, host=host)
        if (name, not host) not in self.slots:
            raise ModelError(f"The value {name!r} is used before anything computes it; the file is broken.")
        move: Callable[..., Tensor] = _to_host if host else _like_input
        sources = (self.slots[name, not host], self.slots[self.program.input, False])
        slot = self._claim(name, host=host)
        self.lines.append(_Line(move, sources, (slot,), f"the transfer of {name!r}"))
        return slot

    def _claim(self, name: str, *, host: bool) -> int:
        key = (name or f"unnamed {len(self.slots)}", host)
        return self.slots.setdefault(key, len(self.slots) + 1)

    def _adopt_precision(self, node: Node, targets: tuple[int, ...]) -> None:
        """Floats that were made of integers or booleans get the precision in which the module runs."""
        types = self.program.types
        if any(kind.startswith(("float", "bfloat")) or not kind for kind in node.types):
            return
        for name, target in zip(node.outputs, targets, strict=True):
            if types.get(name, "").startswith(("float", "bfloat")):
                sources = (target, self.slots[self.program.input, False])
                self.lines.append(_Line(_like_input, sources, (target,), node.label))

    def scheduled(self, *, keep: int) -> list[Step]:
        """The lines with, for each, the slots that nothing reads any more."""
        pinned = {0, keep, *(self.slots[key] for key in self.used)}
        last: dict[int, int] = {}
        for number, line in enumerate(self.lines):
            last.update(dict.fromkeys((*line.sources, *line.targets), number))
        dead: dict[int, list[int]] = {}
        for slot, number in last.items():
            if slot not in pinned:
                dead.setdefault(number, []).append(slot)
        return [
            (line.function, line.sources, line.targets, tuple(dead.get(number, ())), line.label)
            for number, line in enumerate(self.lines)
        ]


def _to_host(value: Tensor, _: Tensor) -> Tensor:
    return value.cpu()


def _like_input(value: Tensor, x: Tensor) -> Tensor:
    floats = value.is_floating_point() and x.is_floating_point()
    return value.to(x.device, x.dtype if floats else value.dtype)


def _failure(label: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()
    return f"The twin could not run {label}: {reason[0] if reason else type(error).__name__}"

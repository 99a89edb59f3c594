"""The plan of a graph: which function runs when, where its values lie, and when they are dead.

Everything that can be settled is settled here: nodes that no output needs are dropped, what depends on constants alone
is computed once, bodies of nodes are made functions, and each remaining node becomes a line: function, slots of its
inputs, slots of its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from auditor.errors import ModelError, first_line
from auditor.operators import MEMORY, Function, Node, Operator, Operators
from auditor.places import is_float, like_input, tensors, to_host
from auditor.program import Program
from auditor.remembered import by_identity, by_shape

HOST_FLOATS = 64
"""Entries up to which a constant of floats may be part of a computation on the host."""
FAILURES = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError)
"""What a function raises where its node contradicts itself or its inputs."""

Step = tuple[Function, tuple[int, ...], tuple[int, ...], tuple[int, ...], str]
"""Function, slots of its inputs, slots of its outputs, slots that are dead afterwards, label."""
Body = Callable[[Program, Mapping[str, Any], Sequence[bool]], Function]
"""Makes a function of a body, the constants that it finds around it, and whether each of its inputs is on the host."""


@dataclass(frozen=True)
class Line:
    """A step before its dead values are known."""

    function: Function
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    label: str
    product: bool = False


class Plan:
    """Assigns slots: `(value, whether on the host)` to a number; 0 is the absent optional input.

    given: constants of the surrounding graph, for a body. on_host: whether each input lies on the host. free_batch: see
    `Graph`. Raises UnsupportedOperator where the registry lacks an operator, ModelError where the file contradicts
    itself.
    """

    def __init__(
        self,
        program: Program,
        outputs: Sequence[str],
        operators: Operators,
        body: Body,
        *,
        free_batch: int | None = None,
        given: Mapping[str, Any] | None = None,
        on_host: Sequence[bool] = (),
    ) -> None:
        self.program, self._body = program, body
        self.constants: dict[str, Any] = dict(given or {})
        self.used: list[tuple[str, bool]] = []
        self.slots: dict[tuple[str, bool], int] = {}
        self.lines: list[Line] = []
        self.surrogates: set[str] = set()
        self.branching = False
        self.random = False
        self._operators = operators
        self._folded = 0
        on_host = on_host or [False] * len(program.inputs)
        self._on_host = {name for name, host in zip(program.inputs, on_host, strict=True) if host}
        self._live = set(program.inputs) - self._on_host
        self.inputs = [self._claim(name, host=name in self._on_host) for name in program.inputs]
        self._reference = self._reference_input()
        for node in program.ancestors(outputs):
            self._add(node if free_batch is None else self._freed(node, free_batch), operators)
        for name in outputs:
            self._read_constant(name)
        self.outputs = [self.slot(name, host=False) for name in outputs]

    def _reference_input(self) -> str:
        """The input whose device and precision the others follow; empty where there is none."""
        here = [name for name in self.program.inputs if name not in self._on_host]
        floats = [name for name in here if is_float(self.program.types.get(name, ""))]
        return next(iter(floats + here), "")

    def _add(self, node: Node, operators: Operators) -> None:
        operator = operators.find(node)
        read = [name for name in node.reads if name]
        for name in read:
            self._read_constant(name)
        live = tuple(name in self._live for name in node.inputs)
        node = replace(node, live=live, leak=operators.leak)
        random = operator.draws(node, self.constants) or self._bodies_draw(node)
        self.random |= random
        on_host = operator.shape_only or (not random and all(self._hostable(name) for name in read))
        node = self._with_bodies(node, on_host)
        try:
            function = operator.build(node)
        except FAILURES as error:
            raise ModelError(failure(node.label, error)) from error
        if self.constants.keys() >= set(read) and not random:
            self._fold(node, function)
            return
        self._place(node, operator, function, on_host)

    def _bodies_draw(self, node: Node) -> bool:
        """Whether a body of the node draws random numbers, so that it can't be computed once and for all."""
        return any(
            self._operators.find(inner).draws(inner, self.constants) or self._bodies_draw(inner)
            for body in node.attributes.values()
            if isinstance(body, Program)
            for inner in body.ancestors([name for name in body.outputs if name not in body.captured])
        )

    def _with_bodies(self, node: Node, on_host: bool) -> Node:
        """The node with its bodies made functions, and with those captured values that are not constants."""
        bodies = {name: body for name, body in node.attributes.items() if isinstance(body, Program)}
        if not bodies:
            return node
        constants = {name: self.constants[name] for name in node.captured if name in self.constants}
        moving = [name for name in node.captured if name not in constants]
        if self._reference and self._reference not in moving and not on_host:
            moving.append(self._reference)
        functions = {}
        for name, body in bodies.items():
            own = [on_host] * len(body.inputs)
            inner = replace(body, inputs=(*body.inputs, *moving))
            functions[name] = self._body(inner, constants, [*own, *(on_host or n in self._on_host for n in moving)])
        self.branching |= not on_host
        return replace(node, captured=tuple(moving), attributes={**node.attributes, **functions})

    def _place(self, node: Node, operator: Operator, function: Function, on_host: bool) -> None:
        if on_host:
            function = by_shape(function) if operator.shape_only else by_identity(function)
        own = [
            self.slot(name, host=False if operator.shape_only else on_host or position in operator.host)
            for position, name in enumerate(node.inputs)
        ]
        around = [self.slot(name, host=on_host or name in self._on_host) for name in node.captured]
        used = max((place for place, name in enumerate(node.outputs, 1) if name), default=0)
        targets = tuple(self._claim(name, host=on_host) for name in node.outputs[:used])
        self.lines.append(Line(function, (*own, *around), targets, node.label, operator.product))
        if on_host:
            self._on_host.update(filter(None, node.outputs))
            return
        if any(node.live) or any(name in self._live for name in node.captured):
            self._live.update(filter(None, node.outputs))
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
        if name not in self.constants:
            return False
        value = self.constants[name]
        return not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() <= HOST_FLOATS

    def _fold(self, node: Node, function: Function) -> None:
        try:
            with torch.no_grad():
                results = function(*[self.constants.get(name) for name in node.inputs])
        except ModelError:
            raise
        except FAILURES as error:
            raise ModelError(failure(node.label, error)) from error
        results = results if isinstance(results, tuple) else (results,)
        for name, value in zip(node.outputs, results, strict=False):
            if not name:
                continue
            self._folded += sum(part.numel() * part.element_size() for part in tensors(value))
            if self._folded > MEMORY:
                raise ModelError(
                    f"What the file derives from its constants may take {MEMORY >> 20} MiB, it takes more at node "
                    f"{node.name!r}; such a file is broken or hostile."
                )
            self.constants[name] = value.detach().contiguous() if isinstance(value, Tensor) else value

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
        move: Callable[..., Any] = to_host if host else like_input
        slot = self._claim(name, host=host)
        self.lines.append(Line(move, (self.slots[name, not host], self._like), (slot,), f"the transfer of {name!r}"))
        return slot

    @property
    def _like(self) -> int:
        return self.slots[self._reference, False] if self._reference else 0

    def _claim(self, name: str, *, host: bool) -> int:
        key = (name or f"unnamed {len(self.slots)}", host)
        return self.slots.setdefault(key, len(self.slots) + 1)

    def _adopt_precision(self, node: Node, targets: tuple[int, ...]) -> None:
        """Floats that were made of integers, of booleans or by chance get the precision in which the module runs."""
        types = self.program.types
        if any(is_float(kind) or not kind for kind in node.types):
            return
        for name, target in zip(node.outputs, targets, strict=False):
            if is_float(types.get(name, "")) or not node.inputs:  # which only numbers that are drawn come without
                self.lines.append(Line(like_input, (target, self._like), (target,), node.label))

    def products(self) -> list[int]:
        """Which lines are products with weights."""
        return [number for number, line in enumerate(self.lines) if line.product]

    def scheduled(self) -> list[Step]:
        """The lines with, for each, the slots that nothing reads any more."""
        pinned = {0, *self.outputs, *(self.slots[key] for key in self.used)}
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


def failure(label: str, error: Exception) -> str:
    """What to say of a node whose function could not be made or run."""
    return f"The twin could not run {label}: {first_line(error)}"

"""The interpreter: an ONNX graph as a torch module, made of the registry's functions.

A forward pass walks the list that the plan made. Values live in one of two places: those that only steer shapes stay on
the host as small CPU tensors, so that a GPU is never asked for a number; the others live where the input is and have
its precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from auditor.deadline import check
from auditor.errors import ModelError
from auditor.operators import Function, Operators
from auditor.plan import FAILURES, Plan, failure
from auditor.program import Program


class Graph(nn.Module):
    """What the file computes for some of its values, differentiable.

    forward: from the program's inputs (for a classifier one: `[batch, ...]`, a float tensor in the file's units) to the
    output in the file's own shape; a tuple where `outputs` is one. Weights are buffers: `.to(device)` and `.double()`
    work, and the input must have the same device and precision. Half-precision files are computed in float32.
    Operators are run as the file has them, so a file that insists on a batch of 1 must be given one;
    `auditor.batching` lifts that.

    free_batch: the batch that the file insists on, to be taken as a placeholder: a Reshape to a constant shape that
    begins with it keeps the input's first axis instead. That is a guess at what the file means, to be checked.
    given, on_host: for a body inside a node, see `Plan`.

    surrogates: operators on the way whose backward pass is not their derivative. branching: whether it decides by its
    input what to compute, so that samples must be run one at a time. random: whether it draws from `auditor.chance`, so
    that two passes may differ. buffer_names: which buffer holds which of the
    file's constants. Raises UnsupportedOperator where the registry lacks an operator, ModelError where the file
    contradicts itself; at a forward pass, ModelError naming the node that failed.
    """

    surrogates: tuple[str, ...]
    branching: bool
    random: bool
    buffer_names: dict[str, str]

    def __init__(
        self,
        program: Program,
        outputs: str | Sequence[str],
        operators: Operators,
        *,
        free_batch: int | None = None,
        given: Mapping[str, Any] | None = None,
        on_host: Sequence[bool] = (),
    ) -> None:
        super().__init__()
        self._single = isinstance(outputs, str)
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        self._bodies: list[Graph] = []
        plan = Plan(
            program,
            names,
            operators,
            lambda body, constants, host: self._body(body, constants, host, operators),
            free_batch=free_batch,
            given=given,
            on_host=on_host,
        )
        if isinstance(outputs, str) and outputs in plan.constants:
            raise ModelError(f"The output {outputs!r} does not depend on the input of the file; name another one.")
        for number, body in enumerate(self._bodies):
            self.add_module(f"body_{number}", body)
        self.surrogates = tuple(sorted(plan.surrogates.union(*(body.surrogates for body in self._bodies))))
        self.branching = plan.branching
        self.random = plan.random
        self._inputs, self._outputs = plan.inputs, plan.outputs
        self._slots = len(plan.slots) + 1
        self._steps = plan.scheduled()
        self._products = plan.products()
        self._host: list[tuple[int, Any]] = []
        self._weights: list[tuple[int, str]] = []
        self.buffer_names = {}
        for name, host in plan.used:
            slot, value = plan.slots[name, host], plan.constants[name]
            if host or not isinstance(value, Tensor):
                self._host.append((slot, value))
            else:
                self.buffer_names[name] = f"constant_{slot}"
                self.register_buffer(f"constant_{slot}", value)
                self._weights.append((slot, f"constant_{slot}"))

    def _body(
        self, program: Program, constants: Mapping[str, Any], host: Sequence[bool], operators: Operators
    ) -> Function:
        body = Graph(program, program.outputs, operators, given=constants, on_host=host)
        self._bodies.append(body)
        return body

    def products(self) -> list[int]:
        """The steps that are products with weights, in order."""
        return self._products

    def weights_of(self, step: int) -> list[str]:
        """The buffers that a step reads."""
        return [name for slot, name in self._weights if slot in self._steps[step][1]]

    def readers(self, buffer: str) -> set[int]:
        """The steps that read a buffer."""
        (slot,) = (slot for slot, name in self._weights if name == buffer)
        return {number for number, step in enumerate(self._steps) if slot in step[1]}

    def wrap(self, step: int, wrapper: Callable[[Function], Function]) -> None:
        """Put a function made of a step's own in its place."""
        function, *rest = self._steps[step]
        self._steps[step] = (wrapper(function), *rest)  # type: ignore[assignment]

    def forward(self, *inputs: Any) -> Any:
        values: list[Any] = [None] * self._slots
        for slot, constant in self._host:
            values[slot] = constant
        for slot, name in self._weights:
            values[slot] = self._buffers[name]
        for slot, value in zip(self._inputs, inputs, strict=True):
            values[slot] = value
        label = ""
        try:
            for function, sources, targets, dead, label in self._steps:  # noqa: B007 - read where a step fails
                check()
                result = function(*[values[source] for source in sources])
                if len(targets) == 1 and not isinstance(result, tuple):
                    values[targets[0]] = result
                else:
                    for target, part in zip(targets, _parts(result, len(targets)), strict=True):
                        values[target] = part
                for slot in dead:
                    values[slot] = None
        except (ModelError, torch.OutOfMemoryError):
            raise
        except FAILURES as error:
            raise ModelError(failure(label, error)) from error
        if self._single:
            return values[self._outputs[0]]
        return tuple(values[slot] for slot in self._outputs)


def _parts(result: Any, wanted: int) -> tuple[Any, ...]:
    """The first outputs of a node. Raises ValueError where its function returned fewer than the file uses."""
    parts = result if isinstance(result, tuple) else (result,)
    if len(parts) < wanted:
        raise ValueError(f"{wanted} outputs are used, {len(parts)} were computed")
    return parts[:wanted]

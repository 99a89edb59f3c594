"""Control flow: what is computed, and how often, may depend on values. The decision itself has no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from auditor.errors import UnsupportedOperator
from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, truth

ROUNDS = 10_000
"""Rounds of one loop that the twin follows: some milliseconds each where they hold much."""


def branch(node: Node) -> Function:
    """`If`: one of two bodies, which read the surrounding graph only."""
    then, otherwise = node.attributes["then_branch"], node.attributes["else_branch"]

    def run(condition: Tensor, *around: Any) -> Any:
        return then(*around) if bool(truth(condition).item()) else otherwise(*around)

    return run


def loop(node: Node) -> Function:
    """`Loop`: rounds until a number or a condition is reached; values carried on, and others stacked at the end."""
    body, carried = node.attributes["body"], len(node.inputs) - 2

    def run(number: Tensor | None, condition: Tensor | None, *values: Any) -> tuple[Any, ...]:
        state, around = list(values[:carried]), values[carried:]
        rounds = None if number is None else int(number.item())
        going = condition is None or bool(truth(condition).item())
        stacks: list[list[Tensor]] = [[] for _ in range(len(node.outputs) - carried)]
        done = 0
        while going and (rounds is None or done < rounds):
            if done == ROUNDS:
                raise _too_long(node)
            going_on, *results = body(torch.tensor(done), torch.tensor(True), *state, *around)
            going, state = bool(truth(going_on).item()), results[:carried]
            for stack, value in zip(stacks, results[carried:], strict=False):
                stack.append(value)
            done += 1
        return (*state, *_stacked(stacks))

    return run


def _too_long(node: Node) -> UnsupportedOperator:
    return node.unsupported(f"more than {ROUNDS} rounds")


def _stacked(stacks: Sequence[list[Tensor]], axes: Sequence[int] | None = None) -> list[Tensor]:
    """One tensor of each list, along a new axis. Raises ValueError for an empty list: its shape is unknown."""
    if not all(stacks):
        raise ValueError("no round was run, so the shapes of what they would have made are unknown")
    for stack in stacks:
        check_size((len(stack), *stack[0].shape), stack[0].element_size())
    return [torch.stack(stack, axis) for stack, axis in zip(stacks, axes or [0] * len(stacks), strict=True)]


def scan(node: Node) -> Function:
    """`Scan` since opset 9: a loop over the slices of some inputs; no axis is a batch."""
    body, scanned = node.attributes["body"], node.attributes["num_scan_inputs"]
    carried = len(node.inputs) - scanned
    made = len(node.outputs) - carried
    get = node.attributes.get
    in_axes, out_axes = get("scan_input_axes", (0,) * scanned), get("scan_output_axes", (0,) * made)
    in_turns, out_turns = get("scan_input_directions", (0,) * scanned), get("scan_output_directions", (0,) * made)

    def run(*values: Any) -> tuple[Any, ...]:
        state, around = list(values[:carried]), values[carried + scanned :]
        slices = [
            value.unbind(axis)[:: -1 if backwards else 1]
            for value, axis, backwards in zip(values[carried : carried + scanned], in_axes, in_turns, strict=True)
        ]
        if len(slices[0]) > ROUNDS:
            raise _too_long(node)
        stacks: list[list[Tensor]] = [[] for _ in range(made)]
        for parts in zip(*slices, strict=True):
            results = body(*state, *parts, *around)
            state = list(results[:carried])
            for stack, value in zip(stacks, results[carried:], strict=False):
                stack.append(value)
        turned = [stack[:: -1 if backwards else 1] for stack, backwards in zip(stacks, out_turns, strict=True)]
        return (*state, *_stacked(turned, out_axes))

    return run


def scan_8(node: Node) -> Function:
    raise node.unsupported("opset 8, where the first axis is a batch of sequences")


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("If", branch, host=[0])
    operators.register("Loop", loop, host=[0, 1])
    operators.register("Scan", scan_8, since=8)
    operators.register("Scan", scan, since=9)

"""Sequences of tensors, which are lists here, and values that may be absent, which are None then."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, always, integers


def insert(node: Node) -> Function:
    def run(parts: list[Any], value: Any, position: Tensor | None = None) -> list[Any]:
        place = len(parts) if position is None else _place(position, len(parts), len(parts))
        return [*parts[:place], value, *parts[place:]]

    return run


def erase(node: Node) -> Function:
    def run(parts: list[Any], position: Tensor | None = None) -> list[Any]:
        place = len(parts) - 1 if position is None else _place(position, len(parts), len(parts) - 1)
        return [*parts[:place], *parts[place + 1 :]]

    return run


def at(node: Node) -> Function:
    return lambda parts, position: parts[_place(position, len(parts), len(parts) - 1)]


def _place(position: Tensor, length: int, last: int) -> int:
    place = int(position.item())
    place = place + length if place < 0 else place
    if not 0 <= place <= last:
        raise IndexError(f"position {int(position.item())} lies outside a sequence of {length}")
    return place


def concatenate(node: Node) -> Function:
    axis, new = node.attributes["axis"], bool(node.attributes.get("new_axis", 0))
    return lambda parts: torch.stack(parts, axis) if new else torch.cat(parts, axis)


def split(node: Node) -> Function:
    """Without lengths every part is one slice; one number is the length of each, but for a shorter last one."""
    axis, keep = node.attributes.get("axis", 0), bool(node.attributes.get("keepdims", 1))

    def run(x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        if lengths is None:
            return list(torch.split(x, 1, axis)) if keep else list(x.unbind(axis))
        sizes = integers(lengths)
        return list(torch.split(x, sizes[0] if lengths.ndim == 0 else sizes, axis))

    return run


def get(node: Node) -> Function:
    def run(value: Any) -> Any:
        if value is None:
            raise ValueError("a value that may be absent is used, and it is absent")
        return value

    return run


def optional(node: Node) -> Function:
    return lambda value=None: value


def empty(node: Node) -> Function:
    return lambda: []


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("SequenceEmpty", empty, since=11)
    operators.register("SequenceConstruct", always(lambda *parts: list(parts)), since=11)
    operators.register("SequenceInsert", insert, since=11, host=[2])
    operators.register("SequenceErase", erase, since=11, host=[1])
    operators.register("SequenceAt", at, since=11, host=[1])
    operators.register("SequenceLength", always(lambda parts: torch.tensor(len(parts))), since=11, shape_only=True)
    operators.register("ConcatFromSequence", concatenate, since=11)
    operators.register("SplitToSequence", split, since=11, host=[1])
    operators.register("Optional", optional, since=15)
    operators.register("OptionalGetElement", get, since=15)
    operators.register(
        "OptionalHasElement", always(lambda value=None: torch.tensor(value is not None)), since=15, shape_only=True
    )

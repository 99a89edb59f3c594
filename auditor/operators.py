"""The registry of differentiable operators: how one ONNX node becomes a torch function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from auditor.errors import ModelError, PluginError, UnsupportedOperator

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
"""Types that the twin does not tell apart: it computes in one precision, and what that costs is its fidelity."""
INTEGERS: dict[int, torch.dtype] = {
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT4: torch.uint8,
    TensorProto.INT2: torch.int8,
    TensorProto.UINT2: torch.uint8,
}
"""What the twin computes with; integers that torch lacks are carried by wider ones."""

Function = Callable[..., Any]
"""Takes the node's inputs (tensors; None where an optional one is absent), returns its output or a tuple of them."""

MEMORY = 1 << 30
"""Bytes that one generated tensor may take: a file of a hundred bytes can ask for hundreds of gigabytes."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node as an operator's builder sees it: attributes decoded, opset of its own domain.

    types: element types of the inputs, by numpy's names ("float32", "int64", "bool"); "" where unknown or absent.
    live: whether each input depends on what is audited, so that a gradient may pass. captured: values of the
    surrounding graph that the node's bodies read; its function gets them behind its own inputs, and each body, by then
    a function in `attributes`, takes its inputs and then all of these. leak: the share of a gradient that passes where
    a quantised value saturates. rounding: whether quantised values are whole; not in a twin that is smoothed.
    """

    op_type: str
    domain: str
    opset: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    types: tuple[str, ...] = ()
    live: tuple[bool, ...] = ()
    captured: tuple[str, ...] = ()
    leak: float = 0.0
    rounding: bool = True

    @property
    def reads(self) -> tuple[str, ...]:
        """Every value that the node needs."""
        return self.inputs + self.captured

    @property
    def label(self) -> str:
        """The node in words, for messages."""
        return f"{self.domain or 'ai.onnx'}::{self.op_type} (opset {self.opset}, node {self.name!r})"

    def wants(self, position: int) -> bool:
        """Whether the file uses this output of the node."""
        return position < len(self.outputs) and self.outputs[position] != ""

    def unsupported(self, what: str) -> UnsupportedOperator:
        """The error to raise where the operator is known, but not in this variant."""
        return UnsupportedOperator(
            f"The twin's operator {self.label} does not cover {what}; the audit goes on gradient-free. "
            "A plugin can supply it with register_operators."
        )


Builder = Callable[[Node], Function]
Surrogate = str | Callable[[Node], str | None] | None
Random = bool | Callable[[Node, Mapping[str, Any]], bool]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """How nodes of one type are built, from one opset on.

    surrogate: name of its backward pass where that is not the derivative, or a function of the node that says so.
    host: positions of the inputs that are read as Python numbers (a shape, axes, an exponent); they come as CPU
    tensors. shape_only: it reads its inputs' shapes, never their values, and returns a CPU tensor. product: it sums
    products of its input with weights, and so much of them that a search may round the weights (`auditor.mixed`).
    random: it draws from `auditor.chance` at every call, so it is never computed once and for all; or a function of the
    node, and of the constants by name, that says so.
    """

    build: Builder
    since: int = 1
    surrogate: Surrogate = None
    host: frozenset[int] = frozenset()
    shape_only: bool = False
    product: bool = False
    random: Random = False

    def surrogate_for(self, node: Node) -> str | None:
        """The name of the surrogate gradient that this node has, None where it has its own."""
        return self.surrogate(node) if callable(self.surrogate) else self.surrogate

    def draws(self, node: Node, constants: Mapping[str, Any]) -> bool:
        """Whether this node draws random numbers."""
        return self.random(node, constants) if callable(self.random) else self.random


def always(function: Function) -> Builder:
    """A builder for an operator without attributes: the same function for every node."""
    return lambda node: function


@dataclass
class Operators:
    """Everything a twin can be built from. Plugins add to it through the hook `register_operators`.

    leak: the share of a gradient that passes where a quantised value saturates: 0 is the derivative, more is a stand-in
    for files that saturate much.
    """

    leak: float = 0.0
    table: dict[tuple[str, str], list[Operator]] = field(default_factory=dict)

    def register(
        self,
        op_type: str,
        build: Builder,
        *,
        domain: str = "",
        since: int = 1,
        surrogate: Surrogate = None,
        host: Iterable[int] = (),
        shape_only: bool = False,
        product: bool = False,
        random: Random = False,
    ) -> None:
        """Add an operator: for a node, the newest entry not newer than the file's opset is used.

        build: takes the Node once, when the twin is made, and returns the function that runs at every forward pass; it
        raises `node.unsupported(...)` for a variant that it lacks. The function must be made of torch functions that
        `torch.vmap` can map, and must not change its inputs.
        surrogate: a few words on the backward pass where it is not the derivative ("straight-through"); the report
        lists it. host, shape_only, product, random: see `Operator`.
        Raises PluginError where (domain, op_type, since) is taken.
        """
        known = self.table.setdefault((domain, op_type), [])
        if any(operator.since == since for operator in known):
            raise PluginError(f"operator {domain or 'ai.onnx'}::{op_type} since opset {since} is registered twice")
        known.append(
            Operator(
                build=build,
                since=since,
                surrogate=surrogate,
                host=frozenset(host),
                shape_only=shape_only,
                product=product,
                random=random,
            )
        )
        known.sort(key=lambda operator: operator.since)

    def find(self, node: Node) -> Operator:
        """The operator for a node. Raises UnsupportedOperator, naming node, operator, domain and opset."""
        fitting = [o for o in self.table.get((node.domain, node.op_type), []) if o.since <= node.opset]
        if not fitting:
            raise UnsupportedOperator(
                f"The twin has no operator {node.label}; the audit goes on gradient-free. "
                "A plugin can supply it with register_operators."
            )
        return fitting[-1]

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self.table


def element_dtype(node: Node, kind: int) -> torch.dtype:
    """What torch computes an ONNX element type with. Raises UnsupportedOperator for one that it can't."""
    if kind in FLOATS:
        return torch.float32
    if kind == TensorProto.BOOL:
        return torch.bool
    if kind in INTEGERS:
        return INTEGERS[kind]
    known = kind in TensorProto.DataType.values()
    raise node.unsupported(f"element type {TensorProto.DataType.Name(kind) if known else kind}")


def integers(value: Tensor) -> list[int]:
    """The entries of a host input (a shape, axes) as Python integers."""
    return [int(entry) for entry in value.reshape(-1).tolist()]


def truth(value: Tensor) -> Tensor:
    """A tensor of truth values as torch has them, also where they are carried as 0.0 and 1.0 to let a gradient pass, or
    softened to what lies between."""
    return value if value.dtype is torch.bool else value > 0.5


class _StraightThrough(torch.autograd.Function):
    """The second of two tensors, with the gradient of the first."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing has to be kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(x: Tensor, hard: Tensor) -> Tensor:
    """`hard` in the forward pass, bit for bit; the gradient passes to x as if hard were x. Both have one shape."""
    if not torch.is_grad_enabled():
        return hard
    result: Tensor = _StraightThrough.apply(x, hard.detach())  # type: ignore[no-untyped-call]
    return result


def check_size(shape: Iterable[int], itemsize: int = 4) -> None:
    """Raise ModelError where a tensor that the file asks for would take more than `MEMORY`."""
    shape = tuple(shape)
    if prod(shape) * itemsize > MEMORY:
        raise ModelError(
            f"One tensor of the file may take {MEMORY >> 20} MiB, it asks for one of shape {list(shape)}; "
            "such a file is broken or hostile."
        )

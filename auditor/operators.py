"""The registry of differentiable operators: how one ONNX node becomes a torch function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditor.errors import PluginError, UnsupportedOperator

Function = Callable[..., Any]
"""Takes the node's inputs (tensors; None where an optional one is absent), returns its output or a tuple of them."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node as an operator's builder sees it: attributes decoded, opset of its own domain."""

    op_type: str
    domain: str
    opset: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


Builder = Callable[[Node], Function]


@dataclass(frozen=True)
class Operator:
    """A builder, the first opset it is right for, and the name of its surrogate gradient where it has one."""

    build: Builder
    since: int
    surrogate: str | None = None


@dataclass
class Operators:
    """Everything a twin can be built from. Plugins add to it through the hook `register_operators`."""

    table: dict[tuple[str, str], list[Operator]] = field(default_factory=dict)

    def register(
        self, op_type: str, build: Builder, *, domain: str = "", since: int = 1, surrogate: str | None = None
    ) -> None:
        """Add an operator: for a node, the newest entry not newer than the file's opset is used.

        surrogate: a few words on the backward pass where it is not the derivative ("straight-through"); the report
        lists it. Raises PluginError where (domain, op_type, since) is taken.
        """
        known = self.table.setdefault((domain, op_type), [])
        if any(operator.since == since for operator in known):
            raise PluginError(f"operator {domain or 'ai.onnx'}::{op_type} since opset {since} is registered twice")
        known.append(Operator(build, since, surrogate))
        known.sort(key=lambda operator: operator.since)

    def find(self, node: Node) -> Operator:
        """The operator for a node. Raises UnsupportedOperator, naming node, operator, domain and opset."""
        fitting = [o for o in self.table.get((node.domain, node.op_type), []) if o.since <= node.opset]
        if not fitting:
            raise UnsupportedOperator(
                f"The twin has no operator {node.domain or 'ai.onnx'}::{node.op_type} (opset {node.opset}, node "
                f"{node.name!r}); the audit goes on gradient-free. A plugin can supply it with register_operators."
            )
        return fitting[-1]

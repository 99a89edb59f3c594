"""What a file is made of: its operators, how many of each, and those that the twin lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from auditor.errors import UnsupportedOperator
from auditor.operators import Node, Operators
from auditor.program import Program


@dataclass(frozen=True)
class Inventory:
    """counts: operators in words, the most frequent first. lacking: names of their nodes, for those without a twin."""

    counts: dict[str, int]
    lacking: dict[str, list[str]]

    @property
    def nodes(self) -> int:
        return sum(self.counts.values())


def take_inventory(program: Program, output: str, operators: Operators) -> Inventory:
    """The nodes that an output depends on, those of bodies included. Nothing is run.

    An operator is lacking where the registry has none, or its builder refuses the variant; what a function refuses only
    when it runs is not seen here.
    """
    nodes = list({id(node): node for node in _nodes(program, [output])}.values())
    lacking: dict[str, list[str]] = {}
    for node in nodes:
        if not _covered(node, operators):
            lacking.setdefault(kind(node), []).append(node.name)
    return Inventory(dict(Counter(kind(node) for node in nodes).most_common()), lacking)


def kind(node: Node) -> str:
    """`Conv`, `com.microsoft::QuickGelu`: an operator as messages and pages write it."""
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _nodes(program: Program, outputs: list[str]) -> Iterator[Node]:
    for node in program.ancestors(outputs):
        yield node
        for body in node.attributes.values():
            if isinstance(body, Program):
                yield from _nodes(body, [name for name in body.outputs if name not in body.captured])


def _covered(node: Node, operators: Operators) -> bool:
    try:
        operator = operators.find(node)
        if not any(isinstance(value, Program) for value in node.attributes.values()):
            operator.build(replace(node, live=(True,) * len(node.inputs)))
    except UnsupportedOperator:
        return False
    except Exception:  # a node that contradicts itself is not lacking: building the twin says what is wrong with it
        return True
    return True

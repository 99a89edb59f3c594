"""Patterns of nodes: what to look for in a program, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from math import isclose
from typing import Any

from onnx import TensorProto
from torch import Tensor

from auditor.constants import read_constant
from auditor.operators import Node
from auditor.program import Program

COMMUTATIVE = frozenset({"Add", "Mul"})
PRECISION = 1e-6
"""Relative difference up to which a constant of a file is the number that it was rounded from."""


@dataclass(frozen=True)
class Call:
    """A node of ONNX's own domain with exactly these inputs, those of a sum or product in any order.

    attributes: the value that each must have, or a test of it; an absent attribute is None.
    """

    op_type: str
    inputs: tuple[Pattern, ...]
    attributes: Mapping[str, Any]

    def fits(self, node: Node) -> bool:
        """Whether a node is of this kind, whatever its inputs are."""
        if (node.domain, node.op_type, len(node.inputs)) != ("", self.op_type, len(self.inputs)):
            return False
        return all(_satisfies(node.attributes.get(name), wanted) for name, wanted in self.attributes.items())


@dataclass(frozen=True)
class Named:
    """A pattern whose result is bound to a name."""

    name: str
    pattern: Pattern


@dataclass(frozen=True)
class Scalar:
    """A constant of one entry, bound to a name."""

    name: str


Pattern = str | float | Call | Named | Scalar | tuple["Pattern", ...]
"""A name, to which one and the same value is bound wherever it stands; a number, as a constant of one entry; a node;
a constant or a result with a name; or alternatives."""


def call(op_type: str, *inputs: Pattern, **attributes: Any) -> Call:
    """The pattern of a node."""
    return Call(op_type, inputs, attributes)


def product(a: Pattern, b: Pattern, c: Pattern) -> Pattern:
    """Three factors, whichever two were multiplied first."""
    return tuple(call("Mul", call("Mul", *pair), last) for *pair, last in ((a, b, c), (a, c, b), (b, c, a)))


@dataclass(frozen=True)
class Match:
    """Where a pattern was found: the values bound to its names, and the nodes that it consists of, the last first."""

    values: Mapping[str, str]
    nodes: tuple[Node, ...] = ()


class Matcher:
    """Looks for patterns in a program.

    Intermediate values must be of no use outside the pattern: neither read by other nodes nor among `outputs`.
    """

    def __init__(self, program: Program, outputs: tuple[str, ...]) -> None:
        self.program = program
        self._producers = {name: node for node in program.nodes for name in node.outputs if name}
        self._constants: dict[str, Tensor | None] = {}
        self._readers: dict[str, list[Node | None]] = {name: [None] for name in outputs}
        for node in program.nodes:
            for name in node.reads:
                self._readers.setdefault(name, []).append(node)

    def find(self, pattern: Pattern, node: Node) -> Match | None:
        """The pattern with this node as the one that computes its result."""
        found = self._found(pattern, node.outputs[0], Match({})) if node.outputs else iter(())
        return next((match for match in found if self._is_closed(match)), None)

    def constant(self, name: str) -> Tensor | None:
        """A value that the file states, as a tensor of numbers; None where it is computed, or text."""
        if name not in self._constants:
            node = self._producers.get(name)
            if node is not None and (node.domain, node.op_type) == ("", "Constant"):
                proto = node.attributes.get("value")
                value = read_constant(proto) if isinstance(proto, TensorProto) else None
            else:
                value = self.program.constant(name)
            self._constants[name] = value if isinstance(value, Tensor) else None
        return self._constants[name]

    def number(self, name: str) -> float | None:
        """The entry of a constant that has no other, and at most one axis: more would become axes of the result."""
        value = self.constant(name)
        return None if value is None or value.numel() != 1 or value.ndim > 1 else float(value)

    def constants(self, match: Match, *names: str) -> list[Tensor | None]:
        """The constants bound to these names of a pattern."""
        return [self.constant(match.values[name]) for name in names]

    def _is_closed(self, match: Match) -> bool:
        inner = [name for node in match.nodes[1:] for name in node.outputs]
        return all(
            any(reader is node for node in match.nodes) for name in inner for reader in self._readers.get(name, ())
        )

    def _found(self, pattern: Pattern, name: str, match: Match) -> Iterator[Match]:
        if isinstance(pattern, tuple):
            for option in pattern:
                yield from self._found(option, name, match)
        elif isinstance(pattern, str):
            if match.values.get(pattern, name) == name:
                yield replace(match, values={**match.values, pattern: name})
        elif isinstance(pattern, Named):
            for bound in self._found(pattern.name, name, match):
                yield from self._found(pattern.pattern, name, bound)
        elif isinstance(pattern, Call):
            node = self._producers.get(name)
            if node is not None and pattern.fits(node):
                orders = permutations(node.inputs) if node.op_type in COMMUTATIVE else (node.inputs,)
                for order in orders:
                    yield from self._all(pattern.inputs, order, replace(match, nodes=(*match.nodes, node)))
        elif isinstance(pattern, Scalar):
            if self.number(name) is not None:
                yield from self._found(pattern.name, name, match)
        else:
            number = self.number(name)
            if number is not None and isclose(number, pattern, rel_tol=PRECISION):
                yield match

    def _all(self, patterns: tuple[Pattern, ...], names: tuple[str, ...], match: Match) -> Iterator[Match]:
        if not patterns:
            yield match
            return
        for first in self._found(patterns[0], names[0], match):
            yield from self._all(patterns[1:], names[1:], first)


def _satisfies(value: Any, wanted: Any) -> bool:
    if callable(wanted):
        return bool(wanted(value))
    if isinstance(wanted, float):
        return isinstance(value, float) and isclose(value, wanted, rel_tol=PRECISION)
    return bool(value == wanted)

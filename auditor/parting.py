"""Where twin and file part: the first node at which they differ, and whether the difference is made there.

Every node is looked at twice where it matters: with the value that the twin has by then, and with what the twin's
function makes of the runtime's own values. Only the second tells an error from rounding that came from further up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch

from auditor.constants import WIDER
from auditor.errors import ModelError
from auditor.gap import Gap, compare, largest
from auditor.graph import Graph
from auditor.inner import Inside
from auditor.operators import Operators
from auditor.program import Program

MOST = 128
"""Nodes that are looked at together."""
BUDGET = 1 << 28
"""Bytes that the values of these nodes may take before fewer are looked at together."""


@dataclass(frozen=True)
class Section:
    """One node of the file, with the values that it reads and makes, of those that depend on the input."""

    node: onnx.NodeProto
    opset: int
    reads: tuple[str, ...]
    makes: tuple[str, ...]

    @property
    def label(self) -> str:
        """The node in words, for messages."""
        name = self.node.name or self.node.output[0]
        return f"node {name!r}, {self.node.domain or 'ai.onnx'}::{self.node.op_type} (opset {self.opset})"


@dataclass(frozen=True)
class Parting:
    """A node at which the twin's value is not the runtime's.

    value: its name. gap: between the two. own: between the runtime's value and what the twin's function makes of the
    runtime's inputs; None where that can't be run by itself. inputs: the largest of those inputs.
    """

    section: Section
    value: str
    gap: Gap
    own: Gap | None
    inputs: float

    @property
    def made_here(self) -> bool:
        """Whether the difference is made at this node, rather than passed on or amplified by it."""
        return self.own is None or not self.own.rounding(self.inputs)


@dataclass(frozen=True)
class Course:
    """What was found along the file. first: where values part; origin: the first node that makes a difference itself.

    nodes: how many were looked at. unseen: values that the runtime can't return.
    """

    nodes: int
    first: Parting | None
    origin: Parting | None
    unseen: tuple[str, ...] = ()


def follow(inside: Inside, program: Program, operators: Operators, feed: np.ndarray) -> Course:
    """Compare twin and runtime node by node, in the file's order, up to the first node that is itself at fault.

    feed: what the file takes, `[batch, *shape]`. Costs a session, a run and a forward pass for every few dozen nodes,
    and a run of every node behind the first difference. Raises ModelError where the twin can't be run.
    """
    nodes, first, unseen = 0, None, list[str]()
    entry = torch.from_numpy(feed.astype(np.float32))  # whatever the file takes, its twin is given floats
    for block, seen in _blocks(inside, sections(inside.model, program, inside.readout.source), feed):
        names = [name for section in block for name in section.makes if name in seen]
        unseen += [name for section in block for name in section.makes if name not in seen]
        held = list(dict.fromkeys([*names, *(name for section in block for name in section.reads if name in seen)]))
        copied = dict(zip(held, _run(Graph(program, held, operators), [entry]), strict=True))
        for section in block:
            nodes += 1
            parting = _look(section, program, operators, seen, copied)
            if parting is None:
                continue
            first = first or parting
            if parting.made_here:
                return Course(nodes, first, parting, tuple(unseen))
    return Course(nodes, first, None, tuple(unseen))


def sections(model: onnx.ModelProto, program: Program, output: str) -> list[Section]:
    """The file's nodes on the way to an output, in order, without those that depend on constants alone."""
    moving = set(program.inputs)
    for node in program.nodes:
        if moving.intersection(node.reads):
            moving.update(name for name in node.outputs if name)
    needed = {output}.union(*(node.reads for node in program.ancestors([output])))
    own = {name for node in model.graph.node for name in node.output} | set(program.inputs)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    found = []
    for node in model.graph.node:
        makes = tuple(name for name in node.output if name in moving and name in needed)
        if makes:
            reads = _reads(program, makes, own & moving)
            found.append(Section(node, opsets.get(node.domain, 1), reads, makes))
    return found


def _reads(program: Program, makes: Sequence[str], stops: set[str]) -> tuple[str, ...]:
    """The nearest values of the file itself that these are computed from: a function of the file is many nodes here."""
    producers = {name: node for node in program.nodes for name in node.outputs}
    found: dict[str, None] = {}
    waiting, done = list(makes), set(makes)
    while waiting:
        node = producers.get(waiting.pop())
        for name in node.reads if node else ():
            if name in stops and name not in makes:
                found[name] = None
            elif name and name not in done:
                done.add(name)
                waiting.append(name)
    return tuple(found)


def _blocks(inside: Inside, all_: list[Section], feed: np.ndarray) -> Iterator[tuple[list[Section], dict[str, Any]]]:
    """A few sections at a time, with the runtime's values that they read and make."""
    size, start = 8, 0
    inputs = set(all_[0].reads) if all_ else set()
    made = {name for section in all_ for name in section.makes}
    while start < len(all_):
        block = all_[start : start + size]
        start += size
        wanted = dict.fromkeys(name for section in block for name in (*section.reads, *section.makes))
        seen = inside.values([name for name in wanted if name in made], feed)
        seen |= dict.fromkeys((name for name in wanted if name in inputs and name not in made), feed)
        taken = sum(value.nbytes for value in seen.values() if isinstance(value, np.ndarray))
        size = min(2 * size, MOST) if 2 * taken < BUDGET else max(size // 2, 1)
        yield block, seen


def _look(
    section: Section, program: Program, operators: Operators, seen: dict[str, Any], copied: dict[str, Any]
) -> Parting | None:
    """The output of a node at which twin and runtime differ by more than rounding."""
    for name in section.makes:
        if name not in seen:
            continue
        gap = compare(copied[name], seen[name])
        if gap.rounding():
            continue
        given = [seen.get(read) for read in section.reads]
        inputs = max((largest(value) for value in given), default=0.0)
        taken = [_taken(seen.get(read), copied.get(read)) for read in section.reads]
        return Parting(section, name, gap, _own(section, name, program, operators, taken, seen[name]), inputs)
    return None


def _own(
    section: Section, name: str, program: Program, operators: Operators, given: list[Any], runtime: Any
) -> Gap | None:
    """What the twin's function makes of the runtime's inputs, as the twin holds them, against the runtime's output."""
    if any(value is None for value in given):
        return None
    nodes = tuple(node for node in program.nodes if not set(section.reads).intersection(node.outputs))
    part = replace(program, nodes=nodes, inputs=section.reads)
    try:
        (value,) = _run(Graph(part, [name], operators), given)
    except ModelError:
        return None
    return compare(value, runtime)


def _run(graph: Graph, given: Sequence[Any]) -> tuple[Any, ...]:
    with torch.no_grad():
        values: tuple[Any, ...] = graph(*given)
        return values


def _taken(value: Any, copied: Any) -> Any:
    """A value of the runtime as the twin holds it. copied: the twin's own, None where there is none.

    Whole numbers that the twin carries as floats become floats: given native ones, an operator could do otherwise.
    """
    if isinstance(value, list):
        parts = copied if isinstance(copied, list) else []
        return [_taken(part, parts[min(i, len(parts) - 1)] if parts else None) for i, part in enumerate(value)]
    if not isinstance(value, np.ndarray) or value.dtype.kind in "OUS":
        return value
    wide = WIDER.get(value.dtype.name) or (value.dtype.name if value.dtype.kind in "iub" else "float32")
    if isinstance(copied, torch.Tensor) and copied.is_floating_point():
        wide = "float32"
    return torch.from_numpy(np.array(value, dtype=wide, order="C"))

"""Fusion: what exporters take apart, and torch computes in one kernel, is put together again before a graph is planned.

Only what was measured to pay is here. A fused node computes the same function up to rounding, and every value keeps its
name and its meaning; what nothing reads any more is dropped when the graph is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import Any

from torch import Tensor

from auditor.operators import FLOATS, Node, Operators, integers
from auditor.patterns import Match, Matcher, Named, Pattern, Scalar, call, product
from auditor.places import is_float
from auditor.program import Program

DOMAIN = "advaudit"
"""Domain of the fused operators that ONNX has no name for; no file holds them."""
FIRST, LAST = float(-(2**63)), float(2**63 - 1)
"""What exporters write for "from the beginning" and "to the end"."""
Builder = Callable[[Match, Matcher], Node | None]


@dataclass(frozen=True)
class Rule:
    """A pattern and what makes the node that takes its place; None where constants are not what they should be."""

    pattern: Pattern
    build: Builder


def fused(program: Program, outputs: Iterable[str], operators: Operators) -> Program:
    """The program with fewer and larger nodes, for the computation of these outputs.

    A rule whose operator the registry lacks is left out.
    """
    outputs = (*outputs, *program.outputs)
    for rule in RULES:
        matcher = Matcher(program, outputs)
        nodes = tuple(_rewritten(node, rule, matcher, operators) for node in program.nodes)
        program = replace(program, nodes=nodes)
    return _cut_at_once(program) if (DOMAIN, "Slices") in operators else program


def _rewritten(node: Node, rule: Rule, matcher: Matcher, operators: Operators) -> Node:
    match = matcher.find(rule.pattern, node)
    new = None if match is None else rule.build(match, matcher)
    return node if new is None or (new.domain, new.op_type) not in operators else new


def _node(program: Program, last: Node, op_type: str, opset: int, *inputs: str, **attributes: Any) -> Node:
    """A node in the place of the last one of a pattern; opset 0 stands for our own domain."""
    return replace(
        last,
        op_type=op_type,
        domain="" if opset else DOMAIN,
        opset=opset or 1,
        inputs=inputs,
        attributes=attributes,
        types=tuple(program.types.get(name, "") for name in inputs),
    )


def _as(op_type: str, opset: int, *names: str, **attributes: Any) -> Builder:
    """Builds the node that a pattern alone determines."""

    def build(match: Match, matcher: Matcher) -> Node:
        inputs = [match.values[name] for name in names]
        return _node(matcher.program, match.nodes[0], op_type, opset, *inputs, **attributes)

    return build


def _layer_norm(match: Match, matcher: Matcher) -> Node | None:
    epsilon = matcher.number(match.values["epsilon"])
    if any(part is None for part in matcher.constants(match, "scale", "bias")):
        return None
    return _as("LayerNormalization", 17, "x", "scale", "bias", epsilon=epsilon)(match, matcher)


def _group_norm(match: Match, matcher: Matcher) -> Node | None:
    shape, ones, zeros, scale, bias = matcher.constants(match, "shape", "ones", "zeros", "scale", "bias")
    if shape is None or ones is None or zeros is None or scale is None or bias is None:
        return None
    groups = integers(shape)[1] if shape.numel() == 3 else 0
    plain = groups > 0 and integers(shape) == [0, groups, -1] and bool((ones == 1).all() and (zeros == 0).all())
    if not plain or not _by_channel(scale) or scale.shape != bias.shape or len(scale) % groups:
        return None
    epsilon = next(n for n in match.nodes if n.op_type == "InstanceNormalization").attributes.get("epsilon", 1e-5)
    return _as("GroupNorm", 0, "x", "scale", "bias", num_groups=groups, epsilon=epsilon)(match, matcher)


def _by_channel(value: Tensor) -> bool:
    """Whether a tensor broadcasts along the axis of channels: `[channels, 1, 1]` for images."""
    return value.ndim > 1 and len(value) == value.numel()


def _linear(match: Match, matcher: Matcher) -> Node | None:
    weight, bias = matcher.constants(match, "weight", "bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[1:]:
        return None
    return _as("Linear", 0, "x", "weight", "bias")(match, matcher)


def _default(value: Any) -> Callable[[Any], bool]:
    """An attribute that is absent or says what its absence means."""
    return lambda found: found is None or found == value


def _mean(x: Pattern) -> Pattern:
    """Over the last axis, which stays as one of length 1. Axes are an attribute, since opset 18 an input."""
    kept = {"keepdims": _default(1), "noop_with_empty_axes": _default(0)}
    return call("ReduceMean", x, axes=(-1,), **kept), call("ReduceMean", x, -1.0, **kept)


def _cast(x: Pattern) -> Pattern:
    """To a float, or as it is."""
    return call("Cast", x, to=FLOATS.__contains__), x


ERF = call("Erf", (call("Div", "x", sqrt(2)), call("Mul", "x", 1 / sqrt(2))))
CUBE: Pattern = (call("Pow", "x", 3.0), call("Mul", "x", call("Mul", "x", "x")))
TANH = call("Tanh", call("Mul", call("Add", "x", call("Mul", CUBE, 0.044715)), sqrt(2 / pi)))

CENTRED = call("Sub", "x", _mean("x"))
SQUARED: Pattern = (call("Pow", CENTRED, 2.0), call("Mul", CENTRED, CENTRED))
DEVIATION = call("Sqrt", call("Add", _mean(SQUARED), Scalar("epsilon")))
NORMAL: Pattern = (call("Div", CENTRED, DEVIATION), call("Mul", CENTRED, call("Reciprocal", DEVIATION)))

GROUPS = call("InstanceNormalization", call("Reshape", "x", "shape", allowzero=_default(0)), "ones", "zeros")
NORMAL_GROUPS = call("Reshape", GROUPS, call("Shape", "x", start=_default(0), end=None), allowzero=_default(0))

LENGTHS = call("Shape", "x", start=_default(0), end=None)
OTHERS, ROWS, COLUMNS = (call("Slice", LENGTHS, a, b) for a, b in ((FIRST, -2.0), (-2.0, -1.0), (-1.0, LAST)))
STACK = call("Reshape", "x", call("Concat", -1.0, ROWS, COLUMNS))
TRANSPOSED = call("Reshape", call("Transpose", STACK, perm=(0, 2, 1)), call("Concat", OTHERS, COLUMNS, ROWS))

WIDTH = call("Slice", call("Shape", "a", start=_default(0), end=None), -1.0, LAST)
FACTOR = call("Sqrt", _cast(call("Div", 1.0, call("Sqrt", _cast(WIDTH)))))
SCALED_PRODUCT = call(
    "MatMul", call("Mul", "a", (Named("c", FACTOR), Scalar("c"))), call("Mul", "b", (Named("d", FACTOR), Scalar("d")))
)

RULES = (
    Rule(call("Add", call("Mul", NORMAL, "scale"), "bias"), _layer_norm),
    Rule(call("Add", call("Mul", NORMAL_GROUPS, "scale"), "bias"), _group_norm),
    Rule(product("x", 0.5, call("Add", ERF, 1.0)), _as("Gelu", 20, "x")),
    Rule(product("x", 0.5, call("Add", TANH, 1.0)), _as("Gelu", 20, "x", approximate="tanh")),
    Rule(call("Mul", "x", call("Sigmoid", "x")), _as("Swish", 24, "x")),
    Rule(call("Mul", "x", call("HardSigmoid", "x", alpha=1 / 6, beta=_default(0.5))), _as("HardSwish", 14, "x")),
    Rule(call("Add", call("MatMul", "x", "weight"), "bias"), _linear),
    Rule(TRANSPOSED, _as("MatrixTranspose", 0, "x")),
    Rule(SCALED_PRODUCT, _as("ScaledMatMul", 0, "a", "b", "c", "d")),
)


def _cut_at_once(program: Program) -> Program:
    """Slices that part one axis of a value as one node: the gradient is then joined, not summed of padded parts."""
    matcher = Matcher(program, ())
    cuts: dict[tuple[str, int], list[tuple[int, int, Node]]] = {}
    for node in program.nodes:
        match = matcher.find(SLICE, node)
        bounds = [] if match is None else matcher.constants(match, "start", "end", "axis")
        found = [int(bound) for bound in bounds if bound is not None and bound.numel() == 1]
        if match is not None and len(found) == 3 and is_float(program.types.get(match.values["x"], "")):
            start, end, axis = found
            cuts.setdefault((match.values["x"], axis), []).append((start, end, node))
    joined: dict[str, Node | None] = {}
    for (x, axis), parts in cuts.items():
        following = {start: (end, node) for start, end, node in parts}
        ends, names = [0], []
        while ends[-1] in following:
            end, node = following.pop(ends[-1])
            ends.append(end)
            names.append(node.outputs[0])
        if 1 < len(names) == len(parts):
            first = parts[0][2]
            joined |= dict.fromkeys(names, None)
            whole = _node(program, first, "Slices", 0, x, axis=axis, ends=tuple(ends[1:]))
            joined[first.outputs[0]] = replace(whole, outputs=tuple(names))
    nodes = [joined.get(node.outputs[0], node) if node.outputs else node for node in program.nodes]
    return replace(program, nodes=tuple(node for node in nodes if node is not None))


SLICE: Pattern = (call("Slice", "x", "start", "end", "axis"), call("Slice", "x", "start", "end", "axis", 1.0))

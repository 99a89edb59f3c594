"""Stand-ins, forwards and backwards, for operators that hide a gradient: a registry made of another (BPDA).

The twin keeps to what the file computes and changes derivatives only. What is made of these operators computes
something else, and is smooth where the file is flat: rounding is left out, thresholds have a slope, and what saturates
on the samples is run at a temperature at which it does not. Such a twin is asked for directions, never for answers.
Athalye, Carlini, Wagner, https://arxiv.org/abs/1802.00420
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from auditor.means import MEANS, its_mean
from auditor.operators import FLOATS, INTEGERS, Function, Node, Operator, Operators, truth
from auditor.study import COOLED, LEFT_OUT, NOT_ROUNDED, SOFTENED, Study
from auditor.surrogates import near

HUGE = 1e6
"""Difference of two branches from which one of them stands for infinity, as behind a mask: no mean of them is taken."""
SIGMOID, TANH, STEP, GAP = 6.0, 3.0, 0.5, 8.0
"""Typical input from which a function counts as saturated: at most 1 % of its steepest slope is left there."""
QUANTISED = frozenset({"QuantizeLinear", "QGemm"})
"""Operators, besides those named QLinear…, whose results are rounded to levels."""


Rule = Callable[[Node, Function, Study], Function]
"""From a node and its own function to what stands in for it, or the function itself."""


def softened(operators: Operators, study: Study) -> Operators:
    """A copy of a registry in which operators that hide gradients are replaced, wherever they depend on the input."""
    table = {}
    for (domain, op_type), known in operators.table.items():
        rule = RULES.get(op_type) if not domain else None
        if op_type in QUANTISED or op_type.startswith("QLinear"):
            rule = unrounded
        if (op_type in MEANS or op_type == "Dropout") and not domain:
            known = [
                replace(operator, build=its_mean(op_type, study), surrogate=None, random=False) for operator in known
            ]
        elif rule is not None:
            known = [_replaced(operator, rule, study) for operator in known]
        table[domain, op_type] = list(known)
    return replace(operators, table=table)


def _replaced(operator: Operator, rule: Rule, study: Study) -> Operator:
    """The operator with the rule applied to every node that is on the way from the input."""

    def build(node: Node) -> Function:
        if not any(node.live):
            return operator.build(node)
        if rule is unrounded:
            return unrounded(node, operator.build(replace(node, rounding=False)), study)
        return rule(node, operator.build(node), study)

    return replace(operator, build=build, surrogate=None)


def unrounded(node: Node, original: Function, study: Study) -> Function:
    """Quantisation that clips and does not round. original: built so that it does not."""
    return study.stand_in(node, NOT_ROUNDED, lambda scale, *values: original(*values))


def dynamic(node: Node, original: Function, study: Study) -> Function:
    """Levels, scale and zero point of a range that is measured; nothing lies beyond it."""

    def run(_: float, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, scale, zero = original(x)
        return x / scale + zero, scale, zero

    return study.stand_in(node, NOT_ROUNDED, run)


def identity(node: Node, original: Function, study: Study) -> Function:
    """Rounding as if it were not there."""
    return study.stand_in(node, LEFT_OUT, lambda scale, x: x if x.is_floating_point() else original(x))


def cast(node: Node, original: Function, study: Study) -> Function:
    """Floats that become whole numbers stay as they are."""
    kind = node.attributes["to"]
    if kind in FLOATS or kind not in INTEGERS or node.types[:1] == ("bool",):
        return original
    return identity(node, original, study)


def remainder(node: Node, original: Function, study: Study) -> Function:
    """No remainder: files take it to round down what it was taken of."""
    return study.stand_in(
        node, LEFT_OUT, lambda _, a, b: torch.zeros_like(a) if a.is_floating_point() else original(a, b)
    )


def quotient(node: Node, original: Function, study: Study) -> Function:
    """Quotients of whole numbers that are not cut."""
    if not any(kind.startswith(("int", "uint")) for kind in node.types):
        return original
    return study.stand_in(
        node, NOT_ROUNDED, lambda _, a, b: a / b if a.is_floating_point() or b.is_floating_point() else original(a, b)
    )


def mask_of_bits(node: Node, original: Function, study: Study) -> Function:
    """Bits that are masked away are rounding downwards; they are kept."""
    if sum(node.live) != 1:
        return original
    moving = node.live.index(True)
    return study.stand_in(
        node,
        LEFT_OUT,
        lambda _, *values: values[moving] if values[moving].is_floating_point() else original(*values),
    )


def shift(node: Node, original: Function, study: Study) -> Function:
    """A shift as a product with a power of two: no bit is lost at either end."""
    if node.live != (True, False):
        return original
    sign = 1.0 if node.attributes["direction"] == "LEFT" else -1.0
    return study.stand_in(
        node,
        NOT_ROUNDED,
        lambda _, a, b: a * torch.exp2(sign * b.to(a.dtype)) if a.is_floating_point() else original(a, b),
    )


def sign(node: Node, original: Function, study: Study) -> Function:
    """tanh, as steep as entries are large."""
    return study.stand_in(
        node,
        SOFTENED,
        lambda scale, x: torch.tanh(x / scale) if x.is_floating_point() else original(x),
        measure=size,
    )


def comparison(verdict: Callable[[Tensor], Tensor]) -> Rule:
    """A comparison as a share between 0 and 1, a function of the gap between its sides as a part of the usual gap."""

    def rule(node: Node, original: Function, study: Study) -> Function:
        if not all(kind == "" or kind in NUMBERS for kind in node.types):
            return original

        def run(scale: float, a: Any, b: Any) -> Any:
            if not _floats(a, b):
                return original(a, b)
            return verdict(_gap(a, b) / scale)

        return study.stand_in(
            node, SOFTENED, run, measure=lambda a, b: size(_gap(a, b)) if _floats(a, b) else None, original=original
        )

    return rule


def where(node: Node, original: Function, study: Study) -> Function:
    """A mean of both branches, weighted by a softened condition; a choice where one of them stands for infinity."""

    def run(condition: Tensor, a: Any, b: Any) -> Any:
        if not condition.is_floating_point() or not _floats(a, b):
            return original(truth(condition) if isinstance(condition, Tensor) else condition, a, b)
        difference = (a - b).nan_to_num(HUGE, HUGE, HUGE)
        mixes = difference.abs() < HUGE
        mean = b + condition * torch.where(mixes, difference, torch.zeros_like(difference))
        return torch.where(mixes, mean, torch.where(condition > 0.5, a, b))

    return run


def saturating(limit: float, typical: Callable[..., float | None]) -> Rule:
    """The function of x / temperature, where the samples' x lie beyond the limit, so that they come to lie well within.

    typical: the size of a node's input.
    """

    def rule(node: Node, original: Function, study: Study) -> Function:
        return study.stand_in(
            node,
            COOLED,
            lambda scale, x: original(x / scale),
            measure=lambda x: typical(node, x),
            settle=lambda found, width: max(3 * width * found / limit, 1.0) if found > limit else None,
            original=original,
            scale=None,
        )

    return rule


def hard_sigmoid(node: Node, original: Function, study: Study) -> Function:
    """A line between two plateaus as a sigmoid, where the samples lie on the plateaus."""
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    return study.stand_in(
        node,
        COOLED,
        lambda scale, x: torch.sigmoid(2 * (alpha * x + beta - 0.5) / scale),
        measure=lambda x: median((alpha * x + beta - 0.5).abs()),
        settle=lambda found, width: max(width * found, STEP) if found > STEP else None,
        original=original,
        scale=None,
    )


def hardmax(node: Node, original: Function, study: Study) -> Function:
    """A softmax of entries as a part of the gap between the first and the second."""
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1)

    def run(scale: float, x: Tensor) -> Tensor:
        if node.opset >= 13:
            return (x / scale).softmax(axis)
        return (x / scale).flatten(axis % x.ndim).softmax(-1).reshape(x.shape)

    return study.stand_in(node, SOFTENED, run, measure=lambda x: lead(node, x))


def _floats(*values: Any) -> bool:
    """Whether numbers are compared of which one is carried as a float."""
    return all(isinstance(value, Tensor) for value in values) and any(value.is_floating_point() for value in values)


def _gap(a: Tensor, b: Tensor) -> Tensor:
    """a - b; 0 where that is infinite, which no step leads out of."""
    gap = a - b
    return torch.where(torch.isfinite(gap), gap, torch.zeros_like(gap))


def size(x: Tensor) -> float | None:
    """The mean absolute value of those entries that are not 0."""
    if not x.is_floating_point():
        return None
    entries = x.abs()[(x != 0) & torch.isfinite(x)]
    return float(entries.mean()) if entries.numel() else None


def median(x: Tensor) -> float | None:
    """The median of finite entries."""
    entries = x[torch.isfinite(x)]
    return float(entries.median()) if entries.numel() else None


def lead(node: Node, x: Tensor) -> float | None:
    """The median gap between the largest and the second along a node's axis; before opset 13, along all from it on."""
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1)
    rows = x.movedim(axis, -1) if node.opset >= 13 else x.flatten(axis % x.ndim)
    if rows.shape[-1] < 2:
        return None
    first, second = rows.topk(2, dim=-1).values.unbind(-1)
    return median(first - second)


NUMBERS = frozenset(
    {"float16", "bfloat16", "float32", "float64", *(f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64))}
)
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Round", "Floor", "Ceil"), identity),
    "Cast": cast,
    "DynamicQuantizeLinear": dynamic,
    "Mod": remainder,
    "Div": quotient,
    "BitwiseAnd": mask_of_bits,
    "BitwiseOr": mask_of_bits,
    "BitShift": shift,
    "Sign": sign,
    **dict.fromkeys(("Greater", "GreaterOrEqual"), comparison(torch.sigmoid)),
    **dict.fromkeys(("Less", "LessOrEqual"), comparison(lambda gap: torch.sigmoid(-gap))),
    "Equal": comparison(near),
    "Where": where,
    "Hardmax": hardmax,
    "Sigmoid": saturating(SIGMOID, lambda node, x: median(x.abs())),
    **dict.fromkeys(("Tanh", "Erf"), saturating(TANH, lambda node, x: median(x.abs()))),
    **dict.fromkeys(("Softmax", "LogSoftmax"), saturating(GAP, lead)),
    "HardSigmoid": hard_sigmoid,
}
"""What is done to which operator of ONNX's own domain."""

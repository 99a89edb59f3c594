"""Support vector machines of the ML domain."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size, straight_through
from auditor.surrogates import STRAIGHT_THROUGH
from auditor.transforms import Labels, like, paired, rows, transform_of, transformed

ML = "ai.onnx.ml"
SWEEPS = 100
"""Most sweeps of the coupling, as libsvm and the runtime have it."""
CERTAIN = 1e-7
"""How near to 0 and 1 a pair's probability may come."""
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def kernel(node: Node, vectors: np.ndarray) -> Function:
    """From rows `[batch, features]` to their products with the vectors `[vectors, features]`: `[batch, vectors]`."""
    kind = node.attributes.get("kernel_type", "LINEAR")
    if kind not in KERNELS:
        raise node.unsupported(f"the kernel {kind!r}")
    gamma, offset, degree = (*node.attributes.get("kernel_params", ()), 0.0, 0.0, 0.0)[:3]
    supports = like(vectors)

    def run(x: Tensor) -> Tensor:
        check_size((len(x), len(vectors)), 8)
        if kind == "RBF":
            x, s = x.double(), supports(x.double())  # differences of squares need the digits
            distance = (x * x).sum(dim=1, keepdim=True) + (s * s).sum(dim=1) - 2 * x @ s.T
            return torch.exp(-gamma * distance)
        product = x @ supports(x).T
        if kind == "POLY":
            return torch.pow(gamma * product + offset, degree)
        return torch.tanh(gamma * product + offset) if kind == "SIGMOID" else product

    return run


def svm_classifier(node: Node) -> Function:
    """A one-vs-one machine, or a linear one where it has no support vectors.

    Scores are probabilities where the file calibrates them, otherwise the pairs' decisions; those of one pair stand for
    two classes.
    """
    transform, labels = transform_of(node), Labels(node, "classlabels_ints")
    sizes = node.attributes.get("vectors_per_class", ())
    if not sum(sizes):
        return _linear(node, labels, transform)
    count, calibrated = len(labels), bool(node.attributes.get("prob_a"))
    if len(sizes) != count or count < 2 or (count == 2 and transform == "PROBIT" and not calibrated):
        raise node.unsupported(f"{count} labels for {len(sizes)} classes of vectors and {transform}")
    decide = decisions(node, sizes)
    pairs = list(combinations(range(count), 2))
    slope, shift = (like(node.attributes.get(name, ())) for name in ("prob_a", "prob_b"))

    def run(x: Tensor) -> tuple[Any, Tensor]:
        x = rows(x)
        exact = decide(x)
        scores = exact.to(x.dtype)
        chosen = labels.of(_votes(exact, pairs, count).argmax(dim=1)) if node.wants(0) else None
        if calibrated:
            likely = torch.sigmoid(-(scores * slope(x)[: len(pairs)] + shift(x)[: len(pairs)]))
            likely = likely.clamp(CERTAIN, 1 - CERTAIN)
            return chosen, transformed(coupled(likely, pairs, count), transform)
        if count > 2:
            return chosen, transformed(scores, transform)
        return chosen, paired(scores, transform, signed=transform == "NONE")

    return run


def decisions(node: Node, sizes: tuple[int, ...]) -> Function:
    """From rows to the decision of each pair of classes, in float64: positive for the first of them."""
    vectors, starts = sum(sizes), np.cumsum((0, *sizes))
    dual = np.reshape(node.attributes["coefficients"], (-1, vectors))
    pairs = list(combinations(range(len(sizes)), 2))
    weights = np.zeros((len(pairs), vectors))
    for row, (i, j) in zip(weights, pairs, strict=True):
        for own, other in ((i, j - 1), (j, i)):
            part = slice(starts[own], starts[own + 1])
            row[part] = dual[other, part]
    products = kernel(node, np.reshape(node.attributes["support_vectors"], (vectors, -1)))
    weigh, rho = like(weights), like(node.attributes["rho"][: len(pairs)])

    def run(x: Tensor) -> Tensor:
        products_here = products(x).double()
        return torch.addmm(rho(products_here), products_here, weigh(products_here).T)

    return run


def _votes(exact: Tensor, pairs: list[tuple[int, int]], count: int) -> Tensor:
    """How many pairs each class wins, `[batch, classes]`."""
    first, second = torch.tensor(pairs, device=exact.device).T
    wins = (exact > 0).to(torch.int64)
    votes = torch.zeros((len(exact), count), dtype=torch.int64, device=exact.device)
    return votes.index_add(1, first, wins).index_add(1, second, 1 - wins)


def coupled(likely: Tensor, pairs: list[tuple[int, int]], count: int) -> Tensor:
    """Probabilities of the classes `[batch, classes]` from those of the first of each pair `[batch, pairs]`.

    They minimise a quadratic form (Wu, Lin and Weng 2004, second approach). The runtime stops at a rough tolerance;
    the value is that of its sweeps, the gradient that of the minimum itself.
    """
    first, second = torch.tensor(pairs, device=likely.device).T
    size = count * count
    wins = likely.new_zeros((len(likely), size)).index_add(1, first * count + second, likely)
    wins = wins.index_add(1, second * count + first, 1 - likely).reshape(-1, count, count)
    losses = wins.transpose(1, 2)
    form = torch.diag_embed((losses * losses).sum(dim=2)) - losses * wins
    with torch.no_grad():
        swept = _swept(form, count)
    return straight_through(_minimum(form, count).to(swept.dtype), swept) if torch.is_grad_enabled() else swept


def _minimum(form: Tensor, count: int) -> Tensor:
    """The p that minimises p'Qp where it adds up to 1."""
    form = form.double()
    ones = torch.ones_like(form[:, :, :1])
    system = torch.cat([torch.cat([form, ones], 2), torch.cat([ones.transpose(1, 2), 0 * ones[:, :1]], 2)], 1)
    right = torch.nn.functional.pad(ones[:, :1], (0, 0, count, 0))
    solution: Tensor = torch.linalg.solve(system, right)
    return solution[:, :count, 0]


def _swept(form: Tensor, count: int) -> Tensor:
    """The runtime's way to the minimum: sweeps over the classes until a row is near enough, then it rests."""
    p = torch.full_like(form[:, 0], 1 / count)
    resting = torch.zeros_like(p[:, :1], dtype=torch.bool)
    for _ in range(SWEEPS):
        slopes = (form @ p[:, :, None])[:, :, 0]
        value = (p * slopes).sum(dim=1, keepdim=True)
        resting = resting | ((slopes - value).abs().amax(dim=1, keepdim=True) < 0.005 / count)
        if _all(resting):
            break
        moved = p
        for i in range(count):
            curvature = form[:, i, i][:, None]
            step = (value - slopes[:, i : i + 1]) / curvature
            value = (value + step * (step * curvature + 2 * slopes[:, i : i + 1])) / (1 + step) / (1 + step)
            slopes = (slopes + step * form[:, i]) / (1 + step)
            unit = torch.nn.functional.one_hot(torch.tensor(i, device=p.device), count)
            moved = (moved + step * unit) / (1 + step)
        p = torch.where(resting, p, moved)
    return p


def _all(resting: Tensor) -> bool:
    """Whether nothing is left to do, where one may ask: inside `torch.vmap` one may not, and all sweeps are made."""
    try:
        return bool(resting.all())
    except RuntimeError:
        return False


def _linear(node: Node, labels: Labels, transform: str) -> Function:
    """Without support vectors: a row of weights for each class, and the same shift for all."""
    weights = like(np.reshape(node.attributes["coefficients"], (len(labels), -1)))
    positive = min(node.attributes["coefficients"]) >= 0
    shift, threshold = node.attributes["rho"][0], 0.5 if positive else 0.0

    def run(x: Tensor) -> tuple[Any, Tensor]:
        x = rows(x)
        scores = x @ weights(x).T + shift
        best, winner = scores.max(dim=1)
        if len(labels) == 2:
            winner = torch.where(best >= threshold if positive else best > threshold, 1, winner)
        return labels.of(winner) if node.wants(0) else None, transformed(scores, transform)

    return run


def svm_regressor(node: Node) -> Function:
    """One number a row; with `one_class` only its sign."""
    if node.attributes.get("post_transform", "NONE") != "NONE":
        raise node.unsupported("a post_transform, which the runtime leaves out")
    vectors, coefficients = node.attributes.get("n_supports", 0), node.attributes["coefficients"]
    sign = bool(node.attributes.get("one_class", 0))
    weigh, shift = like(np.reshape(coefficients, (1, -1))), node.attributes["rho"][0]
    products = kernel(node, np.reshape(node.attributes["support_vectors"], (vectors, -1))) if vectors else rows

    def run(x: Tensor) -> Tensor:
        x = rows(x)
        shaped = products(x)
        value = (shaped @ weigh(shaped).T + shift).to(x.dtype)
        return straight_through(value, torch.where(value > 0, 1.0, -1.0).to(x.dtype)) if sign else value

    return run


def classifier_surrogate(node: Node) -> str | None:
    """That of the exact pairwise coupling, where there are probabilities."""
    return "that of the exact pairwise coupling" if node.attributes.get("prob_a") else None


def regressor_surrogate(node: Node) -> str | None:
    """Straight-through, where it tells one class from all else."""
    return STRAIGHT_THROUGH if node.attributes.get("one_class", 0) else None


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("SVMClassifier", svm_classifier, domain=ML, surrogate=classifier_surrogate)
    operators.register("SVMRegressor", svm_regressor, domain=ML, surrogate=regressor_surrogate)

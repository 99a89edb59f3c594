"""Operators of the ML domain on rows of features: scaling, filling in, selecting, and linear models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, straight_through
from auditor.surrogates import FAST_SIGMOID, above
from auditor.transforms import Labels, like, paired, rows, transform_of, transformed

ML = "ai.onnx.ml"


def _per_feature(x: Tensor, values: Tensor) -> Tensor:
    """One value a feature or one for all, for an input whose second axis (the only one of a vector) is the features."""
    if len(values) == 1 or (x.ndim <= 2 and len(values) == x.shape[-1]):
        return values
    raise ValueError(f"it has {len(values)} values for an input of shape {list(x.shape)}")


def scaler(node: Node) -> Function:
    scale, offset = like(node.attributes["scale"]), like(node.attributes["offset"])

    def run(x: Tensor) -> Tensor:
        x = x if x.is_floating_point() else x.to(torch.float32)
        return (x - _per_feature(x, offset(x))) * _per_feature(x, scale(x))

    return run


def normalizer(node: Node) -> Function:
    """Rows divided by their largest entry, sum of magnitudes or length; a row where that is 0 stays as it is."""
    norm = node.attributes.get("norm", "MAX")
    if norm not in ("MAX", "L1", "L2"):
        raise node.unsupported(f"the norm {norm!r}")

    def run(x: Tensor) -> Tensor:
        table = rows(x)
        if norm == "MAX":
            size = table.amax(dim=1, keepdim=True)
        elif norm == "L1":
            size = table.abs().sum(dim=1, keepdim=True)
        else:
            square = (table * table).sum(dim=1, keepdim=True)
            size = torch.where(square == 0, torch.ones_like(square), square).sqrt()
        return (table / torch.where(size == 0, torch.ones_like(size), size)).reshape(x.shape)

    return run


def imputer(node: Node) -> Function:
    whole = node.types[:1] == ("int64",)
    names = (
        ("imputed_value_int64s", "replaced_value_int64") if whole else ("imputed_value_floats", "replaced_value_float")
    )
    filling, missing = like(node.attributes[names[0]]), float(node.attributes.get(names[1], 0))

    def run(x: Tensor) -> Tensor:
        values = filling(x)
        values = values if x.ndim <= 2 and len(values) == x.shape[-1] else values[:1]
        return torch.where(x.isnan() if missing != missing else x == missing, values, x)

    return run


def binarizer(node: Node) -> Function:
    threshold, live = node.attributes.get("threshold", 0.0), any(node.live)

    def run(x: Tensor) -> Tensor:
        hard = (x > threshold).to(x.dtype)
        return straight_through(above(x - threshold), hard) if live and x.is_floating_point() else hard

    return run


def array_feature_extractor(node: Node) -> Function:
    """Entries of the last axis; a vector becomes one row."""

    def run(x: Any, indices: Tensor) -> Any:
        chosen = indices.reshape(-1).long()
        if isinstance(x, np.ndarray):
            taken = x[..., chosen.cpu().numpy()]
            return taken[None] if x.ndim == 1 else taken
        picked = x.index_select(-1, chosen)
        return picked[None] if x.ndim == 1 else picked

    return run


def array_feature_extractor_surrogate(node: Node) -> str | None:
    """None, where what is selected depends on the input and what it is selected from does not."""
    return "none: what is selected depends on the input" if node.live[:2] == (False, True) else None


def feature_vectorizer(node: Node) -> Function:
    """Inputs side by side, each cut or filled up with zeros to its stated length."""
    lengths = node.attributes["inputdimensions"]

    def run(*inputs: Tensor) -> Tensor:
        parts = []
        for x, length in zip(inputs, lengths, strict=True):
            table = rows(x)[:, :length]
            parts.append(torch.nn.functional.pad(table, (0, length - table.shape[1])))
        return torch.cat(parts, dim=1)

    return run


def linear_classifier(node: Node) -> Function:
    """Scores of each class; one score stands for two classes where two labels are given."""
    transform, labels = transform_of(node), Labels(node, "classlabels_ints")
    intercepts = node.attributes.get("intercepts", ())
    count = len(intercepts)
    pair = count == 1 and len(labels) == 2
    if not count or len(labels) < count or (pair and transform == "PROBIT"):
        raise node.unsupported(f"{count} intercepts with {len(labels)} labels and {transform}")
    if count == 1 and not pair and node.wants(0):
        raise node.unsupported("one score without two labels")
    weights, bias = like(np.reshape(node.attributes["coefficients"], (count, -1))), like(intercepts)

    def run(x: Tensor) -> tuple[Any, Tensor]:
        x = rows(x)
        scores = torch.addmm(bias(x), x, weights(x).T)
        winner = (scores[:, 0] > 0).long() if count == 1 else scores.argmax(dim=1)
        chosen = labels.of(winner) if node.wants(0) else None
        return chosen, paired(scores, transform, signed=False) if pair else transformed(scores, transform)

    return run


def linear_regressor(node: Node) -> Function:
    transform, targets = transform_of(node), node.attributes.get("targets", 1)
    intercepts = node.attributes.get("intercepts", ())
    weights = like(np.reshape(node.attributes["coefficients"], (targets, -1)))
    bias = like(intercepts if len(intercepts) == targets else np.zeros(targets))

    def run(x: Tensor) -> Tensor:
        x = rows(x)
        return transformed(torch.addmm(bias(x), x, weights(x).T), transform)

    return run


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("Scaler", scaler, domain=ML)
    operators.register("Normalizer", normalizer, domain=ML)
    operators.register("Imputer", imputer, domain=ML)
    operators.register("Binarizer", binarizer, domain=ML, surrogate=FAST_SIGMOID)
    operators.register(
        "ArrayFeatureExtractor", array_feature_extractor, domain=ML, surrogate=array_feature_extractor_surrogate
    )
    operators.register("FeatureVectorizer", feature_vectorizer, domain=ML)
    operators.register("LinearClassifier", linear_classifier, domain=ML)
    operators.register("LinearRegressor", linear_regressor, domain=ML)

"""Ensembles of decision trees of the ML domain: exact forwards, without a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor

from auditor.forest import BRANCHES, MODES, Forest, Walk, gathered
from auditor.hookspecs import hookimpl
from auditor.operators import Function, Node, Operators, check_size
from auditor.transforms import TRANSFORMS, Labels, paired, rows, transform_of, transformed

ML = "ai.onnx.ml"
NONE = "none: a forest is piecewise constant"
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
"""In the order in which TreeEnsemble numbers them."""
LARGEST = 30
"""Largest member of a set."""


def regressor(node: Node) -> Function:
    """TreeEnsembleRegressor."""
    targets = node.attributes.get("n_targets", 1)
    forest = listed(node, "target", targets)
    aggregate = node.attributes.get("aggregate_function", "SUM")
    return _regression(node, forest, aggregate, transform_of(node), numbers(node, "base_values"))


def _regression(node: Node, forest: Forest, aggregate: str, transform: str, base: np.ndarray) -> Function:
    targets = forest.weights.shape[1]
    if aggregate not in AGGREGATES:
        raise node.unsupported(f"the aggregate {aggregate!r}")
    if len(base) not in (0, targets):
        raise node.unsupported(f"{len(base)} base values for {targets} targets")
    walk, start = Walk(node, forest), torch.from_numpy(base.astype(forest.weights.dtype))

    def run(x: Tensor) -> Tensor:
        x = rows(x)
        values, _ = gathered(walk, x, aggregate)
        if len(start):
            values = values + start.to(x.device)
        return transformed(values.to(x.dtype), transform)

    return run


def classifier(node: Node) -> Function:
    """TreeEnsembleClassifier. Where weights name one of two classes only, that score stands for both."""
    labels, transform = Labels(node, "classlabels_int64s"), transform_of(node)
    count = len(labels)
    forest = listed(node, "class", count)
    base = numbers(node, "base_values").astype(forest.weights.dtype)
    if count < 2 or len(base) not in (0, 1 if count == 2 else count):
        raise node.unsupported(f"{count} classes with {len(base)} base values")
    if count == 2:
        return _two_classes(node, forest, labels, transform, base)
    walk, start = Walk(node, forest), torch.from_numpy(base)

    def run(x: Tensor) -> tuple[Any, Tensor]:
        x = rows(x)
        values, scored = gathered(walk, x, "SUM")
        if len(start):
            values, scored = values + start.to(x.device), torch.ones_like(scored)
        chosen = labels.of(torch.where(scored, values, -torch.inf).argmax(dim=1)) if node.wants(0) else None
        return chosen, transformed(values.to(x.dtype), transform)

    return run


def _two_classes(node: Node, forest: Forest, labels: Labels, transform: str, base: np.ndarray) -> Function:
    """Two classes, in the runtime's way: what it makes of them hangs on which of the two the weights name.

    base: nothing, or one value that is added to the first class's score.
    """
    first, second = forest.scored[forest.modes < 0].T
    single, positive = not (first.any() and second.any()), bool((forest.weights >= 0).all())
    if second.any() and not second.all():
        raise node.unsupported("two classes of which some leaves leave out the second")
    if (len(base) and not first.any()) or (transform == "PROBIT" and not second.any()):
        raise node.unsupported(f"two classes with {len(base)} base values and {transform}")
    if node.wants(0) and not single and labels.numbers not in ((), (0, 1)):
        raise node.unsupported("two classes with labels other than 0 and 1")
    walk, start = Walk(node, forest), float(base.sum())

    def run(x: Tensor) -> tuple[Any, Tensor]:
        x = rows(x)
        values, _ = gathered(walk, x, "SUM")
        score = values[:, :1] + start
        decisive = values[:, 1] if second.any() else score[:, 0]
        chosen = labels.of((decisive > (0.5 if single and positive else 0)).long()) if node.wants(0) else None
        score = score.to(x.dtype)
        if second.any():
            return chosen, transformed(torch.cat([score, values[:, 1:].to(x.dtype)], dim=1), transform)
        return chosen, paired(score, transform, signed=not positive)

    return run


def numbers(node: Node, name: str) -> np.ndarray:
    """An attribute of numbers, given as a list or as a tensor; empty where it is neither."""
    if (tensor := node.attributes.get(f"{name}_as_tensor", node.attributes.get(name))) is None:
        return np.zeros(0, np.float32)
    return np.array(tensor, np.float32) if isinstance(tensor, Sequence) else numpy_helper.to_array(tensor).reshape(-1)


def _double(node: Node) -> bool:
    return node.types[:1] == ("float64",)


def listed(node: Node, role: str, targets: int) -> Forest:
    """The forest of the older operators. role: "target" or "class", as the attributes of its leaves begin.

    Raises UnsupportedOperator where they are not what exporters write.
    """
    get = node.attributes.get
    trees, ids = np.array(get("nodes_treeids", ())), np.array(get("nodes_nodeids", ()))
    places = {key: place for place, key in enumerate(zip(trees.tolist(), ids.tolist(), strict=True))}
    starts = np.flatnonzero(np.diff(trees, prepend=trees[:1] - 1))
    if len(places) < len(trees) or len(starts) > len(set(trees.tolist())):
        raise node.unsupported("trees whose nodes are mixed or named twice")
    if unknown := set(get("nodes_modes", ())) - {*BRANCHES, "LEAF"}:
        raise node.unsupported(f"nodes of the mode {min(unknown)!r}")
    modes = np.array([-1 if mode == "LEAF" else MODES.index(mode) for mode in get("nodes_modes", ())])
    itself = np.arange(len(trees))

    def children(name: str) -> np.ndarray:
        stated = zip(trees.tolist(), get(name, ()), modes.tolist(), strict=True)
        return np.array([places[tree, child] if mode >= 0 else -1 for tree, child, mode in stated])

    true, false = children("nodes_truenodeids"), children("nodes_falsenodeids")
    dtype = np.float64 if _double(node) else np.float32
    owners = zip(get(f"{role}_treeids", ()), get(f"{role}_nodeids", ()), strict=True)
    weights, scored = _leaves(
        node,
        modes,
        np.array([places[owner] for owner in owners], np.int64),
        np.array(get(f"{role}_ids", ()), np.int64),
        numbers(node, f"{role}_weights").astype(dtype),
        targets,
    )
    tracks = np.array(get("nodes_missing_value_tracks_true", ()) or np.zeros(len(trees))) == 1
    return Forest(
        roots=starts,
        features=np.where(modes < 0, 0, np.array(get("nodes_featureids", ()))),
        thresholds=numbers(node, "nodes_values").astype(dtype),
        modes=modes,
        true=np.where(modes < 0, itself, true),
        false=np.where(modes < 0, itself, false),
        missing=tracks,
        weights=weights,
        scored=scored,
    )


def _leaves(
    node: Node, modes: np.ndarray, owners: np.ndarray, ids: np.ndarray, values: np.ndarray, targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[nodes, targets]`, and where they are stated; those of inner nodes do not count."""
    check_size((len(modes), targets), 8)
    if (
        len(owners) != len(values)
        or len(owners) != len(ids)
        or (len(ids) and not 0 <= ids.min() <= ids.max() < targets)
    ):
        raise node.unsupported("weights that do not fit its leaves")
    weights, scored = np.zeros((len(modes), targets), values.dtype), np.zeros((len(modes), targets), bool)
    kept = modes[owners] < 0
    owners, ids, values = owners[kept], ids[kept], values[kept]
    scored[owners, ids] = True
    if scored.sum() < len(owners):
        raise node.unsupported("a leaf with two weights for one target")
    weights[owners, ids] = values
    return weights, scored


def ensemble(node: Node) -> Function:
    """TreeEnsemble, since opset 5: inner nodes and leaves in lists of their own, every leaf with one weight.

    Its post_transform is numbered as the runtime has it (1 is LOGISTIC); the standard has it otherwise.
    """
    get, targets = node.attributes.get, node.attributes.get("n_targets", 1)
    modes = numpy_helper.to_array(get("nodes_modes")).reshape(-1).astype(np.int64)
    inner, dtype = len(modes), np.float64 if _double(node) else np.float32
    leaf_ids, leaf_weights = np.array(get("leaf_targetids")), numbers(node, "leaf_weights").astype(dtype)
    count = inner + len(leaf_ids)

    def children(side: str) -> np.ndarray:
        inside, is_leaf = np.array(get(f"nodes_{side}nodeids")), np.array(get(f"nodes_{side}leafs"))
        return np.concatenate([np.where(is_leaf != 0, inside + inner, inside), np.arange(inner, count)])

    def padded(values: Any) -> np.ndarray:
        return np.concatenate([np.array(values), np.zeros(count - inner, np.array(values).dtype)])

    all_modes = np.concatenate([modes, np.full(count - inner, -1)])
    weights, scored = _leaves(node, all_modes, np.arange(inner, count), leaf_ids, leaf_weights, targets)
    forest = Forest(
        roots=np.array(get("tree_roots")),
        features=padded(get("nodes_featureids")),
        thresholds=padded(numbers(node, "nodes_splits").astype(dtype)),
        modes=all_modes,
        true=children("true"),
        false=children("false"),
        missing=padded(get("nodes_missing_value_tracks_true", ()) or np.zeros(inner)) == 1,
        weights=weights,
        scored=scored,
        sets=_sets(node, all_modes, dtype),
    )
    aggregate = AGGREGATES[get("aggregate_function", 1)]
    return _regression(node, forest, aggregate, tuple(TRANSFORMS)[get("post_transform", 0)], np.zeros(0))


def _sets(node: Node, modes: np.ndarray, dtype: Any) -> np.ndarray | None:
    """Members of each node's set, filled up with NaN, which is equal to nothing.

    Raises UnsupportedOperator for sets that the runtime packs (version 1.31 answers wrongly for some of them).
    """
    owners = np.flatnonzero(modes == MODES.index("BRANCH_MEMBER"))
    if not len(owners):
        return None
    members = numbers(node, "membership_values").astype(dtype)
    ends = np.flatnonzero(np.isnan(members))
    parts = [part[~np.isnan(part)] for part in np.split(members, ends + 1)]
    longest = max(len(part) for part in parts)
    if (
        longest > LARGEST
        or not all(len(part) for part in parts[: len(owners)])
        or (not 0 <= np.nanmin(members) <= np.nanmax(members) <= LARGEST)
    ):
        raise node.unsupported(f"sets that are empty or hold other numbers than those from 0 to {LARGEST}")
    check_size((len(modes), longest), 8)
    sets = np.full((len(modes), longest), np.nan, dtype)
    for owner, part in zip(owners, parts, strict=False):
        sets[owner, : len(part)] = part
    return sets


@hookimpl
def register_operators(operators: Operators) -> None:
    operators.register("TreeEnsembleRegressor", regressor, domain=ML, surrogate=NONE)
    operators.register("TreeEnsembleClassifier", classifier, domain=ML, surrogate=NONE)
    operators.register("TreeEnsemble", ensemble, domain=ML, since=5, surrogate=NONE)

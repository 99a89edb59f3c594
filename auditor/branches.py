"""Reading the branches of a tree ensemble off an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from auditor.errors import ModelError, UnsupportedOperator
from auditor.graph import Graph
from auditor.onnx_session import cast
from auditor.operators import Node, Operators
from auditor.preprocess import Preprocess
from auditor.program import Program, read_program
from auditor.thresholds import Branch, Trees, boxes, last_below

ML = "ai.onnx.ml"
OPERATORS = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"})
BEFORE = frozenset(
    {"Identity", "Cast", "Neg", "Clip", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Scaler"}
    | {"Add", "Sub", "Mul", "Div"}
)
"""What may stand before the trees: each feature on its own, in the order they come, rising or falling throughout."""
EITHER = frozenset({"Add", "Sub", "Mul"})
"""Those whose constant may be either input."""
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
"""Branches at a threshold, in the order in which TreeEnsemble numbers them."""
HUGE = 2.0**62
NODES, VALUES = 500_000, 50_000_000
"""Nodes of an ensemble, and values of a batch of samples that crosses every threshold, beyond which none is read."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The inner nodes of one operator, as arrays over its nodes. mode: place in `MODES`, -1 for a leaf."""

    roots: np.ndarray
    mode: np.ndarray
    feature: np.ndarray
    value: np.ndarray
    true: np.ndarray
    false: np.ndarray


def read_trees(
    model: onnx.ModelProto, *, output: str, dtype: Any, preprocess: Preprocess, operators: Operators
) -> Trees | None:
    """The branches of a file whose output depends on its input through decision trees alone; None for any other.

    Before the trees may stand what treats each feature on its own (`BEFORE`); behind them may stand anything. The
    thresholds are those that the whole way from the sample to the comparison makes of the trees' own, its rounding
    included. output: what is audited. dtype: numpy's, of the file's input. preprocess: fitted to the samples.
    """
    try:
        program = read_program(model, operators)
        nodes = program.ancestors([output])
        if (ensembles := forest_nodes(program, nodes, output)) is None:
            return None
        return _joined(program, ensembles, np.dtype(dtype), preprocess, operators)
    except (ModelError, UnsupportedOperator):
        return None


def forest_nodes(program: Program, nodes: list[Node], output: str) -> list[Node] | None:
    """The tree operators of these nodes; None unless everything behind the input and what may follow it is behind
    them."""
    raw, ensembles = {program.input}, []
    for node in nodes:
        read = [name for name in node.reads if name in raw]
        if not read or node.op_type == "Shape":
            continue
        if node.domain == ML and node.op_type in OPERATORS:
            ensembles.append(node)
        elif _each_on_its_own(program, node, read):
            raw.update(node.outputs)
        else:
            return None
    return ensembles if ensembles and output not in raw else None


def _each_on_its_own(program: Program, node: Node, read: list[str]) -> bool:
    """Whether a node maps each feature by itself. read: those of its inputs that are not constant."""
    if node.op_type not in BEFORE or node.domain not in ("", ML):
        return False
    if node.op_type == "Cast" and node.attributes.get("to") not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return False
    if len(read) > 1 or (read[0] != node.inputs[0] and node.op_type not in EITHER):
        return False
    return all(name in read or not name or program.constant(name) is not None for name in node.reads)


def _joined(
    program: Program, ensembles: list[Node], dtype: np.dtype[Any], preprocess: Preprocess, operators: Operators
) -> Trees | None:
    """The branches of several operators, all of them in sample units."""
    order = sample_order(preprocess)
    roots: list[int] = []
    branches: dict[int, Branch] = {}
    offset = 0
    for node in ensembles:
        splits = read_splits(node)
        if splits is None or len(splits.mode) > NODES:
            return None
        feed = _way(program, node, dtype, preprocess, operators)
        cuts = _cuts(splits, feed, order, preprocess.sample_shape, double=node.types[:1] == ("float64",))
        if cuts is None:
            return None
        for place, cut, falling in zip(np.flatnonzero(splits.mode >= 0).tolist(), *cuts, strict=True):
            true_is_below = bool((splits.mode[place] < 2) != falling)
            true, false = int(splits.true[place]) + offset, int(splits.false[place]) + offset
            branches[place + offset] = Branch(
                feature=int(order[splits.feature[place]]),
                cut=float(cut),
                below=true if true_is_below else false,
                above=false if true_is_below else true,
            )
        roots += [int(root) + offset for root in splits.roots]
        offset += len(splits.mode)
    return boxes(roots, branches, len(order), most=NODES)


def sample_order(preprocess: Preprocess) -> np.ndarray:
    """Which feature of the flattened sample stands at each place of the flattened input of the file."""
    places = np.arange(int(np.prod(preprocess.sample_shape)), dtype=np.float64).reshape(1, *preprocess.sample_shape)
    moved = replace(preprocess, scale=1.0, mean=(), std=())(places)
    return np.asarray(moved).reshape(-1).astype(np.int64)


def _way(
    program: Program, node: Node, dtype: np.dtype[Any], preprocess: Preprocess, operators: Operators
) -> Callable[[np.ndarray], np.ndarray]:
    """From samples `[n, *sample_shape]` to what a tree operator compares, `[n, features]`."""
    double = node.types[:1] == ("float64",)
    before = None if node.inputs[0] == program.input else Graph(program, node.inputs[0], operators)

    def feed(x: np.ndarray) -> np.ndarray:
        ready = np.ascontiguousarray(preprocess(x))
        if dtype.kind in "iu":
            ready = ready.clip(-HUGE, HUGE)  # nearer to the ends of int64 the cast wraps around
        values = torch.from_numpy(np.ascontiguousarray(cast(ready, dtype)))
        values = values.double() if dtype == np.float64 else values.float()
        with torch.no_grad():
            values = values if before is None else before(values)
        fed: np.ndarray = values.reshape(len(x), -1).to(torch.float64 if double else torch.float32).numpy()
        return fed

    return feed


def _cuts(
    splits: Splits,
    feed: Callable[[np.ndarray], np.ndarray],
    order: np.ndarray,
    shape: tuple[int, ...],
    *,
    double: bool,
) -> tuple[np.ndarray, np.ndarray] | None:
    """For each inner node the largest float32 of the sample's feature on the side below its threshold, and whether the
    feature falls on the way to it; None where the way is not one feature each."""
    inner = np.flatnonzero(splits.mode >= 0)
    features, kind = len(order), np.float64 if double else np.float32
    ends = np.stack([np.full(features, -1e6), np.full(features, 1e6), np.zeros(features)]).astype(np.float32)
    low, high, _ = tried = feed(ends.reshape(3, *shape))
    if tried.shape != (3, features) or splits.feature[inner].max(initial=0) >= features:
        return None
    if not np.isfinite(tried).all() or np.isnan(splits.value[inner]).any():
        return None
    limits = splits.value[inner].astype(kind)
    strict = np.isin(splits.mode[inner], (MODES.index("BRANCH_LT"), MODES.index("BRANCH_GTE")))
    limits = np.where(strict, np.nextafter(limits, kind(-np.inf)), limits)  # the largest value that goes below
    falls = low > high
    tests, of = np.unique(np.stack([splits.feature[inner], limits]), axis=1, return_inverse=True)
    column, limit = tests[0].astype(np.int64), tests[1].astype(kind)
    falling, layers = falls[column], np.arange(len(column)) - np.searchsorted(column, column)
    if (int(layers.max(initial=0)) + 1) * features > VALUES:
        return None

    def holds(values: np.ndarray) -> np.ndarray:
        points = np.zeros((int(layers.max(initial=0)) + 1, features), np.float32)
        points[layers, order[column]] = values
        below: np.ndarray = feed(points.reshape(len(points), *shape))[layers, column] <= limit
        crossed: np.ndarray = below != falling
        return crossed

    return last_below(holds, len(column))[of.reshape(-1)], falls[splits.feature[inner]]


def read_splits(node: Node) -> Splits | None:
    """The nodes of a tree operator; None where it branches otherwise than at thresholds, or contradicts itself."""
    try:
        splits = _numbered(node) if node.op_type == "TreeEnsemble" else _listed(node)
    except (KeyError, IndexError, ValueError):
        return None
    modes, inner = splits.mode, splits.mode >= 0
    sound = (modes < len(MODES)).all() and len(splits.value) == len(modes)
    return splits if sound and (splits.feature[inner] >= 0).all() else None


def _listed(node: Node) -> Splits:
    """The older operators: nodes by the numbers of their tree and of their own."""
    get = node.attributes.get
    keys = list(zip(get("nodes_treeids", ()), get("nodes_nodeids", ()), strict=True))
    places = {key: place for place, key in enumerate(keys)}
    names = get("nodes_modes", ())
    mode = np.array([-1 if name == "LEAF" else MODES.index(name) for name in names])

    def children(name: str) -> np.ndarray:
        stated = zip(keys, get(name, ()), mode.tolist(), strict=True)
        return np.array([places[key[0], child] if kind >= 0 else -1 for key, child, kind in stated])

    firsts: dict[int, int] = {}
    for place, (tree, _) in enumerate(keys):
        firsts.setdefault(tree, place)  # the first node of a tree is its root
    return Splits(
        roots=np.array(list(firsts.values())),
        mode=mode,
        feature=np.array(get("nodes_featureids", ())),
        value=_numbers(node, "nodes_values"),
        true=children("nodes_truenodeids"),
        false=children("nodes_falsenodeids"),
    )


def _numbered(node: Node) -> Splits:
    """TreeEnsemble: inner nodes and leaves in lists of their own; leaves are placed behind the inner nodes."""
    get = node.attributes.get
    mode = numpy_helper.to_array(get("nodes_modes")).reshape(-1).astype(np.int64)
    inner, count = len(mode), len(mode) + len(get("leaf_targetids", ()))

    def filled(values: Any, dtype: Any) -> np.ndarray:
        known = np.array(values, dtype)
        return np.concatenate([known, np.zeros(count - len(known), dtype)])

    def children(side: str) -> np.ndarray:
        inside, leaf = np.array(get(f"nodes_{side}nodeids")), np.array(get(f"nodes_{side}leafs"))
        return filled(np.where(leaf != 0, inside + inner, inside), np.int64)

    values = _numbers(node, "nodes_splits")
    return Splits(
        roots=np.array(get("tree_roots")),
        mode=np.concatenate([mode, np.full(count - inner, -1)]),
        feature=filled(get("nodes_featureids"), np.int64),
        value=filled(values, values.dtype),
        true=children("true"),
        false=children("false"),
    )


def _numbers(node: Node, name: str) -> np.ndarray:
    """An attribute of numbers, given as a list or as a tensor."""
    given = node.attributes.get(f"{name}_as_tensor", node.attributes.get(name, ()))
    return np.array(given, np.float32) if isinstance(given, tuple) else numpy_helper.to_array(given).reshape(-1)

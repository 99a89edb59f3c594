"""Forests whose every answer is known: a target made of branches, and all its cells to try one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from auditor.access import OutputKind
from auditor.bench import Bench
from auditor.preprocess import Preprocess
from auditor.samples import Samples
from auditor.target import Target
from auditor.threat import ThreatModel
from auditor.thresholds import Branch, Trees, boxes

Tree = Any
"""`(feature, cut, below, above)`, where a side is a tree or the scores of a leaf."""


class ForestTarget(Target):
    """The sum of what the trees' leaves say; a value goes below where it is at most the cut."""

    def __init__(self, trees: list[Tree], shape: tuple[int, ...]):
        self.name, self.sha256 = "forest", "0" * 64
        self.shape = shape
        self.runtime = {"name": "numpy", "version": np.__version__}
        self.preprocess = Preprocess(sample_shape=shape, model_shape=shape)
        self.output = OutputKind.LOGITS
        self.branches: dict[int, Branch] = {}
        self.leaves: dict[int, np.ndarray] = {}
        self.roots = [self._admit(tree) for tree in trees]
        self.classes = len(next(iter(self.leaves.values())))
        count = len(self.branches) + len(self.leaves)
        itself = Branch(feature=0, cut=0.0, below=0, above=0)
        nodes = [self.branches.get(i, replace(itself, below=i, above=i)) for i in range(count)]
        self.table = {name: np.array([getattr(node, name) for node in nodes]) for name in Branch.__dataclass_fields__}
        self.weights = np.array([self.leaves.get(i, np.zeros(self.classes)) for i in range(count)], np.float64)

    def _admit(self, tree: Tree) -> int:
        place = len(self.branches) + len(self.leaves)
        if not (isinstance(tree, tuple) and len(tree) == 4):
            self.leaves[place] = np.asarray(tree, np.float64)
            return place
        feature, cut, below, above = tree
        self.branches[place] = Branch(feature=feature, cut=float(np.float32(cut)), below=-1, above=-1)
        sides = {"below": self._admit(below), "above": self._admit(above)}
        self.branches[place] = replace(self.branches[place], **sides)
        return place

    def _run(self, x: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1)
        place = np.tile(np.array(self.roots), (len(x), 1))
        while True:
            goes = np.take_along_axis(flat, self.table["feature"][place], axis=1) <= self.table["cut"][place]
            there = np.where(goes, self.table["below"][place], self.table["above"][place])
            if (there == place).all():
                return self.weights[place].sum(axis=1).astype(np.float32)
            place = there

    def twin(self) -> Any:
        """None, as a search has it of a model without gradients."""
        return None

    def trees(self) -> Trees:
        found = boxes(self.roots, self.branches, int(np.prod(self.shape)), most=10_000)
        assert found is not None
        return found


class OpenForest(ForestTarget):
    """The same without a word about its trees."""

    def trees(self) -> None:  # type: ignore[override]
        return None


def random_tree(draws: np.random.Generator, features: int, levels: int, classes: int) -> Tree:
    if levels == 0 or draws.random() < 0.1:
        return draws.normal(size=classes)
    below, above = (random_tree(draws, features, levels - 1, classes) for _ in range(2))
    return int(draws.integers(features)), float(draws.uniform(0.1, 0.9)), below, above


def forest_bench(
    *,
    trees: int = 6,
    levels: int = 3,
    classes: int = 3,
    shape: tuple[int, ...] = (4,),
    n: int = 12,
    seed: int = 0,
    steps: float | None = None,
    threat: ThreatModel | None = None,
) -> Bench:
    """A random forest, with samples labelled by its own answer.

    steps: where given, half of the features have a threshold of little weight this far above each sample.
    """
    draws = np.random.default_rng(seed)
    features = int(np.prod(shape))
    made = [random_tree(draws, features, levels, classes) for _ in range(trees)]
    inputs = draws.uniform(0.2, 0.8, size=(n, *shape)).astype(np.float32)
    if steps is not None:
        little, none = 1e-6 * np.arange(classes), np.zeros(classes)
        flat = inputs.reshape(n, -1)[:, ::2]
        made += [(2 * j, float(x + steps), none, little) for row in flat for j, x in enumerate(row)]
    return bench_of(made, inputs, threat or ThreatModel(bounds=(0.0, 1.0)), seed=seed)


def bench_of(trees: list[Tree], inputs: Any, threat: ThreatModel, *, seed: int = 0) -> Bench:
    """These trees, with these inputs labelled by their answer."""
    inputs = np.asarray(inputs, np.float32)
    target = ForestTarget(trees, inputs.shape[1:])
    labels = target.labels(inputs).astype(np.int64)
    return Bench(
        target=target,
        samples=Samples(inputs=inputs, labels=labels, ids=np.arange(len(inputs))),
        threat=threat,
        seed=seed,
    )


def can_be_broken(bench: Bench) -> np.ndarray:
    """Which samples have an adversarial example, by every cell of their box at its point nearest to the sample."""
    region, threat = bench.threat.region(bench.samples), bench.threat
    cuts = bench.target.trees().thresholds  # type: ignore[union-attr]
    found = []
    for x, y, low, high in zip(bench.samples.inputs, bench.samples.labels, region.lower, region.upper, strict=True):
        flat, axes = x.reshape(-1), []
        for value, least, most, mine in zip(flat, low.reshape(-1), high.reshape(-1), cuts, strict=True):
            starts = np.concatenate([[-np.inf], np.nextafter(mine, np.float32(np.inf))])
            ends = np.concatenate([mine, [np.inf]])
            nearest = np.clip(value, np.maximum(starts, least), np.minimum(ends, most))
            axes.append(nearest[(np.maximum(starts, least) <= np.minimum(ends, most))])
        if threat.norm == "l0":  # of epsilon 1
            found.append(_one_feature(bench, x, y, axes))
            continue
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)).astype(np.float32)
        order = {"linf": np.inf, "l2": 2, "l1": 1}[threat.norm]
        size = np.linalg.norm(points.astype(np.float64) - flat, ord=order, axis=1)
        inside = points if threat.norm == "linf" else points[size <= threat.epsilon]
        found.append(bool((bench.target.labels(inside.reshape(-1, *x.shape)) != y).any()))
    return np.array(found)


def _one_feature(bench: Bench, x: np.ndarray, y: int, axes: list[np.ndarray]) -> bool:
    """Whether a sample falls to a change of one of its features."""
    points = np.repeat(x.reshape(1, -1), sum(map(len, axes)), axis=0)
    points[np.arange(len(points)), np.repeat(np.arange(len(axes)), [len(axis) for axis in axes])] = np.concatenate(axes)
    return bool((bench.target.labels(points.reshape(-1, *x.shape)) != y).any())

"""Where the trees of an ensemble branch, in the units of the samples: what a search over its cells needs to know.

A forest is constant on boxes: its thresholds cut the space into cells, and every leaf is the box of its path. `Trees`
holds both; `auditor.branches` reads them off a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FARTHEST = 1e30
"""Size of the values among which thresholds are looked for."""

ENTRIES = 50_000_000
"""Numbers of a table of leaves beyond which it would not fit into memory several times."""


@dataclass(frozen=True, kw_only=True)
class TreeTable:
    """`Trees` as tensors, shared by all rows. thresholds: `[features, most]`, filled up with infinity."""

    thresholds: Tensor
    features: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True, kw_only=True)
class Trees:
    """The cells and leaves of an ensemble, by the features of the flattened sample.

    thresholds: sorted float32 values of each feature, each the largest of the side below. features: int64
    `[leaves, depth]`, what the path to each leaf tests, a shorter path filled up with its own first test. low, high:
    float32 `[leaves, depth]`, the closed interval in which such a feature must lie. The first leaf of every tree comes
    first, then the second of every tree, and so on.
    """

    thresholds: list[np.ndarray]
    features: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def on(self, device: str, dtype: torch.dtype) -> TreeTable:
        """The same on a device, in the precision of the search: float32 values are exact in float64 too."""
        most = max((len(values) for values in self.thresholds), default=0)
        table = np.full((len(self.thresholds), most), np.inf, np.float32)
        for row, values in zip(table, self.thresholds, strict=True):
            row[: len(values)] = values
        return TreeTable(
            thresholds=torch.from_numpy(table).to(device, dtype),
            features=torch.from_numpy(self.features).to(device),
            low=torch.from_numpy(self.low).to(device, dtype),
            high=torch.from_numpy(self.high).to(device, dtype),
        )


@dataclass(frozen=True, kw_only=True)
class Branch:
    """An inner node: the feature it tests, the largest value that goes below, and where the two sides lead."""

    feature: int
    cut: float
    below: int
    above: int


def boxes(roots: Sequence[int], branches: dict[int, Branch], features: int, *, most: int) -> Trees | None:
    """The trees of these branches; a node that is not among them is a leaf. None where the way to all leaves takes more
    steps than that, as where branches lead in a circle."""
    leaves: list[list[dict[int, tuple[float, float]]]] = []
    count = 0
    for root in roots:
        leaves.append([])
        paths: list[tuple[int, dict[int, tuple[float, float]]]] = [(root, {})]
        while paths:
            place, path = paths.pop()
            if (branch := branches.get(place)) is None:
                leaves[-1].append(path)
            elif (count := count + 1) > most:
                return None
            else:
                low, high = path.get(branch.feature, (-np.inf, np.inf))
                cut = branch.cut
                next_up = float(np.nextafter(np.float32(cut), np.float32(np.inf)))
                paths.append((branch.above, {**path, branch.feature: (max(low, next_up), high)}))
                paths.append((branch.below, {**path, branch.feature: (low, min(high, cut))}))
    in_turn = [tree[k] for k in range(max(map(len, leaves), default=0)) for tree in leaves if k < len(tree)]
    in_turn = [path for path in in_turn if path and all(map(_holds_something, path.values()))]
    depth = max(map(len, in_turn), default=1)
    if depth * len(in_turn) > ENTRIES:
        return None
    filled = [[*path.items(), *[next(iter(path.items()))] * (depth - len(path))] for path in in_turn]
    shape = (len(in_turn), depth)
    cuts: list[set[float]] = [set() for _ in range(features)]
    for branch in branches.values():
        if np.isfinite(branch.cut):
            cuts[branch.feature].add(branch.cut)
    return Trees(
        thresholds=[np.array(sorted(values), np.float32) for values in cuts],
        features=np.array([[feature for feature, _ in path] for path in filled], np.int64).reshape(shape),
        low=np.array([[low for _, (low, _) in path] for path in filled], np.float32).reshape(shape),
        high=np.array([[high for _, (_, high) in path] for path in filled], np.float32).reshape(shape),
    )


def _holds_something(interval: tuple[float, float]) -> bool:
    low, high = interval
    return low <= high and low < np.inf and high > -np.inf


def last_below(holds: Callable[[np.ndarray], np.ndarray], count: int) -> np.ndarray:
    """For each of so many tests the largest float32 that it holds for, `[count]`; minus infinity where it never holds,
    infinity where it always does.

    holds: from values `[count]` to bool `[count]`; each test holds up to some value and no further. Found by bisection
    over the float32 numbers in order, so that what the arithmetic in between rounds does not matter.
    """
    low = np.full(count, _order(np.float32(-FARTHEST)))
    high = np.full(count, _order(np.float32(FARTHEST)))
    never, always = ~holds(_at(low)), holds(_at(high))
    while (high - low).max(initial=0) > 1:
        middle = (low + high) // 2
        below = holds(_at(middle))
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found: np.ndarray = np.where(never, -np.inf, np.where(always, np.inf, _at(low))).astype(np.float32)
    return found


def _order(value: np.float32) -> int:
    """The place of a float32 among all of them; 0 is at 0."""
    bits = int(value.view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _at(places: np.ndarray) -> np.ndarray:
    """The float32 numbers at these places."""
    values = np.abs(places).astype(np.int32).view(np.float32)
    signed: np.ndarray = np.where(places < 0, -values, values)
    return signed

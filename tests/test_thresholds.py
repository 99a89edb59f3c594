"""Boxes of leaves and thresholds of trees written by hand, and thresholds found again behind any rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from auditor.plugins.defenses.bit_depth import BitDepth
from forests import forest_bench

from auditor.bench import linear_bench
from auditor.defense import DefendedTarget
from auditor.thresholds import Branch, boxes, last_below

INF = np.inf


def above(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(INF)))


def node(feature: int, cut: float, below: int, above: int) -> Branch:
    return Branch(feature=feature, cut=cut, below=below, above=above)


def test_leaves_are_the_boxes_of_their_paths() -> None:
    branches = {0: node(1, 0.5, 1, 2), 1: node(0, 0.25, 3, 4), 10: node(2, -1.0, 11, 12)}
    trees = boxes([0, 10], branches, 3, most=10)
    assert trees is not None
    assert [values.tolist() for values in trees.thresholds] == [[0.25], [0.5], [-1.0]]
    found = {
        frozenset(zip(*row, strict=True))
        for row in zip(trees.features.tolist(), trees.low.tolist(), trees.high.tolist(), strict=True)
    }
    assert found == {
        frozenset({(1, -INF, 0.5), (0, -INF, 0.25)}),
        frozenset({(1, -INF, 0.5), (0, above(0.25), INF)}),
        frozenset({(1, above(0.5), INF)}),
        frozenset({(2, -INF, -1.0)}),
        frozenset({(2, above(-1.0), INF)}),
    }
    assert trees.features[:2, 0].tolist() == [1, 2], "a leaf of each tree in turn"


def test_leaves_that_nothing_reaches_are_none() -> None:
    """Twice the same feature: the second cut lies on the other side; and a cut that lies beyond all numbers."""
    branches = {0: node(0, 0.5, 1, 2), 1: node(0, 0.75, 3, 4), 5: node(0, INF, 6, 7)}
    trees = boxes([0, 5], branches, 1, most=10)
    assert trees is not None
    ends = sorted(zip(trees.low.ravel().tolist(), trees.high.ravel().tolist(), strict=True))
    assert ends == [(-INF, 0.5), (-INF, INF), (above(0.5), INF)]
    assert trees.thresholds[0].tolist() == [0.5, 0.75]


def test_a_circle_ends() -> None:
    assert boxes([0], {0: node(0, 0.5, 0, 1)}, 1, most=1000) is None


def test_a_model_without_branches_is_all_one_cell() -> None:
    trees = boxes([0, 1], {}, 4, most=10)
    assert trees is not None
    table = trees.on("cpu", torch.float32)
    assert table.thresholds.shape == (4, 0)
    assert table.low.shape[0] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tables_are_filled_up_with_infinity(dtype: torch.dtype) -> None:
    trees = forest_bench(seed=1).target.trees()
    assert trees is not None
    table = trees.on("cpu", dtype)
    assert table.thresholds.dtype == dtype
    for row, values in zip(table.thresholds, trees.thresholds, strict=True):
        assert row[: len(values)].float().tolist() == values.tolist()
        assert row[len(values) :].isinf().all()


def test_the_last_float_below_is_found_exactly() -> None:
    draws = np.random.default_rng(0)
    cuts = np.concatenate([draws.normal(size=200), draws.normal(size=20) * 1e-40, [0.0, -0.0, 1e20, -1e20]])
    cuts = cuts.astype(np.float32)
    assert last_below(lambda x: x <= cuts, len(cuts)).tolist() == cuts.tolist()
    strictly = last_below(lambda x: x < cuts, len(cuts))
    assert strictly.tolist() == np.nextafter(cuts, np.float32(-INF)).tolist()


def test_the_last_float_below_behind_rounding() -> None:
    """Of x · 255 - .1 in float32, no inverse of which is exact."""
    limits = np.linspace(1, 200, 333, dtype=np.float32)

    def holds(x: np.ndarray) -> np.ndarray:
        return np.asarray(x * np.float32(255) - np.float32(0.1) <= limits)

    found = last_below(holds, len(limits))
    assert holds(found).all()
    assert not holds(np.nextafter(found, np.float32(INF))).any()


def test_what_always_or_never_holds_has_no_last_float() -> None:
    found = last_below(lambda x: np.array([True, False]) & (x == x), 2)
    assert found.tolist() == [INF, -INF]


def test_other_models_have_no_thresholds() -> None:
    made = forest_bench()
    assert made.target.thresholds() is not None
    assert linear_bench().target.thresholds() is None
    assert linear_bench().target.trees() is None
    assert DefendedTarget(BitDepth(), made.target).thresholds() is None

"""Projections on hyperplanes within a box, against scipy's solvers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from auditor.bench import linear_bench
from auditor.hyperplane import away, length, outer_box, to_plane
from auditor.problem import Problem
from auditor.threat import Norm, ThreatModel
from tests.planes import shortest

NORMS = [Norm.LINF, Norm.L2, Norm.L1]
D = 8


def problem(norm: Norm, n: int = 8, **options: Any) -> Problem:
    """Samples in [0.2, 0.8], in float64 so that the solvers' digits count."""
    made = linear_bench(n=n, shape=(D,), threat=ThreatModel(**({"norm": norm, "epsilon": 0.5} | options))).problem()
    names = ("inputs", "epsilon", "lower", "upper")
    weights = None if made.weights is None else made.weights.double()
    return replace(made, weights=weights, **{name: getattr(made, name).double() for name in names})


def planes(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    slope = rng.normal(size=(n, D)) * 10.0 ** rng.integers(-3, 4, size=(n, 1))
    slope[:, 0] = 0  # a feature that does not matter
    rise = np.abs(slope).sum(axis=1) * rng.uniform(-0.3, 0.3, size=n)
    return torch.from_numpy(slope), torch.from_numpy(rise)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0), (0.1, 3.0)])
@pytest.mark.parametrize("kind", ["plain", "weights", "frozen"])
def test_the_change_is_the_smallest_that_reaches_the_plane(
    norm: Norm, bounds: tuple[float, float] | None, kind: str
) -> None:
    weights = np.geomspace(0.3, 3, D).astype(np.float32) if kind == "weights" else None
    frozen = np.arange(D) % 4 == 1 if kind == "frozen" else np.zeros(D, bool)
    made = problem(norm, weights=weights, frozen=frozen if kind == "frozen" else None)
    ends = bounds or (-np.inf, np.inf)
    mask = torch.from_numpy(frozen)
    box = tuple(torch.where(mask, made.inputs, end) for end in ends)
    slope, rise = planes(len(made))
    change = to_plane(made, made.inputs, slope, rise, box)  # type: ignore[arg-type]
    moved = made.inputs + change
    assert ((moved >= box[0] - 1e-12) & (moved <= box[1] + 1e-12)).all()
    assert not change[:, mask].any()
    sizes = length(made, change)
    reached = (slope * change).sum(dim=1)
    short = 0
    for i in range(len(made)):
        x, towards = made.inputs[i].numpy(), slope[i].numpy() * np.sign(float(rise[i]))
        low, high = box[0][i].numpy() - x, box[1][i].numpy() - x
        scale = 1.0 if made.weights is None else made.weights[i].numpy()
        best = shortest(norm, towards, abs(float(rise[i])), low, high, scale)
        if np.isfinite(best):
            assert float(reached[i]) == pytest.approx(float(rise[i]), rel=1e-9)
            assert float(sizes[i]) == pytest.approx(best, rel=1e-5)
        else:  # as far as the box lets it
            short += 1
            limit = np.where(towards > 0, high, low) @ np.where(towards == 0, 0, towards)
            assert abs(float(reached[i])) == pytest.approx(limit, rel=1e-9)
    assert short < len(made) / 2


@pytest.mark.parametrize("norm", NORMS)
def test_small_and_vanishing_slopes_in_float32(norm: Norm) -> None:
    made = linear_bench(n=3, shape=(D,), threat=ThreatModel(norm=norm, epsilon=0.5)).problem()
    slope = torch.ones(3, D) * torch.tensor([1e-30, 0.0, 1e30])[:, None]
    rise = torch.tensor([1e-30, 1.0, -1e30])
    change = to_plane(made, made.inputs, slope, rise, outer_box(made))
    assert change.isfinite().all()
    torch.testing.assert_close((change * torch.tensor([1.0, 0, 1])[:, None]).sum(dim=1), torch.tensor([1.0, 0, -1]))
    assert not change[1].any()


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_is_away_as_far_as_the_change_that_reaches_it_without_limits(norm: Norm) -> None:
    made = problem(norm, weights=np.geomspace(0.3, 3, D).astype(np.float32), frozen=np.arange(D) == 3)
    slope, rise = planes(len(made))
    change = to_plane(made, made.inputs, slope, rise, outer_box(made))
    far = away(made, torch.stack([rise, 2 * rise], dim=1), torch.stack([slope, slope], dim=1))
    torch.testing.assert_close(length(made, change), far[:, 0])
    torch.testing.assert_close(2 * far[:, 0], far[:, 1])
    assert away(made, rise[:, None], torch.zeros_like(slope)[:, None]).isinf().all()


def test_the_outer_box_knows_bounds_and_frozen_features_but_no_ball() -> None:
    low, high = outer_box(problem(Norm.LINF, epsilon=0.05, bounds=(-1.0, 2.0), frozen=np.arange(D) == 2))
    free = torch.arange(D) != 2
    assert (low[:, free] == -1).all()
    assert (high[:, free] == 2).all()
    assert (low[:, 2] == high[:, 2]).all()
    low, high = outer_box(problem(Norm.L2, epsilon=0.05))
    assert low.isinf().all()
    assert high.isinf().all()

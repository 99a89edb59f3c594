"""What searches by labels share: the way in, the next size, where to begin, and random directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from auditor.bench import Bench, linear_bench
from auditor.halving import OUTWARDS, between, directions, middle, proposed, start_points
from auditor.threat import Norm, ThreatModel


def bench(norm: Norm = Norm.L2, **options: object) -> Bench:
    threat = ThreatModel(**({"norm": norm, "epsilon": 0.25} | options))  # type: ignore[arg-type]
    return linear_bench(shape=(6,), n=3, seed=2, threat=threat)


def test_the_way_in_is_a_line_and_in_linf_the_largest_changes_shrink_first() -> None:
    change = torch.tensor([0.3, -0.4, 0.0, 0.0, 0.0, 0.0])
    for norm, wanted in ((Norm.L2, [0.06, -0.08]), (Norm.LINF, [0.1, -0.1])):
        problem = bench(norm).problem()
        points = between(problem, problem.inputs + change, torch.full((3,), 0.1))
        torch.testing.assert_close(points - problem.inputs, torch.tensor([*wanted, 0, 0, 0, 0]).expand(3, -1))
        assert torch.allclose(problem.size(points), torch.tensor(0.1), rtol=1e-5)
        kept = between(problem, problem.inputs + change, torch.full((3,), 9.0))
        torch.testing.assert_close(kept - problem.inputs, change.expand(3, -1))


def test_epsilon_is_the_next_size_where_the_bracket_holds_it() -> None:
    problem = bench(Norm.LINF).problem()
    low, high = torch.tensor([0.0, 0.25, 0.0]), torch.tensor([1.0, 1.0, 0.2])
    assert middle(problem, low, high).tolist() == pytest.approx([0.25, 0.625, 0.1])
    endless = replace(problem, epsilon=torch.full((3,), float("inf")))
    assert middle(endless, low, high).tolist() == pytest.approx([0.5, 0.625, 0.1])


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_points_of_size_epsilon_are_proposed_and_further_ones_are_probes(norm: Norm) -> None:
    made = bench(norm, bounds=(-1.0, 2.0))
    problem = made.problem()
    far = problem.inputs + torch.tensor([0.5, -0.3, 0.4, -0.5, 0.4, 0.5])
    edge = between(problem, far, middle(problem, torch.zeros(3), torch.ones(3)))
    points, probes = proposed(problem, edge)
    assert not probes.any()
    region = made.threat.region(made.samples)
    assert ((points.numpy() >= region.lower) & (points.numpy() <= region.upper)).all()
    sizes = np.linalg.norm(points.double().numpy() - made.samples.inputs.astype(float), axis=1)
    if norm is Norm.L2:
        assert (sizes <= 0.25).all()
    points, probes = proposed(problem, far + 5)
    assert probes.all()
    assert points.max() == 2, "within the limits of inputs all the same"


def test_starts_go_along_the_way_to_the_best_point_and_then_at_random() -> None:
    problem = bench(bounds=(-1.0, 2.0)).problem()
    towards = problem.inputs + 0.05
    tries = torch.tensor([0, 3, len(OUTWARDS)])
    points = start_points(problem, towards, tries)
    assert torch.allclose(points[:2], (problem.inputs + torch.tensor([[0.05], [0.05 * OUTWARDS[3]], [0]]))[:2])
    values = [len(start_points(problem, towards, len(OUTWARDS) + kind + 0 * tries)[0].unique()) for kind in range(3)]
    assert values[0] == 6
    assert values[1] == 2
    assert 1 < len(start_points(problem, towards, len(OUTWARDS) + 1 + 0 * tries).unique()) == 2
    corners = start_points(problem, towards, len(OUTWARDS) + 1 + 0 * tries)
    assert set(corners.flatten().tolist()) == {-1.0, 2.0}
    assert values[2] < 6


def test_without_bounds_starts_go_further_each_time() -> None:
    problem = bench().problem()
    near, far = (start_points(problem, problem.inputs, torch.full((3,), len(OUTWARDS) + n)) for n in (1, 13))
    assert torch.allclose((near - problem.inputs).abs(), torch.tensor(1.0), rtol=1e-5)
    assert torch.allclose((far - problem.inputs).abs(), torch.tensor(16.0), rtol=1e-5)


def test_directions_are_as_good_as_uniform_on_the_sphere() -> None:
    made = linear_bench(shape=(7,), n=3, threat=ThreatModel(norm=Norm.L2, epsilon=0.1))
    drawn = directions(made.problem(), 20_000).double()
    assert torch.allclose(drawn.norm(dim=2), torch.ones(3, 20_000, dtype=torch.float64), atol=1e-5)
    flat = drawn.flatten(0, 1)
    assert torch.allclose(flat.mean(0), torch.zeros(7, dtype=torch.float64), atol=0.01)
    assert torch.allclose(flat.T @ flat / len(flat), torch.eye(7, dtype=torch.float64) / 7, atol=0.004)
    slope = torch.linspace(-1, 2, 7, dtype=torch.float64)
    signs = ((flat @ slope).sign()[:, None] * flat).mean(0)
    cosine = signs @ slope / signs.norm() / slope.norm()
    assert cosine > 0.9995, "the mean of those uphill is the gradient's direction"


def test_a_longer_draw_begins_with_the_shorter_and_no_row_minds_its_company() -> None:
    made = bench()
    few, many = directions(made.problem(), 3), directions(made.problem(), 50)
    assert torch.equal(few, many[:, :3])
    alone = made.problem().take(torch.tensor([2]))
    assert torch.equal(directions(alone, 3)[0], few[2])
    assert len(many.flatten(0, 1).unique(dim=0)) == 150


def test_frozen_features_stay() -> None:
    frozen = np.array([True, False, False, True, False, False])
    drawn = directions(bench(frozen=frozen).problem(), 9)
    assert not drawn[:, :, frozen].any()
    assert torch.allclose(drawn.norm(dim=2), torch.ones(3, 9))

"""DDN: the l2 distance of linear models in every box, its steps by hand, and the units it measures in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.ddn import DDN, DDNRows
from torch import Tensor

from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel
from tests.planes import distances


def threat(**options: Any) -> ThreatModel:
    return ThreatModel(norm=Norm.L2, **options)


@dataclass(frozen=True, kw_only=True)
class Spy(DDN):
    """Notes whose rows there were and what came of them."""

    seen: list[tuple[Tensor, DDNRows]]

    def step(self, problem: Problem, rows: DDNRows, reply: Reply) -> DDNRows:
        moved = super().step(problem, rows, reply)
        self.seen.append((problem.ids, moved))
        return moved


def found(bench: Bench, restarts: int = 1, distance: bool = False, **options: Any) -> np.ndarray:
    """The size of the nearest adversarial point of each sample, of what the attack itself knows."""
    seen: list[tuple[Tensor, DDNRows]] = []
    row = bench.play(Spy(seen=seen, **options), restarts=restarts, distance=distance).row
    assert row.status == "ran", row.reason
    assert row.rejected == {}
    sizes = np.full(len(bench.samples), np.inf)
    for ids, rows in seen:
        np.minimum.at(sizes, ids.numpy(), rows.best_size.numpy())
    return sizes


def finds(bench: Bench, restarts: int = 1, within: float = 0.01, **options: Any) -> None:
    """What it finds is at each sample's own exact distance, though the ball ends far before that."""
    exact = distances(bench)
    near = np.isfinite(exact)
    assert near.sum() >= 4
    ratio = found(bench.at(0.3 * float(exact.min())), restarts, **options)[near] / exact[near]
    assert (ratio > 1 - 1e-4).all(), ratio
    assert (ratio < 1 + within).all(), ratio


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_finds_the_distance_with_two_classes(bounds: tuple[float, float] | None, loss: str) -> None:
    finds(linear_bench(n=6, seed=1, shape=(1, 3, 4), threat=threat(bounds=bounds)), loss=loss)


@pytest.mark.parametrize("classes", [3, 5])
def test_finds_it_with_more_classes_where_restarts_go_for_each(classes: int) -> None:
    bench = linear_bench(classes=classes, n=8, seed=1, threat=threat(bounds=(0.0, 1.0)))
    finds(bench, restarts=classes, loss="margin", steps=200)
    finds(bench, restarts=classes, steps=200, within=0.15)


@pytest.mark.parametrize("bounds", [(0.19, 0.81), (-1.0, 1.0)])
def test_finds_it_within_bounds_weights_and_frozen_features(bounds: tuple[float, float]) -> None:
    uneven = {"weights": np.geomspace(0.5, 2, 12).astype(np.float32), "frozen": np.arange(12) % 5 == 2}
    finds(linear_bench(n=8, seed=2, threat=threat(bounds=bounds, **uneven)), steps=200)


def test_reaches_the_target_of_the_goal() -> None:
    bench = linear_bench(classes=4, seed=3, threat=threat(goal=Goal(1), bounds=(-3.0, 3.0)), n=10)
    bench = replace(bench, samples=bench.samples.take(bench.samples.labels != 1))
    finds(bench, within=0.04, steps=300)  # the cross-entropy minds the classes behind the nearest too


def test_its_steps_by_hand() -> None:
    """The direction from the sum of change and step, the size from whether the point is adversarial."""
    problem = linear_bench(n=2, shape=(3,), threat=threat(epsilon=0.1, bounds=(-9.0, 11.0))).problem()
    attack = DDN(steps=10, init=0.01, gamma=0.1)
    rows = attack.start(problem)
    assert torch.equal(rows.point, problem.inputs)
    assert rows.radius.tolist() == pytest.approx([0.2, 0.2])

    def after(rows: DDNRows, age: int, towards: int, margins: list[float]) -> DDNRows:
        gradient = torch.zeros(2, 3)
        gradient[:, towards] = 7.0
        scores = torch.nn.functional.one_hot(problem.labels, 2) * torch.tensor(margins)[:, None]
        reply = Reply(
            points=rows.point,
            owner=torch.arange(2),
            labels=problem.labels,
            scores=scores,
            loss=torch.ones(2),
            gradient=gradient,
        )
        return attack.step(problem.at(torch.full((2,), age), 2), rows, reply)

    rows = after(rows, 0, 0, [1.0, 1.0])
    torch.testing.assert_close(rows.point - problem.inputs, torch.tensor([[0.22, 0, 0]] * 2), atol=1e-6, rtol=1e-5)
    rows = after(rows, 1, 1, [-1.0, 1.0])
    assert rows.best_size.tolist() == pytest.approx([0.22, float("inf")], rel=1e-5)
    step = 20 * (0.01 + 0.99 * (1 + cos(pi / 10)) / 2)
    way = torch.tensor([0.22, step, 0]) / np.hypot(0.22, step)
    expected = way * torch.tensor([0.22 * 0.9, 0.22 * 1.1])[:, None]
    torch.testing.assert_close(rows.point - problem.inputs, expected, atol=1e-6, rtol=1e-5)
    assert problem.contains(rows.x).all()
    assert (rows.x - problem.inputs)[0, 0] > 0.09  # towards what was found
    assert (rows.x - problem.inputs)[1, 1] > 0.09  # towards the iterate


def test_sizes_are_in_units_of_the_bounds_width() -> None:
    made = linear_bench(n=6, seed=1, threat=threat(bounds=(0.0, 1.0)))
    target = made.target
    assert isinstance(target, LinearTarget)
    large = replace(
        made,
        target=LinearTarget(target.weight / 64, target.bias),
        samples=replace(made.samples, inputs=made.samples.inputs * 64),
        threat=threat(bounds=(0.0, 64.0)),
    )
    np.testing.assert_allclose(found(large.at(0.01), steps=20), 64 * found(made.at(0.01), steps=20), rtol=1e-3)
    weights = np.full(12, 64.0, np.float32)
    relative = replace(large, threat=threat(bounds=(0.0, 64.0), weights=weights))
    np.testing.assert_allclose(found(relative.at(0.01), steps=20), found(made.at(0.01), steps=20), rtol=1e-3)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_without_bounds_and_epsilon_the_first_gradient_tells_the_unit(size: float) -> None:
    made = linear_bench(n=6, seed=1, threat=threat())
    target = made.target
    assert isinstance(target, LinearTarget)
    scaled = replace(made, target=LinearTarget(target.weight / size, target.bias))
    scaled = replace(scaled, samples=replace(made.samples, inputs=made.samples.inputs * size))
    exact = distances(scaled)
    sizes = found(scaled, distance=True)
    assert (sizes < 1.01 * exact).all()
    rows = DDN().start(replace(scaled.at(1.0).problem(), epsilon=torch.full((6,), torch.inf)))
    assert rows.unit.isinf().all()
    np.testing.assert_allclose(found(scaled, distance=True, steps=1, init=1.5), np.inf)
    seen: list[tuple[Tensor, DDNRows]] = []
    scaled.play(Spy(seen=seen, steps=1, init=1.5), distance=True)
    np.testing.assert_allclose(seen[0][1].unit.numpy(), exact, rtol=1e-3)
    np.testing.assert_allclose(seen[0][1].radius.numpy(), 1.5 * 1.05 * exact, rtol=1e-3)


def test_where_the_gradient_is_0_it_goes_somewhere_at_random() -> None:
    problem = linear_bench(n=3, threat=threat(epsilon=0.1, frozen=np.arange(12) == 4, bounds=(0.0, 1.0))).problem()
    attack = DDN(init=0.1)
    rows = attack.start(problem)
    reply = Reply(
        points=rows.point,
        owner=torch.arange(3),
        labels=problem.labels,
        scores=torch.nn.functional.one_hot(problem.labels, 2).float(),
        loss=torch.zeros(3),
        gradient=torch.zeros_like(rows.point),
    )
    change = attack.step(problem, rows, reply).point - problem.inputs
    torch.testing.assert_close(change.norm(dim=1), torch.full((3,), 0.1 * 1.05), rtol=1e-4, atol=0)
    assert not change[:, 4].any()
    assert (change[0] - change[1]).abs().max() > 0.01


def test_it_looks_for_the_boundary_beyond_epsilon() -> None:
    bench = linear_bench(n=4, threat=threat(bounds=(-2.0, 2.0)), distance=0.1)
    np.testing.assert_allclose(found(bench.at(0.02)), found(bench.at(0.09)), rtol=1e-5)


def test_what_it_costs() -> None:
    trial = linear_bench(classes=4, n=5, threat=threat()).at(1e-4).play(DDN(steps=7), restarts=2)
    assert trial.row.forwards == 5 * (2 * (7 + 1) + 1)
    assert trial.row.backwards == 5 * 2 * 7
    assert DDN(steps=7).cost(4) == (8, 7)
    assert DDN().survey_cost(4) == (1, 0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gamma": 1.0}, "ddn: gamma is above 0 and below 1, got 1.0."),
        ({"init": 0.0}, "ddn: init is a finite number above 0, got 0.0."),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        DDN(**options)


def test_it_is_right() -> None:
    check_attack(DDN(), seeds=2)
    check_attack(DDN(loss="margin"), seeds=1)

"""Noise: points of the ball and of its corners in turn, drawn for each sample on its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.noise import Noise
from walks import check_threats

from auditor.access import Access
from auditor.attack import Query, Reply, Rows
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Watched(Noise):
    """Keeps every point, as a share of the way to the edge of the ball."""

    log: list[torch.Tensor] = field(default_factory=list)

    def start(self, problem: Problem) -> Rows:
        return self.keep(problem, super().start(problem))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return self.keep(problem, super().step(problem, rows, reply))

    def keep(self, problem: Problem, rows: Rows) -> Rows:
        self.log.append((rows.x - problem.inputs) / problem.wide(problem.epsilon))
        return rows


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_corners_and_points_of_the_ball_in_turn(norm: Norm) -> None:
    made = linear_bench(n=30, distance=0.3, threat=ThreatModel(norm=norm)).at(0.1)
    attack = Watched(steps=7)
    assert not made.play(attack).broken.any()
    assert len(attack.log) == 8
    for age, change in enumerate(attack.log):
        if norm is Norm.LINF:
            edge = (change.abs() > 1 - 1e-4).all(dim=1)
        else:
            edge = (change.norm(dim=1) - 1).abs() < 1e-3
        assert edge.all() if age % 2 == 0 else edge.sum() < 5  # a ball of 12 dimensions is mostly edge
    assert len(torch.stack(attack.log).flatten(0, 1).unique(dim=0)) == 8 * 30


EDGES = {
    Norm.L1: lambda change: (change.abs().sum(dim=1) - 1).abs() < 1e-4,
    Norm.LINF: lambda change: (change.abs() > 1 - 1e-4).all(dim=1),
    Norm.L2: lambda change: (change.norm(dim=1) - 1).abs() < 1e-3,
}


@pytest.mark.parametrize("norm", EDGES)
def test_one_kind_alone(norm: Norm) -> None:
    made = linear_bench(n=30, distance=0.3, threat=ThreatModel(norm=norm)).at(0.1)
    for points in ("uniform", "corners"):
        attack = Watched(steps=5, points=points)
        assert not made.play(attack).broken.any()
        edge = torch.stack([EDGES[norm](change) for change in attack.log]).double().mean()
        assert edge == 1 if points == "corners" else edge < 0.1
        features = torch.stack([(change != 0).sum(dim=1) for change in attack.log]).double().mean()
        assert features == (1 if norm is Norm.L1 and points == "corners" else 12)


@pytest.mark.parametrize("points", ["uniform", "corners"])
def test_l0_changes_as_many_features_as_epsilon_says(points: str) -> None:
    made = linear_bench(n=30, seed=3, threat=ThreatModel(norm=Norm.L0, epsilon=3, bounds=(0.0, 1.0)))
    attack = Watched(steps=5, points=points)
    made.play(attack)
    inputs = torch.from_numpy(made.samples.inputs)
    points_seen = inputs + 3 * attack.log[0]
    changed = attack.log[0] != 0
    assert (changed.sum(dim=1) == 3).all()
    at_bounds = ((points_seen.abs() < 1e-6) | ((points_seen - 1).abs() < 1e-6))[changed]
    assert at_bounds.all() if points == "corners" else at_bounds.double().mean() < 0.1


def test_an_unknown_kind() -> None:
    with pytest.raises(UsageError, match="noise: points is one of both, uniform, corners, got 'edges'"):
        Noise(points="edges")


@pytest.mark.parametrize("points", ["both", "uniform", "corners"])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_the_points_are_the_same_however_many_are_asked_at_once(points: str, norm: Norm) -> None:
    made = linear_bench(n=3, distance=0.3, threat=ThreatModel(norm=norm)).at(0.1)
    seen = []
    for at_once in (1, 3, 4, 12):
        attack = Asking(steps=12 // at_once, points=points, at_once=at_once)
        trial = made.play(attack)
        assert trial.ledger.spent.tolist() == [[0, 0, 13]] * 3
        assert attack.cost(2) == (13, 0)
        asked = [torch.cat([x[owner == row] for x, owner in attack.log]) for row in range(3)]
        seen.append(torch.stack(asked))
    assert all(torch.allclose(seen[0], other, rtol=0, atol=1e-6) for other in seen[1:])
    assert len(seen[0].flatten(0, 1).unique(dim=0)) == 36


@dataclass(frozen=True, kw_only=True)
class Asking(Noise):
    """Keeps what was asked, and for which row."""

    log: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def query(self, problem: Problem, rows: Rows) -> Query:
        query = super().query(problem, rows)
        owner = torch.arange(len(problem)) if query.owner is None else query.owner
        self.log.append((query.points, owner))
        return query


def test_points_at_once_are_at_least_one() -> None:
    with pytest.raises(UsageError, match="noise: at_once is at least 1, got 0"):
        Noise(at_once=0)


def test_it_needs_labels_alone() -> None:
    made = replace(linear_bench(n=20, distance=0.01).at(0.1), access=Access.DECISION)
    trial = made.play(Noise(steps=40))
    assert trial.row.status == "ran"
    assert trial.broken.sum() > 15
    assert trial.row.forwards == 0


def test_it_spends_one_query_a_point() -> None:
    trial = linear_bench(n=5, distance=0.3).at(0.1).play(Noise(steps=8))
    assert trial.ledger.spent.tolist() == [[0, 0, 9]] * 5


def test_it_stays_inside_the_bounds() -> None:
    made = linear_bench(n=20, distance=0.3, threat=ThreatModel(bounds=(0.0, 1.0))).at(0.9)
    trial = made.play(Noise(steps=4))
    assert "outside the bounds" not in trial.row.rejected
    assert all(((x >= 0) & (x <= 1)).all() for x in trial.ledger.adversarial.values())
    assert np.isfinite(trial.ledger.best).all()


def test_it_is_right() -> None:
    check_attack(Noise(steps=4), seeds=1, must_break=False)
    check_threats(Noise(steps=4))
    check_threats(Noise(steps=2, at_once=3))

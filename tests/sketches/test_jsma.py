"""JSMA (Papernot et al. 2016): the Jacobian by one query, the best pair of features pushed to its bound.

The norm is l0. Rows end by themselves (`done`) where no pair helps any more. Source of the pairs' known scores: the
Jacobian below worked out by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import Bench, LinearTarget
from auditor.threat import Goal, Norm, ThreatModel

JACOBIAN = np.array([[3, 1, -1, 2, 0], [-1, -2, 1, 1, -1], [-1, -1, -2, -1, -1]], np.float32)


@dataclass(frozen=True, kw_only=True)
class JSMARows(Rows):
    """point: the input with the features changed so far. free: features that may still be changed."""

    point: Tensor
    free: Tensor


@dataclass(frozen=True, kw_only=True)
class JSMA(Attack):
    name: ClassVar[str] = "jsma"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L0})

    steps: int = 10
    theta: float = 1.0

    def start(self, problem: Problem) -> JSMARows:
        if bool((problem.targets < 0).any()):
            raise UsageError("jsma heads for one class; give --goal targeted:K.")
        return JSMARows(x=problem.inputs, point=problem.inputs, free=self.room(problem, problem.inputs) > 0)

    def room(self, problem: Problem, points: Tensor) -> Tensor:
        return problem.upper - points if self.theta > 0 else points - problem.lower

    def query(self, problem: Problem, rows: JSMARows) -> Query:
        every = torch.eye(problem.classes, dtype=rows.point.dtype).expand(len(problem), -1, -1)
        return Query(points=rows.point, cotangents=every, probes=~problem.contains(rows.point))

    def step(self, problem: Problem, rows: JSMARows, reply: Reply) -> JSMARows:
        score = pair_scores(reply.need_gradients().flatten(2), problem.targets, rows.free.flatten(1), self.theta)
        d = score.shape[1]
        value, pair = score.flatten(1).max(dim=1)
        ending = value <= 0
        both = torch.stack([pair // d, pair % d], dim=1)
        move = torch.zeros_like(rows.point).flatten(1).scatter(1, both, self.theta).reshape(rows.point.shape)
        point = (rows.point + move).clamp(problem.lower, problem.upper)
        point = torch.where(problem.wide(ending), rows.point, point)
        x = torch.where(problem.wide(problem.contains(point)), point, problem.inputs)
        return JSMARows(x=x, point=point, free=rows.free & (self.room(problem, point) > 0), done=ending)


def pair_scores(jacobian: Tensor, targets: Tensor, free: Tensor, theta: float) -> Tensor:
    """-αβ of each pair of features `[batch, d, d]`, upper triangle; 0 where the pair does not help."""
    towards = jacobian.gather(1, targets[:, None, None].expand(-1, 1, jacobian.shape[2]))[:, 0]
    against = jacobian.sum(dim=1) - towards
    alpha = towards[:, :, None] + towards[:, None, :]
    beta = against[:, :, None] + against[:, None, :]
    helps = (alpha > 0) & (beta < 0) if theta > 0 else (alpha < 0) & (beta > 0)
    helps &= (free[:, :, None] & free[:, None, :]).triu(diagonal=1)
    return torch.where(helps, -alpha * beta, 0)


@pytest.mark.parametrize(
    ("target", "theta", "expected"),
    [
        (0, 1.0, {(0, 1): 20.0, (0, 4): 12.0, (0, 3): 10.0, (1, 2): 0.0, (2, 4): 0.0}),
        (1, -1.0, {(0, 1): 6.0, (0, 4): 2.0, (1, 3): 1.0}),
    ],
)
def test_pairs_of_the_worked_example(target: int, theta: float, expected: dict[tuple[int, int], float]) -> None:
    free = torch.ones(1, 5, dtype=torch.bool)
    score = pair_scores(torch.from_numpy(JACOBIAN)[None], torch.tensor([target]), free, theta)[0]
    assert {pair: float(score[pair]) for pair in expected} == expected
    best = max(expected, key=expected.__getitem__)
    assert divmod(int(score.argmax()), 5) == best


def bench(epsilon: float, bias: list[float], target: int = 0, high: float = 1.0) -> Bench:
    samples = Samples(inputs=np.zeros((1, 5), np.float32), labels=np.array([2]), ids=np.arange(1))
    threat = ThreatModel(norm=Norm.L0, epsilon=epsilon, bounds=(0.0, high), goal=Goal(target))
    return Bench(target=LinearTarget(JACOBIAN, np.array(bias)), samples=samples, threat=threat)


def test_the_first_pair_is_pushed_to_its_bound() -> None:
    """Features 0 and 1 raise class 0 by 4 and lower class 2 by 2, which closes a gap of 5."""
    trial = bench(2.0, [0.0, 0.0, 5.0]).play(JSMA())
    assert trial.broken.all()
    assert trial.ledger.adversarial[0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert trial.ledger.distance[0] == 2.0


def test_a_feature_may_go_anywhere_within_the_bounds() -> None:
    """epsilon counts features: two of them, moved by 3 each, close a gap of 17."""
    trial = bench(2.0, [0.0, 0.0, 17.0], high=3.0).play(JSMA(theta=3.0))
    assert trial.ledger.adversarial[0].tolist() == [3.0, 3.0, 0.0, 0.0, 0.0]


def test_saturated_features_leave_the_search() -> None:
    """After (0, 1) the best pair of the rest is (3, 4): α 2, β -2; together they close a gap of 9."""
    trial = bench(4.0, [0.0, 0.0, 9.0]).play(JSMA())
    assert trial.ledger.adversarial[0].tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_a_row_whose_pairs_are_used_up_ends_by_itself() -> None:
    trial = bench(5.0, [0.0, 0.0, 50.0]).play(JSMA(steps=100))
    assert not trial.broken.any()
    assert trial.row.forwards == 3 + 1
    assert trial.row.rejected == {"not misclassified": 1}


def test_more_features_than_epsilon_are_not_proposed() -> None:
    trial = bench(3.0, [0.0, 0.0, 9.0]).play(JSMA())
    assert not trial.broken.any()
    assert "outside the ball" not in trial.row.rejected


def test_it_says_what_it_needs() -> None:
    made = bench(2.0, [0.0, 0.0, 5.0])
    open_goal = Bench(target=made.target, samples=made.samples, threat=ThreatModel(norm=Norm.L0, epsilon=2.0))
    row = open_goal.play(JSMA()).row
    assert (row.status, row.reason) == ("error", "jsma heads for one class; give --goal targeted:K.")

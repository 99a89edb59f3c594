"""APGD: the published schedule, steps that halve when nothing improves, and the closed form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.apgd import APGD, APGDRows, checkpoint
from auditor.plugins.attacks.pgd import PGD

from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel

EXACT = Execution(device="cpu", threads=1, precision="float64")


@dataclass(frozen=True, kw_only=True)
class Watched(APGD):
    """Keeps every row that it returns."""

    log: list[APGDRows] = field(default_factory=list)

    def step(self, problem: Problem, rows: APGDRows, reply: Reply) -> APGDRows:
        self.log.append(super().step(problem, rows, reply))
        return self.log[-1]


def bench(n: int = 1, classes: int = 2, **options: Any) -> Bench:
    threat = ThreatModel(**({"epsilon": 0.01} | options))
    return replace(linear_bench(n=n, classes=classes, seed=1, threat=threat), execution=EXACT)


def test_checkpoints_are_the_published_ones() -> None:
    """p = 0, .22, then the distance shrinks by .03 to no less than .06 (Croce and Hein 2020, section 3.1)."""
    due, since = checkpoint(100, torch.arange(101))
    assert due.nonzero()[:, 0].tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert since[due].tolist() == [22, 19, 16, 13, 10, 7, 6, 6]


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 1000])
def test_checkpoints_of_any_number_of_steps(steps: int) -> None:
    due, since = checkpoint(steps, torch.arange(steps + 1))
    ages = due.nonzero()[:, 0].tolist()
    assert ages, "at least one"
    assert [b - a for a, b in zip([0, *ages], ages, strict=False)] == since[due].tolist()


def test_the_step_starts_at_two_epsilon_and_halves_when_nothing_improves() -> None:
    made = bench()
    target = made.target
    assert isinstance(target, LinearTarget)
    made = replace(made, target=LinearTarget(0 * target.weight, np.array([1.0, 0.0])))
    made = replace(made, samples=replace(made.samples, labels=np.zeros(1, np.int64)))
    attack = Watched(steps=100)
    assert not made.play(attack).broken.any()
    lengths = [float(rows.length[0]) for rows in attack.log]
    changes = {age: length for age, length in enumerate(lengths) if age and length != lengths[age - 1]}
    assert lengths[0] == 2.0
    assert changes == {22: 1.0, 41: 0.5, 57: 0.25, 70: 0.125, 80: 2**-4, 87: 2**-5, 93: 2**-6, 99: 2**-7}


def test_the_loss_kept_never_falls_and_belongs_to_the_point_kept() -> None:
    made = bench(classes=5, epsilon=0.05)
    attack = Watched(steps=60, loss="margin")
    made.play(attack)
    best = [float(rows.best_loss[0]) for rows in attack.log]
    assert best == sorted(best)
    target = made.target
    assert isinstance(target, LinearTarget)
    for rows in attack.log:
        scores = target.weight.astype(float) @ rows.best[0].numpy() + target.bias
        label = int(made.samples.labels[0])
        assert float(rows.best_loss[0]) == pytest.approx(np.delete(scores, label).max() - scores[label], abs=1e-6)


@dataclass(frozen=True, kw_only=True)
class Bumpy(APGD):
    """Climbs the margin at even ages and falls at odd ones; keeps what it was told and what it kept."""

    log: list[tuple[torch.Tensor, float, torch.Tensor, float]] = field(default_factory=list)

    def objective(self, scores: torch.Tensor, problem: Problem, rows: APGDRows) -> torch.Tensor:
        return problem.loss("margin", scores) * torch.where(problem.ages % 2 == 0, 1, 5)

    def step(self, problem: Problem, rows: APGDRows, reply: Reply) -> APGDRows:
        after = super().step(problem, rows, reply)
        self.log.append((rows.x, float(reply.need_loss()[0]), after.best, float(after.best_loss[0])))
        return after


def test_a_loss_that_falls_does_not_replace_the_best_point() -> None:
    attack = Bumpy(steps=30)
    assert not bench().play(attack).broken.any()
    losses = [loss for _, loss, _, _ in attack.log]
    assert losses != sorted(losses)
    for age, (_, _, best, best_loss) in enumerate(attack.log):
        first = int(np.argmax(losses[: age + 1]))
        assert best_loss == losses[first]
        assert torch.equal(best, attack.log[first][0])


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_on_two_classes_it_ends_at_the_worst_point(norm: Norm, loss: str) -> None:
    made = bench(n=10, norm=norm)
    target = made.target
    assert isinstance(target, LinearTarget)
    slope = (target.weight[0] - target.weight[1]).astype(float)
    before = np.abs(made.samples.inputs.astype(float) @ slope + float(target.bias[0] - target.bias[1]))
    worst = before - 0.01 * np.linalg.norm(slope, ord=1 if norm is Norm.LINF else 2)
    trial = made.play(APGD(loss=loss))
    standing = ~trial.broken
    assert standing.sum() > 5
    np.testing.assert_allclose(trial.ledger.margin[standing], worst[standing], atol=1e-4)


def test_it_is_at_least_as_strong_as_pgd_at_equal_cost() -> None:
    made = bench(n=60, classes=8, epsilon=0.06)
    apgd, pgd = made.play(APGD(steps=20, loss="margin")), made.play(PGD(steps=20, loss="margin"))
    assert apgd.broken.sum() >= pgd.broken.sum() > 10
    assert apgd.ledger.spent[~apgd.broken][0, :2].tolist() == [21, 20]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_start_is_on_the_edge_in_a_random_direction(weighted: bool) -> None:
    weights = np.linspace(0.5, 2, 12) if weighted else None
    for norm in (Norm.LINF, Norm.L2):
        attack = Watched(steps=1)
        starts: list[torch.Tensor] = []
        made = bench(n=20, norm=norm, weights=weights)

        class Starting(Watched):
            def start(self, problem: Problem) -> APGDRows:
                rows = super().start(problem)
                change = (rows.x - problem.inputs) / (1 if problem.weights is None else problem.weights)
                starts.append(change)  # noqa: B023 - read in this turn of the loop
                return rows

        made.play(Starting(steps=attack.steps))
        sizes = starts[0].abs().amax(dim=1) if norm is Norm.LINF else starts[0].norm(dim=1)
        np.testing.assert_allclose(sizes, 0.01, rtol=1e-3)
        assert len(starts[0].unique(dim=0)) == 20


def test_it_is_right() -> None:
    check_attack(APGD(), seeds=2)
    check_attack(APGD(loss="dlr"), seeds=1)

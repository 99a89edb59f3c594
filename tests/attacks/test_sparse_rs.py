"""Sparse-RS: the published schedule, exactly epsilon features at bounds, and as few as possible on linear models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.sparse_rs import SparseRS, SparseRSRows

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Watched(SparseRS):
    """Keeps the point kept, the proposal and the loss kept of every step."""

    log: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def step(self, problem: Problem, rows: SparseRSRows, reply: Reply) -> SparseRSRows:
        after = super().step(problem, rows, reply)
        self.log.append((after.best, after.x, after.best_loss))
        return after


def bench(shape: tuple[int, ...] = (12,), n: int = 8, epsilon: float = 3.0, seed: int = 0, **options: Any) -> Bench:
    threat = ThreatModel(norm=Norm.L0, epsilon=epsilon, **({"bounds": (0.0, 1.0)} | options))
    return linear_bench(shape=shape, n=n, seed=seed, threat=threat)


def standing(made: Bench, by: float = 1e3) -> Bench:
    """With one label whose score is so far ahead everywhere that nothing falls, or nothing easily."""
    assert isinstance(made.target, LinearTarget)
    scores = made.samples.inputs.reshape(len(made.samples), -1) @ made.target.weight.T
    bias = np.array([by + (scores[:, 1] - scores[:, 0]).max(), 0.0])
    target = LinearTarget(made.target.weight, bias, made.target.shape)
    return replace(made, target=target, samples=replace(made.samples, labels=np.zeros(len(made.samples), np.int64)))


def test_the_schedule_is_the_published_one() -> None:
    """Divided by 2, 4, 5, 6, 8, 10, 12, 15 and 20 after 0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000 of 10,000."""
    ages = torch.tensor([0, 1, 50, 51, 200, 201, 501, 1001, 2001, 4001, 6001, 8001, 10_000])
    share = SparseRS(steps=10_000, alpha=0.8).share(ages)
    assert (0.8 / share).tolist() == pytest.approx([1, 2, 2, 4, 4, 5, 6, 8, 10, 12, 15, 20, 20])
    assert (0.8 / SparseRS(steps=1000).share(torch.tensor([5, 6, 801]))).tolist() == pytest.approx([2, 4, 20])


@pytest.mark.parametrize("shape", [(40,), (3, 6, 6)])
def test_every_proposal_has_epsilon_features_at_bounds_and_exchanges_few(shape: tuple[int, ...]) -> None:
    attack = Watched(steps=60)
    made = standing(bench(shape, n=4, epsilon=10.0))
    made.play(attack)
    for age, (best, x, _) in enumerate(attack.log):
        for points in (best, x):
            changed = (points.numpy() != made.samples.inputs).reshape(4, -1)
            assert (changed.sum(axis=1) == 10).all()
            assert np.isin(points.numpy().reshape(4, -1)[changed], (0, 1)).all()
        most = max(int(float(SparseRS(steps=60).share(torch.tensor([age + 1]))) * 10), 1)
        moved = (x != best).flatten(1)
        back = (moved & (x.flatten(1) == torch.from_numpy(made.samples.inputs.reshape(4, -1)))).sum(dim=1)
        assert moved.any(dim=1).all(), "no query is spent on the point kept"
        assert (back <= most).all()
        assert (moved.sum(dim=1) <= 2 * most).all()
        assert (moved.sum(dim=1) >= most).all()
    assert len(np.unique(attack.log[0][0].flatten(1).numpy() == made.samples.inputs.reshape(4, -1), axis=0)) == 4


@pytest.mark.parametrize(("seed", "by"), [(0, 1.5), (1, 1.0), (2, 3.0)])
def test_it_breaks_with_as_few_features_as_a_linear_model_allows(seed: int, by: float) -> None:
    made = standing(bench(n=12, seed=seed), by)
    radii = made.target.radii(made.samples, made.threat)  # type: ignore[attr-defined]
    met = [radius for radius in np.unique(radii) if np.isfinite(radius)]
    assert len(met) > 1
    assert max(met) >= 3
    for radius in met:
        part = replace(made, samples=made.samples.take(radii == radius))
        assert part.at(radius).play(SparseRS(steps=400)).broken.all(), radius
        assert not part.at(radius - 1).play(SparseRS(steps=50)).broken.any()


def test_a_feature_turns_to_its_other_bound_where_all_have_changed() -> None:
    """Four features, all of which may change: the best corner is found though nothing can be exchanged."""
    made = standing(bench((4,), n=6, epsilon=9.0))
    attack = Watched(steps=100)
    made.play(attack)
    assert isinstance(made.target, LinearTarget)
    corner = (made.target.weight[1] > made.target.weight[0]).astype(np.float32)
    np.testing.assert_array_equal(attack.log[-1][0].numpy(), np.broadcast_to(corner, (6, 4)))


def test_frozen_features_stay_and_unbounded_ones_go_a_weight_away() -> None:
    frozen, weights = np.arange(12) % 3 == 0, np.linspace(0.5, 2, 12)
    attack = Watched(steps=30)
    made = standing(bench(epsilon=4.0, frozen=frozen, weights=weights, bounds=None))
    assert made.play(attack).row.rejected == {}
    for _, x, _ in attack.log:
        change = x.numpy() - made.samples.inputs
        assert not change[:, frozen].any()
        assert ((change != 0).sum(axis=1) == 4).all()
        size = np.abs(change / weights)
        np.testing.assert_allclose(size[change != 0], 1, rtol=1e-5)


def test_a_feature_at_a_bound_goes_to_the_other_one() -> None:
    made = standing(bench(epsilon=12.0))
    made = replace(made, samples=replace(made.samples, inputs=np.ones_like(made.samples.inputs)))
    rows = SparseRS().start(made.problem())
    assert (rows.x == 0).all()


def test_less_than_a_feature_is_none() -> None:
    trial = bench(epsilon=0.5).play(SparseRS(steps=5))
    assert trial.row.status == "ran", trial.row.reason
    assert not trial.broken.any()


def test_what_is_no_worse_is_kept_and_what_is_worse_is_not() -> None:
    problem = bench(n=3).problem()
    attack = SparseRS()
    rows = attack.start(problem)

    def replied(*loss: float) -> Reply:
        owner = torch.arange(3)
        return Reply(points=rows.x, owner=owner, labels=owner, loss=torch.tensor(loss))

    first = rows.x
    rows = attack.step(problem, rows, replied(1.0, 1.0, 1.0))
    second = rows.x
    rows = attack.step(replace(problem, ages=problem.ages + 1), rows, replied(0.5, 1.0, 2.0))
    assert torch.equal(rows.best, torch.stack([first[0], second[1], second[2]]))
    assert rows.best_loss.tolist() == [1, 1, 2]
    assert torch.equal(rows.best_changed, rows.best != problem.inputs)


def test_a_goal_among_three_classes() -> None:
    threat = ThreatModel(norm=Norm.L0, epsilon=6.0, bounds=(-0.5, 1.25), goal=Goal(2))
    made = linear_bench(classes=3, shape=(4, 4), n=12, seed=1, threat=threat)
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    trial = made.play(SparseRS(steps=300))
    assert trial.broken.all()
    assert set(trial.ledger.label) == {2}


def test_it_needs_scores_and_one_query_a_step() -> None:
    trial = replace(standing(bench(n=4)), access=Access.SCORE).play(SparseRS(steps=9))
    assert trial.ledger.spent.tolist() == [[0, 0, 10]] * 4
    assert SparseRS(steps=9).cost(2) == (10, 0)


@pytest.mark.parametrize("alpha", [0.0, 1.01, -1.0, float("nan")])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(UsageError, match="sparse-rs: alpha is above 0 and at most 1"):
        SparseRS(alpha=alpha)


def test_it_is_right() -> None:
    check_attack(SparseRS(steps=100), seeds=1)

"""Friendly PGD: PGD that freezes a while after the boundary, and what sets that while."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.friendly import FriendlyPGD, FriendlyRows
from auditor.plugins.attacks.pgd import PGD
from torch.nn.functional import cross_entropy
from walks import check_threats, walk

from auditor.attack import Reply, Rows
from auditor.bench import Bench, linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

STEP = 7 / 31


def bench(epsilon: float = 0.2, **options: Any) -> Bench:
    return linear_bench(classes=4, n=60, seed=1, threat=ThreatModel(epsilon=epsilon, **options))


def loss(made: Bench, rows: Rows) -> torch.Tensor:
    scores = torch.from_numpy(made.target.scores(rows.x.numpy(), batch=64))
    return cross_entropy(scores, made.problem().labels, reduction="none")


def wrong(made: Bench, rows: list[Rows]) -> torch.Tensor:
    """Which points are misclassified, `[ages, n]`."""
    labels = [torch.from_numpy(made.target.labels(row.x.numpy(), batch=64)) for row in rows]
    return torch.stack(labels) != made.problem().labels


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
@pytest.mark.parametrize("loss", ["ce", "kl"])
def test_with_spare_steps_for_all_and_no_noise_it_is_pgd(norm: Norm, loss: str) -> None:
    made = bench(0.5, norm=norm, bounds=(0.0, 1.0))
    options: dict[str, Any] = {"steps": 10, "rel_step": STEP, "loss": loss}
    friendly, pgd = FriendlyPGD(tau=10, omega=0.0, **options), PGD(**options)
    for one, other in zip(walk(made, friendly)[0], walk(made, pgd)[0], strict=True):
        assert one.x.numpy().tobytes() == other.x.numpy().tobytes()
    one, other = made.play(friendly, restarts=2).ledger, made.play(pgd, restarts=2).ledger
    assert one.best.tobytes() == other.best.tobytes()
    assert one.spent.tolist() == other.spent.tolist()


@pytest.mark.parametrize("tau", [0, 1, 3])
def test_a_row_stays_at_its_misclassified_point_after_tau_others(tau: int) -> None:
    made = bench()
    rows, _ = walk(made, FriendlyPGD(steps=12, tau=tau, rel_step=0.1))
    reached = wrong(made, rows[:-1])
    count = reached.long().cumsum(dim=0)
    frozen = 0
    for i in range(60):
        ages = (count[:, i] > tau).nonzero()[:, 0]
        last = rows[-1]
        assert last.done is not None
        assert bool(last.done[i]) == bool(len(ages))
        if len(ages):
            first = int(ages[0])
            assert first > 0 or reached[0, i]
            assert all(torch.equal(row.x[i], rows[first].x[i]) for row in rows[first:])
            assert not any(torch.equal(row.x[i], rows[first].x[i]) for row in rows[:first])
            frozen += 1
    assert 10 < frozen < 60


def test_frozen_at_once_it_is_misclassified_with_less_loss_than_pgd() -> None:
    made = bench()
    friendly = walk(made, FriendlyPGD(omega=0.0))[0][-1]
    pgd = walk(made, PGD(steps=10, rel_step=STEP))[0][-1]
    assert friendly.done is not None
    assert wrong(made, [friendly])[0][friendly.done].all()
    gentle, harsh = loss(made, friendly), loss(made, pgd)
    assert gentle.mean() < harsh.mean() - 0.1
    assert torch.equal(gentle[~friendly.done], harsh[~friendly.done])


def reply(problem: Problem, rows: Rows, labels: list[int]) -> Reply:
    return Reply(
        points=rows.x,
        owner=torch.arange(len(problem)),
        labels=torch.tensor(labels),
        gradient=torch.zeros_like(rows.x),
    )


def by_hand(attack: FriendlyPGD, labels: list[list[int]], goal: int = -1) -> list[FriendlyRows]:
    """Rows of three samples of class 0 after each of these answers."""
    problem = linear_bench(classes=3, n=3, seed=2).at(0.1).problem()
    problem = replace(problem, labels=torch.zeros(3).long(), targets=torch.full((3,), goal))
    rows = [attack.start(problem)]
    for age, seen in enumerate(labels):
        now = problem.at(torch.full((3,), age), 2)
        rows.append(attack.step(now, rows[-1], reply(now, rows[-1], seen)))
    return rows


def test_it_counts_misclassified_points_of_each_row_on_its_own() -> None:
    rows = by_hand(FriendlyPGD(tau=1), [[1, 0, 2], [0, 0, 0], [2, 1, 0], [0, 0, 0], [0, 1, 1]])
    done = [row.done.tolist() for row in rows if row.done is not None]
    assert done == [[False] * 3] * 3 + [[True, False, False]] * 2 + [[True] * 3]
    assert [row.spare.tolist() for row in rows] == [[1, 1, 1], [0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_with_a_target_only_its_class_counts() -> None:
    rows = by_hand(FriendlyPGD(tau=0), [[1, 2, 0]], goal=2)
    assert rows[-1].done is not None
    assert rows[-1].done.tolist() == [False, True, False]
    assert torch.equal(rows[-1].x[1], rows[0].x[1])
    assert Goal(2).target == 2
    assert bench(goal=Goal(2)).play(FriendlyPGD()).broken.any()


def test_each_step_has_noise_of_its_own() -> None:
    problem = linear_bench(n=40, shape=(3, 8, 8), seed=2).at(0.1).problem()
    attack = FriendlyPGD(omega=0.002)
    rows = replace(attack.start(problem), x=problem.inputs)
    moves = []
    for age in range(2):
        now = problem.at(torch.full_like(problem.ages, age), 2)
        after = attack.step(now, rows, reply(now, rows, problem.labels.tolist()))
        moves.append((after.x - rows.x).double())
    for move in moves:
        np.testing.assert_allclose(move.std(), 0.002, rtol=0.03)
        assert abs(float(move.mean())) < 1e-4
        assert float((move**4).mean() / 0.002**4) == pytest.approx(3, abs=0.3)
    assert float((moves[0] * moves[1]).mean()) / 0.002**2 == pytest.approx(0, abs=0.05)


def test_noise_keeps_to_weights_and_frozen_features() -> None:
    weights, frozen = np.full(12, 5.0, np.float32), np.arange(12) < 4
    made = linear_bench(n=200, seed=2, threat=ThreatModel(epsilon=0.1, weights=weights, frozen=frozen))
    problem = made.problem()
    rows = replace(FriendlyPGD().start(problem), x=problem.inputs)
    move = FriendlyPGD().step(problem, rows, reply(problem, rows, problem.labels.tolist())).x - problem.inputs
    assert (move[:, :4] == 0).all()
    np.testing.assert_allclose(move[:, 4:].double().std(), 0.005, rtol=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tau": -1}, "tau is"),
        ({"omega": -0.1}, "omega is"),
        ({"omega": float("nan")}, "omega is"),
        ({"loss": "l"}, "loss is one of"),
    ],
)
def test_what_it_does_not_take(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"friendly: {words}"):
        FriendlyPGD(**options)


def test_it_is_right() -> None:
    check_attack(FriendlyPGD(steps=30, tau=2), seeds=1)
    check_threats(FriendlyPGD(steps=3))

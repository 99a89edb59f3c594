"""The walk along the boundary: across at the same distance, inwards where that holds, from the best point so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.walk import EVERY, HALVE, SEEK, WALK, Walk, WalkRows
from walks import check_threats

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.suite import Stage
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Watched(Walk):
    """Keeps the rows before and after each reply."""

    log: list[tuple[WalkRows, Reply, WalkRows]] = field(default_factory=list)

    def step(self, problem: Problem, rows: WalkRows, reply: Reply) -> WalkRows:
        assert reply.scores is None
        moved = super().step(problem, rows, reply)
        self.log.append((rows, reply, moved))
        return moved


@pytest.mark.parametrize(("norm", "within"), [(Norm.L2, 1.05), (Norm.LINF, 1.05)])
def test_from_far_it_comes_close_to_the_closed_form(norm: Norm, within: float) -> None:
    threat = ThreatModel(norm=norm, bounds=(-3.0, 3.0))
    bench = linear_bench(seed=4, shape=(30,), threat=threat, n=6, distance=0.1)
    attack = Watched(steps=900)
    found = bench.play(attack, distance=True).ledger.nearest
    assert (attack.log[1][0].high > 0.5).any(), "it began far away"
    assert ((found >= 0.1 * (1 - 1e-5)) & (found <= 0.1 * within)).all()
    assert bench.at(0.11).play(Walk(steps=900)).broken.all()
    assert not bench.at(0.099).play(Walk(steps=200)).broken.any()


@pytest.mark.parametrize("norm", Walk.norms)
def test_it_stays_adversarial_and_never_goes_outwards(norm: Norm) -> None:
    attack = Watched(steps=150)
    bench = linear_bench(seed=4, shape=(20,), threat=ThreatModel(norm=norm), n=5, distance=0.1)
    bench.play(attack, distance=True)
    problem, ahead = bench.at(1.0).problem(), set()
    for before, reply, after in attack.log:
        walks = before.phase == WALK
        assert (after.high <= before.high)[walks].all()
        size = problem.size(reply.points)
        test = walks & (before.turn % EVERY == EVERY - 1)
        assert torch.allclose(size[test], before.high[test], rtol=1e-4), "a test goes across alone"
        step = walks & ~test
        assert (size[step] <= (before.high * (1 - before.inward))[step] * (1 + 1e-4)).all()
        points = after.edge[after.phase == WALK].numpy()
        labels = bench.samples.labels[(after.phase == WALK).numpy()]
        assert (bench.target.labels(points, batch=64) != labels).all()
        ahead |= set(before.phase.tolist())
    assert ahead == {SEEK, HALVE, WALK}


def test_lengths_adapt_to_how_many_steps_hold() -> None:
    """Steps that were far too long become shorter, those that were far too short longer."""
    bench = linear_bench(seed=4, shape=(200,), threat=ThreatModel(norm=Norm.L2), n=4, distance=0.1)
    long, short = Watched(steps=300, across=0.5, inward=0.5), Watched(steps=300, across=1e-3, inward=1e-4)
    for attack in (long, short):
        bench.play(attack, distance=True)
    assert (long.log[-1][2].inward < 0.1).all()
    assert (short.log[-1][2].inward > 1e-3).all()
    assert (short.log[-1][2].across > 4e-3).all()


def test_it_goes_on_from_the_best_point_and_outwards_where_that_is_not_adversarial() -> None:
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), shape=(40,), n=6, distance=0.1).at(0.099)
    warm, cold = Watched(steps=12), Watched(steps=12, warm=False)
    for attack in (warm, cold):
        pgd = Stage(attack=PGD(steps=40), title="pgd")
        ledger, _ = bench.play_suite([pgd, Stage(attack=attack, title="walk")])
        assert not ledger.broken.any()
    first = warm.log[0]
    assert (bench.target.labels(first[1].points.numpy(), batch=64) == bench.samples.labels).all()
    problem = bench.problem()
    assert torch.allclose(problem.size(first[1].points), torch.full((6,), 0.099), rtol=1e-2)
    sizes = [problem.size(reply.points) for _, reply, _ in warm.log[:2]]
    assert torch.allclose(sizes[1], 1.02 * sizes[0], rtol=1e-4)
    assert (warm.log[-1][2].high < 0.12).all()
    assert (cold.log[-1][2].high > 0.15).all()


def test_with_no_best_point_it_begins_at_random_and_points_differ() -> None:
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2, bounds=(0.0, 1.0)), shape=(40,), n=6).at(0.01)
    attack = Watched(steps=1)
    bench.play(attack)
    change = attack.log[0][1].points - bench.problem().inputs
    assert (bench.problem().size(attack.log[0][1].points) > 0.5).all()
    assert len(change.round(decimals=5).unique(dim=0)) == 6


def test_every_query_is_metered() -> None:
    bench = replace(linear_bench(seed=4, n=5, distance=0.1).at(0.05), access=Access.DECISION)
    assert bench.play(Walk(steps=37)).ledger.spent.tolist() == [[0, 0, 38]] * 5
    assert Walk(steps=37).cost(2) == (38, 0)


@pytest.mark.parametrize("norm", Walk.norms)
def test_rows_of_any_age_keep_house_side_by_side(norm: Norm) -> None:
    bench = linear_bench(seed=4, threat=ThreatModel(norm=norm), n=12).at(0.1)
    narrow = replace(bench, execution=Execution(device="cpu", threads=1, width=5))
    one, other = (each.play(Walk(steps=80)).ledger for each in (bench, narrow))
    assert set(one.broken) == {False, True}
    assert np.array_equal(one.broken, other.broken)
    assert np.array_equal(one.spent, other.spent)


@pytest.mark.parametrize("name", ["across", "inward"])
@pytest.mark.parametrize("value", [0.0, 0.6])
def test_lengths_are_shares(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"walk: {name} is above 0 and at most 0.5"):
        Walk(**{name: value})  # type: ignore[arg-type]


def test_it_is_right() -> None:
    check_attack(Walk(steps=400), above=1.1, seeds=1)
    check_threats(Walk(steps=40))

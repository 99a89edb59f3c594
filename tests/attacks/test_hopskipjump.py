"""HopSkipJump: labels only, rows in different phases with different numbers of probes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.hopskipjump import ESTIMATE, HALVE, JUMP, SEEK, HopRows, HopSkipJump
from auditor.plugins.attacks.pgd import PGD
from walks import check_threats

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.suite import Stage
from auditor.testing import LinearTarget, check_attack
from auditor.threat import Goal, Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Watched(HopSkipJump):
    """Keeps the rows after each reply, and how many points each had asked about."""

    log: list[tuple[HopRows, torch.Tensor, HopRows]] = field(default_factory=list)

    def step(self, problem: Problem, rows: HopRows, reply: Reply) -> HopRows:
        assert reply.scores is None
        before = replace(rows, every=rows.every.clone(), hits=rows.hits.clone())
        moved = super().step(problem, rows, reply)
        self.log.append((before, torch.bincount(reply.owner, minlength=len(problem)), moved))
        return moved


@pytest.mark.parametrize("norm", HopSkipJump.norms)
def test_comes_close_to_the_nearest_boundary_from_labels_alone(norm: Norm) -> None:
    bench = linear_bench(seed=4, threat=ThreatModel(norm=norm), n=8, distance=0.1)
    trial = bench.at(0.11).play(HopSkipJump(steps=1500))
    assert trial.broken.all()
    assert trial.row.rejected == {}
    assert not bench.at(0.099).play(HopSkipJump(steps=600)).broken.any()
    far = bench.play(HopSkipJump(steps=1500), distance=True).ledger.nearest
    assert ((far >= 0.1 * (1 - 1e-5)) & (far < 0.105)).all()


def test_the_normal_of_a_linear_model_is_found() -> None:
    """A thousand probes in 40 dimensions: the cosine is above sqrt(2 / pi * n / (2 / pi * n + d)) in the mean, 0.97."""
    attack = Watched(steps=1100, probes=1000)
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), shape=(40,), n=6, distance=0.1)
    bench.play(attack, distance=True)
    weight = torch.from_numpy(bench.target.weight[1] - bench.target.weight[0])  # type: ignore[attr-defined]
    uphill = torch.where(torch.from_numpy(bench.samples.labels == 0)[:, None], weight, -weight)
    seen = 0
    for before, _, after in attack.log:
        ready = (before.phase == ESTIMATE) & (after.phase == JUMP) & (after.turn == 1)
        if bool(ready.any()):
            normal = attack._normal(bench.at(1.0).problem(), after)
            cosine = (normal * uphill).sum(dim=1) / uphill.norm(dim=1)
            assert (cosine[ready] > 0.93).all()
            seen += int(ready.sum())
    assert seen == 6


def test_estimates_have_more_and_more_probes_and_jumps_are_geometric() -> None:
    attack = Watched(steps=700, probes=20)
    linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=1, distance=0.1).play(attack, distance=True)
    phases = [int(before.phase[0]) for before, _, _ in attack.log]
    assert set(phases) == {SEEK, HALVE, ESTIMATE, JUMP}
    estimates = [
        (int(after.turn[0]), int(after.count[0]))
        for before, _, after in attack.log
        if int(before.phase[0]) == ESTIMATE and int(after.phase[0]) == JUMP
    ]
    assert [count for _, count in estimates][:4] == [20, 28, 34, 40]
    for before, _, after in attack.log:
        if int(before.phase[0]) == ESTIMATE and int(after.phase[0]) == JUMP:
            assert float(after.reach[0]) == pytest.approx(float(after.high[0]) / float(after.turn[0]) ** 0.5)
        if int(before.phase[0]) == JUMP:
            assert float(after.reach[0]) == pytest.approx(float(before.reach[0]) / 2)


@pytest.mark.parametrize(("steps", "wanted"), [(300, 10), (1500, 30), (6000, 100)])
def test_small_budgets_have_small_estimates(steps: int, wanted: int) -> None:
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=1, distance=0.1)
    attack = Watched(steps=steps)
    rows = replace(attack.start(bench.at(0.05).problem()), phase=torch.tensor([ESTIMATE]))
    assert attack._portion(bench.problem(), rows).tolist() == [wanted]


def test_a_halving_ends_within_the_share_that_the_paper_asks_for() -> None:
    attack = Watched(steps=100)
    linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=4, distance=0.1).play(attack, distance=True)
    ended = 0
    for before, _, after in attack.log:
        over = (before.phase == HALVE) & (after.phase == ESTIMATE)
        wide = (before.high - before.low)[over]
        assert (wide / 2 <= 12**-1.5 * before.high[over]).all()
        assert (wide > 12**-1.5 * after.high[over]).all(), "no earlier than that"
        ended += int(over.sum())
    assert ended >= 4


@pytest.mark.parametrize("steps", [3, 60, 333])
def test_every_probe_is_metered_and_the_budget_is_kept(steps: int) -> None:
    class Counted(LinearTarget):
        asked = 0

        def _run(self, x: np.ndarray) -> np.ndarray:
            self.asked += len(x)
            return super()._run(x)

    plain = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=3, distance=0.1).at(0.05)
    target = Counted(plain.target.weight, plain.target.bias)  # type: ignore[attr-defined]
    trial = replace(plain, target=target, access=Access.DECISION).play(HopSkipJump(steps=steps))
    assert trial.ledger.spent.tolist() == [[0, 0, steps + 1]] * 3
    assert target.asked == 3 * (steps + 1) + 3
    assert HopSkipJump(steps=steps).cost(2) == (steps + 1, 0)


@pytest.mark.parametrize("width", [1, 5])
def test_ragged_rows_do_not_depend_on_their_company(width: int) -> None:
    """Samples enter as slots free up, so rows of one batch are at different turns and feel with different numbers."""
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=12, distance=0.1).at(0.12)
    narrow = replace(bench, execution=Execution(device="cpu", threads=1, width=width))
    one, other = (b.play(Restless(steps=400, probes=30)).ledger for b in (bench, narrow))
    assert np.array_equal(one.broken, other.broken)
    assert np.array_equal(one.spent, other.spent)
    assert 2 <= one.broken.sum() <= 11
    assert all(np.array_equal(one.adversarial[i], other.adversarial[i]) for i in one.adversarial)


@dataclass(frozen=True, kw_only=True)
class Restless(HopSkipJump):
    """Rows give up at different ages, so that others take their places in the middle."""

    name: ClassVar[str] = "restless"

    def step(self, problem: Problem, rows: HopRows, reply: Reply) -> HopRows:
        moved = super().step(problem, rows, reply)
        early = problem.ages >= 15 + 5 * (problem.ids % 4)
        return replace(moved, over=early if moved.over is None else moved.over | early)


def test_estimates_in_portions_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is short an estimate takes several replies; its sums are as good, and cost the same."""
    monkeypatch.setattr("auditor.plugins.attacks.hopskipjump.PORTION", 12 * 7)
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=6, distance=0.1)
    attack = Watched(steps=1000)
    far = bench.play(attack, distance=True).ledger.nearest
    assert (far < 0.106).all()
    assert max(int(asked.max()) for _, asked, _ in attack.log) == 7


def test_a_warm_start_begins_at_the_best_point_walked_outwards() -> None:
    """After a gradient attack that stays just inside: the first adversarial point is a little beyond that one."""
    bench = linear_bench(seed=4, threat=ThreatModel(norm=Norm.L2), n=6, distance=0.1).at(0.099)
    cold, warm = Watched(steps=20), Watched(steps=20, warm=True)
    for attack in (cold, warm):
        bench.play_suite([Stage(attack=PGD(steps=20), title="pgd"), Stage(attack=attack, title="hop")])
    assert (warm.log[-1][2].best_size < 0.12).all()
    assert (cold.log[-1][2].best_size > 0.15).all()


def test_a_goal_among_three_classes() -> None:
    threat = ThreatModel(norm=Norm.L2, epsilon=2.0, bounds=(-0.5, 1.25), goal=Goal(2))
    made = linear_bench(classes=3, shape=(4, 4), n=8, seed=1, threat=threat)
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    trial = made.play(HopSkipJump(steps=600))
    assert trial.broken.all()
    assert set(trial.ledger.label) == {2}


@pytest.mark.parametrize(("options", "message"), [({"probes": -1}, "probes is a number"), ({"gamma": 0.0}, "gamma is")])
def test_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=f"hopskipjump: {message}"):
        HopSkipJump(**options)  # type: ignore[arg-type]


def test_it_is_right() -> None:
    check_attack(HopSkipJump(steps=1000), above=1.1, seeds=1)
    check_threats(HopSkipJump(steps=150, probes=20))

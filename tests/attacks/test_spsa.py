"""SPSA: what it breaks, what it spends, and that rounded scores don't stop it. Its estimate: test_probing.py"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.spsa import SPSA, SPSARows, coins
from rounded import rounded
from torch import Tensor

from auditor.access import Access
from auditor.attack import Query, Reply
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import LinearTarget, check_attack
from auditor.threat import Goal, Norm, ThreatModel


def test_adam_takes_the_first_step_as_far_as_its_rate_along_the_sign() -> None:
    """Adam's first step is its rate along the sign of the gradient; one direction of ones says all go up."""
    made = linear_bench(n=3).at(0.1)
    problem = made.problem()
    attack = SPSA(n=1, delta=0.5, rate=0.25)
    nothing = torch.zeros_like(problem.inputs)
    x = problem.inputs[:, None]
    points = torch.cat([x, x + 0.05, x - 0.05], dim=1).flatten(0, 1)
    owner = torch.arange(9) // 3
    reply = Reply(points=points, owner=owner, labels=owner, loss=points.sum(dim=1))
    after = attack.step(problem, SPSARows(x=problem.inputs, mean=nothing, square=nothing), reply)
    torch.testing.assert_close(after.x, problem.inputs + 0.025, rtol=0, atol=1e-6)
    down = attack.step(
        problem, SPSARows(x=problem.inputs, mean=nothing, square=nothing), replace(reply, loss=-points.sum(dim=1))
    )
    torch.testing.assert_close(down.x, problem.inputs - 0.025, rtol=0, atol=1e-6)


def test_breaks_above_the_distance_and_meters_every_probe() -> None:
    bench = linear_bench(seed=5, n=6, distance=0.1)
    assert bench.at(0.103).play(SPSA(steps=60, n=32, rate=0.1)).broken.all()
    attack = SPSA(steps=5, n=32)
    below = bench.at(0.099).play(attack)
    assert not below.broken.any()
    assert below.row.rejected == {}
    assert below.row.queries == 6 * attack.cost(2)[0] == 6 * (5 * (2 * 32 + 1) + 1)


def test_it_climbs_what_is_rounded_where_a_gradient_says_nothing() -> None:
    """Probes longer than the rounding see the slope, shorter ones next to nothing."""
    made = rounded().at(0.13)
    assert made.play(SPSA(steps=60, n=32, delta=0.3, rate=0.1)).broken.all()
    assert not made.play(SPSA(steps=60, n=32, delta=1e-3, rate=0.1)).broken.all()
    seen = replace(linear_bench(seed=5, n=6, distance=0.1).at(0.13), access=Access.GRADIENT)
    assert seen.play(PGD(steps=20)).broken.all(), "where nothing is masked the two agree"


def test_what_the_target_is_asked_is_booked_though_rows_leave_at_all_times() -> None:
    class Counted(LinearTarget):
        asked = 0

        def _run(self, x: np.ndarray) -> np.ndarray:
            self.asked += len(x)
            return super()._run(x)

    plain = linear_bench(seed=5, n=40, shape=(30,), distance=0.1)
    target = Counted(plain.target.weight, plain.target.bias)  # type: ignore[attr-defined]
    trial = replace(plain, target=target).at(0.13).play(SPSA(n=4, steps=40, rate=0.1))
    assert 0 < trial.broken.sum() < 40
    clean = 40
    assert target.asked == trial.row.queries + clean
    assert target.asked == trial.ledger.spent[:, 2].sum() + clean


def test_no_probe_leaves_the_bounds_though_it_leaves_the_ball() -> None:
    class Strict(LinearTarget):
        least, most = 1.0, 0.0

        def _run(self, x: np.ndarray) -> np.ndarray:
            self.least, self.most = min(self.least, x.min()), max(self.most, x.max())
            return super()._run(x)

    plain = linear_bench(seed=5, n=6, threat=ThreatModel(epsilon=1.0, bounds=(0.0, 1.0)))
    target = Strict(plain.target.weight, plain.target.bias)  # type: ignore[attr-defined]
    trial = replace(plain, target=target).play(SPSA(steps=20, n=16, delta=0.3, rate=0.5))
    assert trial.broken.all()
    assert trial.row.rejected == {}
    assert (target.least, target.most) == (0, 1)


@pytest.mark.parametrize("norm", SPSA.norms)
def test_a_goal_among_three_classes(norm: Norm) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.5 if norm is Norm.LINF else 2.0, bounds=(-0.5, 1.25), goal=Goal(2))
    made = linear_bench(classes=3, shape=(4, 4), n=12, seed=1, threat=threat)
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    trial = made.play(SPSA(steps=40, n=32, rate=0.3))
    assert trial.broken.all()
    assert set(trial.ledger.label) == {2}


def test_a_coin_is_a_bit_and_shows_either_side_as_often() -> None:
    problem = linear_bench(n=50).problem()
    drawn = coins(problem, 7, 11, 13)
    assert drawn.shape == (50, 7, 11, 13)
    assert set(drawn.unique().tolist()) == {-1, 1}
    assert abs(float(drawn.mean())) < 4 / drawn.numel() ** 0.5
    assert abs(float((drawn[..., 1:] * drawn[..., :-1]).mean())) < 4 / drawn.numel() ** 0.5, "neighbours agree"


@pytest.mark.parametrize("width", [4, 64])
def test_the_objective_sees_the_row_and_the_problem_of_each_point(width: int) -> None:
    """Points in any order, asked in pieces: each is weighed by its own row's column and its own sample's id."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    @dataclass(frozen=True, kw_only=True)
    class Weighed(SPSA):
        def start(self, problem: Problem) -> SPSARows:
            x = problem.project(problem.inputs)
            return SPSARows(x=x, mean=10.0 + problem.ids.to(x.dtype), square=torch.zeros_like(x))

        def query(self, problem: Problem, rows: SPSARows) -> Query:
            owner = torch.tensor([2, 0, 1, 2, 3, 0, 1, 1, 3])
            return Query(points=rows.x[owner], owner=owner)

        def objective(self, scores: Tensor, problem: Problem, rows: SPSARows) -> Tensor:
            return 0 * scores[:, 0] + rows.mean + 100 * problem.ids + 1000 * problem.draws.uniform().round()

        def step(self, problem: Problem, rows: SPSARows, reply: Reply) -> SPSARows:
            seen.append((reply.owner, reply.need_loss(), problem.ids))
            return rows

    bench = linear_bench(n=4).at(1e-4)
    made = replace(bench, execution=Execution(device="cpu", threads=1, width=width))
    assert made.play(Weighed(steps=1)).row.status == "ran"
    ((owner, loss, ids),) = seen
    parts = loss % 1000
    assert parts.tolist() == (10 + ids[owner] + 100 * ids[owner]).tolist()
    coins = (loss - parts).tolist()
    assert len({(int(o), coin) for o, coin in zip(owner, coins, strict=True)}) == 4


@pytest.mark.parametrize(("field", "value"), [("n", 0), ("delta", 0.0), ("rate", 11.0), ("rate", float("nan"))])
def test_what_makes_no_sense_is_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"spsa: {field} is"):
        SPSA(**{field: value})  # type: ignore[arg-type]


def test_it_is_right() -> None:
    """l2 is a sphere, on which Adam's steps, of one size for each feature, come to rest a little beside the best."""
    check_attack(SPSA(steps=40, n=32, rate=0.2), above=1.1, seeds=1)

"""RayS: signs flipped block by block, one query each, and radii that come down to the closed form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.rays import RayRows, RayS, flipped, following
from walks import check_threats

from auditor.access import Access
from auditor.attack import Query, Reply
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Watched(RayS):
    """Keeps what was asked, what came of it, and the rows after it."""

    log: list[tuple[Query, Reply, RayRows]] = field(default_factory=list)
    asked: list[Query] = field(default_factory=list)

    def query(self, problem: Problem, rows: RayRows) -> Query:
        self.asked.append(super().query(problem, rows))
        return self.asked[-1]

    def step(self, problem: Problem, rows: RayRows, reply: Reply) -> RayRows:
        moved = super().step(problem, rows, reply)
        self.log.append((self.asked[-1], reply, moved))
        return moved


def test_blocks_are_halves_quarters_and_so_on_and_begin_anew() -> None:
    rows = RayRows(
        x=torch.zeros(1, 5),
        signs=torch.ones(1, 5),
        radius=torch.ones(1),
        low=torch.zeros(1),
        high=torch.ones(1),
        level=torch.tensor([-1]),
        block=torch.tensor([0]),
    )
    seen = []
    for _ in range(14):
        seen.append("".join("-" if sign < 0 else "+" for sign in flipped(rows)[0]))
        level, block = following(rows.level, rows.block, 5)
        rows = replace(rows, level=level, block=block)
    pairs = ["--+++", "++--+", "++++-"]
    singles = ["-++++", "+-+++", "++-++", "+++-+", "++++-"]
    assert seen == ["+++++", "-----", "---++", "+++--", *pairs, *singles, "-----", "---++"]


@pytest.mark.parametrize("bounds", [None, (-3.0, 3.0)])
def test_the_radius_comes_down_to_the_closed_form(bounds: tuple[float, float] | None) -> None:
    threat = ThreatModel(bounds=bounds)
    bench = linear_bench(seed=4, threat=threat, n=8, shape=(12,), distance=0.1)
    trial = bench.play(RayS(steps=250), distance=True)
    np.testing.assert_allclose(trial.ledger.nearest, 0.1, rtol=5e-3)
    assert (trial.ledger.nearest >= 0.1 * (1 - 1e-5)).all()


def test_its_own_radius_does_too_without_help_from_the_target() -> None:
    bench = linear_bench(seed=4, n=8, shape=(12,), distance=0.1)
    attack = Watched(steps=250)
    bench.play(attack, distance=True)
    radii = attack.log[-1][2].radius
    assert ((radii >= 0.1 - 1e-6) & (radii < 0.1005)).all()
    weight = torch.from_numpy(bench.target.weight[1] - bench.target.weight[0])  # type: ignore[attr-defined]
    up = torch.from_numpy(bench.samples.labels == 0)[:, None]
    assert torch.equal(attack.log[-1][2].signs, torch.where(up, weight, -weight).sign())


def test_a_flip_that_does_not_help_costs_one_query_and_one_that_does_a_halving() -> None:
    """The radius changes only where a bracket was halved to a thousandth, and a refused flip gets none."""
    attack = Watched(steps=120)
    bench = linear_bench(seed=4, n=1, shape=(12,), distance=0.1)
    bench.play(attack, distance=True)
    clean, best, flips, refused = bench.problem().inputs, np.inf, 0, 0
    for before, (query, reply, after) in zip([None, *attack.log], attack.log, strict=False):
        new = before is None or bool(before[2].high.isinf()[0])
        right = bool((reply.labels == bench.problem().labels)[0])
        if new and np.isfinite(best):
            flips, refused = flips + 1, refused + right
            assert float((query.points - clean).abs().max()) == pytest.approx(best, rel=1e-4)
            assert bool(after.high.isinf()[0]) == right
        radius = float(after.radius[0])
        assert radius <= best
        if radius < best:
            assert not new
            assert bool(after.high.isinf()[0])
        best = radius
    assert flips > 20
    assert 10 < refused < flips


def test_done_as_soon_as_a_point_within_epsilon_is_adversarial() -> None:
    bench = linear_bench(seed=4, n=8, shape=(12,), distance=0.1).at(0.11)
    trial = bench.play(RayS(steps=250))
    assert trial.broken.all()
    assert trial.ledger.spent[:, 2].max() < 150
    assert trial.row.rejected == {}
    assert not bench.at(0.099).play(RayS(steps=120)).broken.any()


def test_epsilon_is_asked_about_before_the_middle_of_a_bracket() -> None:
    """A ten thousandth beyond the distance, where a halving to a thousandth would mostly stop outside."""
    attack = Watched(steps=200)
    bench = linear_bench(seed=4, n=4, shape=(12,), distance=0.1).at(0.10001)
    assert bench.play(attack).broken.all()
    at_epsilon = []
    for query, _, _ in attack.log:
        change = (query.points[:, None] - bench.problem().inputs).abs().amax(dim=2)  # samples that are broken leave
        at_epsilon.append(float((change - 0.10001).abs().min()) < 1e-6)
    first = next(age for age, (_, _, rows) in enumerate(attack.log) if bool(rows.high.isfinite().any()))
    assert at_epsilon[first + 1], "the first bracket, which goes from 0 to far beyond epsilon"


def test_points_beyond_epsilon_are_probes_and_those_within_are_proposed() -> None:
    attack = Watched(steps=60)
    bench = linear_bench(seed=4, n=4, shape=(12,), threat=ThreatModel(bounds=(-2.0, 2.0)), distance=0.1).at(0.05)
    bench.play(attack)
    problem = bench.problem()
    kinds = set()
    for query, _, _ in attack.log:
        assert query.probes is not None
        assert torch.equal(query.probes, problem.size(query.points) > 0.05)
        assert ((query.points >= -2) & (query.points <= 2)).all()
        kinds |= set(query.probes.tolist())
    assert kinds == {False, True}


def test_every_query_is_metered_and_labels_are_all_it_sees() -> None:
    bench = replace(linear_bench(seed=4, n=5, distance=0.1).at(0.05), access=Access.DECISION)
    attack = Watched(steps=37)
    trial = bench.play(attack)
    assert trial.ledger.spent.tolist() == [[0, 0, 38]] * 5
    assert attack.cost(2) == (38, 0)
    assert all(reply.scores is None and reply.loss is None for _, reply, _ in attack.log)


def test_further_restarts_begin_elsewhere() -> None:
    bench = linear_bench(seed=4, n=3, shape=(12,), distance=0.1).at(0.01)
    attack = Watched(steps=1)
    bench.play(attack, restarts=2)
    signs = (attack.asked[0].points - bench.problem().inputs.repeat(2, 1)).sign()
    assert (signs[:3] == 1).all()
    assert (signs[3:] == -1).any(dim=1).all()


def test_rows_of_any_age_keep_house_side_by_side() -> None:
    bench = linear_bench(seed=4, n=12, shape=(12,)).at(0.12)
    narrow = replace(bench, execution=Execution(device="cpu", threads=1, width=5))
    one, other = (each.play(RayS(steps=80)).ledger for each in (bench, narrow))
    assert set(one.broken) == {False, True}
    assert np.array_equal(one.broken, other.broken)
    assert np.array_equal(one.spent, other.spent)
    assert all(np.array_equal(one.adversarial[i], other.adversarial[i]) for i in one.adversarial)


def test_steps_are_counted_from_one() -> None:
    with pytest.raises(UsageError, match="rays: steps is at least 1, got 0"):
        RayS(steps=0)


def test_it_is_right() -> None:
    check_attack(RayS(steps=200), seeds=1)
    check_threats(RayS(steps=20))
    assert RayS.norms == {Norm.LINF}

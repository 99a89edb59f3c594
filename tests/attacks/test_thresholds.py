"""Thresholds: what withstands where every cell is tried withstands, and what falls to no single move falls to two."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.thresholds import Thresholds, ThresholdsRows
from forests import ForestTarget, OpenForest, bench_of, can_be_broken, forest_bench

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.threat import Goal, Norm, ThreatModel

UNIT = {"bounds": (0.0, 1.0)}
EPSILON = {Norm.LINF: 0.08, Norm.L2: 0.1, Norm.L1: 0.12, Norm.L0: 1.0}
FIRST, SECOND, NONE = (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Watched(Thresholds):
    """Keeps what it asked, with the scores that came."""

    log: list[Reply] = field(default_factory=list)

    def step(self, problem: Problem, rows: ThresholdsRows, reply: Reply) -> ThresholdsRows:
        self.log.append(reply)
        return super().step(problem, rows, reply)


def few(**options: Any) -> Thresholds:
    """Too few queries to try every cell of the benches of this file."""
    return Thresholds(**({"steps": 8, "candidates": 4} | options))


@pytest.mark.parametrize("norm", sorted(Thresholds.norms))
@pytest.mark.parametrize("seed", range(3))
def test_where_every_cell_is_tried_exactly_those_fall_that_can(norm: Norm, seed: int) -> None:
    threat = ThreatModel(norm=norm, epsilon=EPSILON[norm], **UNIT)
    size: dict[str, Any] = {"trees": 8, "levels": 2, "shape": (5,)} if norm is Norm.L0 else {"trees": 4, "shape": (3,)}
    made = forest_bench(n=30, seed=seed, threat=threat, **size)
    expected = can_be_broken(made)
    assert 0 < expected.sum() < 30
    trial = made.play(Thresholds(steps=600, candidates=64))
    np.testing.assert_array_equal(trial.broken, expected)
    assert not trial.row.rejected, trial.row.rejected


@pytest.mark.parametrize("norm", sorted(Thresholds.norms))
def test_it_finds_in_many_cells_what_there_is(norm: Norm) -> None:
    threat = ThreatModel(norm=norm, epsilon=EPSILON[norm], **UNIT)
    size: dict[str, Any] = {"trees": 16, "levels": 2, "shape": (8,)} if norm is Norm.L0 else {"trees": 10}
    made = forest_bench(n=30, seed=1, threat=threat, **size)
    expected = can_be_broken(made)
    trial = made.play(Thresholds(steps=20, candidates=8))
    assert 5 < expected.sum() < 30
    assert (expected | ~trial.broken).all(), "nothing falls that can't"
    assert trial.broken.sum() >= expected.sum() - 1


def test_a_step_of_one_feature() -> None:
    """The second class lies above .5: within reach of .45, and of .55 as long as it is not the clean one."""
    trees = [(0, 0.5, FIRST, SECOND)]
    made = bench_of(trees, [[0.45], [0.35], [0.55], [0.65]], ThreatModel(epsilon=0.1, **UNIT))
    assert made.play(few()).broken.tolist() == [True, False, True, False]


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("cut", [0.5, 0.1, 1 / 3])
def test_a_threshold_at_the_very_edge_of_the_ball(cut: float, offset: int) -> None:
    """A cut belongs to the side below: the last float32 of the ball is above it, or one too few."""
    clean = np.float32(0.25)
    edge = np.float32(cut) if cut > clean else np.float32(0.75)
    epsilon = float(np.float64(edge) - np.float64(clean))
    last = np.nextafter(edge, np.float32(0)) if offset else edge
    made = bench_of([(0, last, FIRST, SECOND)], [[clean]], ThreatModel(epsilon=epsilon, **UNIT))
    trial = made.play(few())
    assert trial.broken.tolist() == [bool(offset)]
    if offset:
        assert trial.ledger.adversarial[0].tolist() == [edge]
    assert not trial.row.rejected


def test_the_nearest_point_above_a_threshold_is_the_next_float() -> None:
    made = bench_of([(0, 0.5, FIRST, SECOND)], [[0.45]], ThreatModel(norm=Norm.L2, epsilon=0.2, **UNIT))
    point = made.play(few()).ledger.adversarial[0]
    assert point.tolist() == [np.nextafter(np.float32(0.5), np.float32(1))]


def test_what_one_feature_makes_worse_two_make_better() -> None:
    """In every tree both features of a pair have to move, and either alone is charged for the attempt."""
    good, bad = (0.0, 1.5), (3.0, 0.0)
    trees = [(2 * k, 0.5, (2 * k + 1, 0.5, FIRST, bad), (2 * k + 1, 0.5, bad, good)) for k in range(12)]
    made = bench_of(trees, np.full((3, 24), 0.45), ThreatModel(epsilon=0.1, **UNIT))
    trial = made.play(Thresholds(steps=30))
    assert trial.broken.all()


def test_no_leaf_alone_helps_but_two_do() -> None:
    """Two trees share the second feature: each pays where both of its own are up, and charges where that one is up
    alone, so that what helps the one tree harms the other more until all three features are up."""
    charged, paid = (3.0, 0.0), (0.0, 1.5)
    pair = [
        (0, 0.5, (1, 0.5, NONE, charged), (1, 0.5, NONE, paid)),
        (2, 0.5, (1, 0.5, NONE, charged), (1, 0.5, NONE, paid)),
    ]
    fill = [(j, 0.5, NONE, (0.01, 0.0)) for j in range(3, 20)]
    made = bench_of([(0, 2.0, FIRST, FIRST), *pair, *fill], np.full((8, 20), 0.45), ThreatModel(epsilon=0.1, **UNIT))
    x = made.samples.inputs[:1].repeat(3, axis=0)
    x[0, :2], x[1, 1:3], x[2, :3] = 0.55, 0.55, 0.55
    assert made.target.labels(x).tolist() == [0, 0, 1]
    assert (made.target.scores(x)[:2, 0] > made.target.scores(made.samples.inputs[:1])[0, 0]).all()
    assert made.play(Thresholds(steps=40)).broken.all()


def test_it_climbs_where_no_cell_can_be_tried() -> None:
    """40 features, each of which gives a little: 2^40 cells, and all have to move."""
    trees = [(j, 0.5, (0.1, 0.0), NONE) for j in range(40)] + [(0, 2.0, (0.0, 0.05), NONE)]
    made = bench_of(trees, np.full((2, 40), 0.45), ThreatModel(epsilon=0.1, **UNIT))
    trial = made.play(Thresholds())
    assert trial.broken.all()
    assert trial.ledger.spent[:, 2].max() < 80 * 16


def test_every_cell_is_asked_about_once() -> None:
    trees = [(j, cut, NONE, (1e-3, 0.0)) for j in range(3) for cut in (0.4, 0.5, 0.6)]
    made = bench_of(trees, [[0.45, 0.5, 0.55]], ThreatModel(epsilon=0.12, **UNIT))
    attack = Watched(steps=20, candidates=5)
    trial = made.play(attack)
    points = torch.cat([reply.points for reply in attack.log])
    cells = {tuple(np.searchsorted(np.float32([0.4, 0.5, 0.6]), point, side="left")) for point in points.numpy()}
    reach = [3, 4, 3]
    assert len(cells) == np.prod(reach)
    assert len(attack.log) == -(-len(cells) // 5), "and it is over then"
    assert trial.ledger.full.all()


def test_a_sample_that_no_threshold_is_near_costs_one_step() -> None:
    made = bench_of([(0, 0.9, FIRST, SECOND)], np.full((3, 2), 0.3), ThreatModel(epsilon=0.1, **UNIT))
    trial = made.play(Thresholds())
    assert not trial.broken.any()
    assert trial.ledger.spent[:, 2].tolist() == [17] * 3
    assert not trial.row.rejected
    assert trial.ledger.full.all()


@pytest.mark.parametrize("norm", sorted(Thresholds.norms))
def test_every_point_is_in_the_ball(norm: Norm) -> None:
    frozen = np.array([False, True, False, False, False])
    weights = np.array([1.0, 1, 0.5, 2, 1])
    threat = ThreatModel(norm=norm, epsilon=EPSILON[norm], frozen=frozen, weights=weights, **UNIT)
    made = forest_bench(trees=20, n=20, shape=(5,), seed=2, threat=threat)
    attack = Watched(steps=6, candidates=8)
    trial = made.play(attack, restarts=2)
    points = torch.cat([reply.points for reply in attack.log]).double().numpy()
    owners = np.abs(points[:, None, 1] - made.samples.inputs[None, :, 1]).argmin(axis=1)  # by the frozen feature
    change = np.abs(points - made.samples.inputs[owners].astype(np.float64)) / weights
    order = {"linf": np.inf, "l2": 2, "l1": 1, "l0": 0}[norm]
    assert not change[:, 1].any()
    assert (np.linalg.norm(change, ord=order, axis=1) <= EPSILON[norm]).all()
    assert ((points >= 0) & (points <= 1)).all()
    assert (change > 0).any(axis=1).mean() > 0.5
    assert trial.broken.any()
    assert not trial.row.rejected


def test_on_a_grid_it_goes_to_the_grid() -> None:
    """From .25 to the first quarter above .3; no quarter lies between .55 and .7."""
    trees = [(0, 0.3, FIRST, (0.0, 2.0)), (1, 0.55, NONE, (1, 0.7, (0.0, 9.0), NONE))]
    threat = ThreatModel(epsilon=0.25, grid=0.25, **UNIT)
    assert bench_of(trees, [[0.25, 0.0]], threat).play(few()).ledger.adversarial[0].tolist() == [0.5, 0.0]
    assert not bench_of([*trees[1:], (0, 2.0, FIRST, NONE)], [[0.25, 0.5]], threat).play(few()).broken.any()


def test_a_goal_is_one_class() -> None:
    threat = ThreatModel(epsilon=0.2, goal=Goal(2), **UNIT)
    made = forest_bench(n=60, seed=3, threat=threat)
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    trial = made.play(Thresholds())
    assert trial.broken.any()
    assert set(trial.ledger.label[trial.broken]) == {2}


def test_rows_do_not_know_of_each_other() -> None:
    made = forest_bench(trees=20, n=20, shape=(5,), seed=4, threat=ThreatModel(epsilon=0.1, **UNIT))
    ledgers = []
    for width, precision in ((64, "float32"), (3, "float32"), (64, "float64")):
        execution = Execution(device="cpu", threads=1, width=width, precision=precision)
        ledgers.append(replace(made, execution=execution).play(few(), restarts=2).ledger)
    standing = ~ledgers[0].broken
    for other in ledgers[1:]:
        np.testing.assert_array_equal(ledgers[0].broken, other.broken)
        np.testing.assert_array_equal(ledgers[0].best[standing], other.best[standing])
    assert 0 < ledgers[0].broken.sum() < 20


def test_a_later_restart_begins_elsewhere() -> None:
    made = forest_bench(trees=20, n=6, shape=(8,), seed=5, threat=ThreatModel(epsilon=0.15, **UNIT))
    problem = replace(made.problem(), trees=made.target.trees().on("cpu", torch.float32))  # type: ignore[union-attr]
    first = few().start(problem)
    second = few().start(replace(problem, restarts=problem.restarts + 1))
    assert torch.equal(first.x, problem.inputs)
    assert (second.x != problem.inputs).flatten(1).any(dim=1).all()
    assert problem.contains(second.x).all()


def test_its_cost_is_what_it_spends() -> None:
    made = forest_bench(trees=30, n=4, shape=(8,), seed=6, steps=5e-6, threat=ThreatModel(epsilon=1e-5, **UNIT))
    row = made.play(Thresholds(steps=3, candidates=2)).row
    assert row.queries == 4 * Thresholds(steps=3, candidates=2).cost(3)[0] == 4 * 7
    assert row.forwards == row.backwards == 0


def test_what_has_no_trees_is_skipped() -> None:
    row = linear_bench().play(Thresholds()).row
    assert row.status == "skipped"
    assert str(row.reason).startswith("thresholds needs a tree ensemble")
    made = forest_bench()
    made = replace(made, target=OpenForest([(0, 0.5, FIRST, SECOND)], (4,)))
    assert made.play(Thresholds()).row.status == "skipped"
    assert isinstance(made.target, ForestTarget)


@pytest.mark.parametrize("access", [Access.SCORE, Access.DECISION])
def test_who_may_not_read_the_model_may_not_use_it(access: Access) -> None:
    row = replace(forest_bench(), access=access).play(Thresholds()).row
    assert row.status == "skipped"
    assert "access" in str(row.reason)


def test_there_is_something_to_ask_about() -> None:
    with pytest.raises(UsageError, match="at least 1 of its candidates"):
        Thresholds(candidates=0)

"""FAB: the nearest boundary of linear models in every norm and box, its iterates by hand, and what AutoAttack pays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.fab import FAB, FABRows
from torch import Tensor

from auditor.attack import Query, Reply
from auditor.bench import Bench, LinearTarget, linear_bench, single
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel
from tests.planes import distances

NORMS = [Norm.LINF, Norm.L2, Norm.L1]
FEW = 15
"""Steps that are enough for linear models."""


@dataclass(frozen=True, kw_only=True)
class Spy(FAB):
    """Notes every iterate, whose it is, and what came of it."""

    seen: list[tuple[Tensor, Tensor, FABRows]]

    def step(self, problem: Problem, rows: FABRows, reply: Reply) -> FABRows:
        moved = super().step(problem, rows, reply)
        self.seen.append((problem.ids, reply.points, moved))
        return moved


def spied(bench: Bench, restarts: int = 1, **options: Any) -> list[tuple[Tensor, Tensor, FABRows]]:
    seen: list[tuple[Tensor, Tensor, FABRows]] = []
    row = bench.play(Spy(seen=seen, **options), restarts=restarts).row
    assert row.status == "ran", row.reason
    assert row.rejected == {}
    return seen


def found(bench: Bench, restarts: int = 1, **options: Any) -> np.ndarray:
    """The size of the nearest adversarial point of each sample, of what the attack itself knows."""
    sizes = np.full(len(bench.samples), np.inf)
    for ids, _, rows in spied(bench, restarts, **options):
        np.minimum.at(sizes, ids.numpy(), rows.best_size.numpy())
    return sizes


def finds(bench: Bench, restarts: int = 1, within: float = 0.01, **options: Any) -> None:
    """What it finds is at each sample's own exact distance, though the ball ends far before that."""
    exact = distances(bench)
    near = np.isfinite(exact)
    assert near.sum() >= 4
    sizes = found(bench.at(0.3 * float(exact.min())), restarts, **options)
    assert (sizes[near] > exact[near] * (1 - 1e-4)).all(), sizes / exact
    assert (sizes[near] < exact[near] * (1 + within)).all(), sizes / exact


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("classes", "shape"), [(2, (12,)), (3, (1, 3, 4)), (5, (12,))])
def test_finds_the_nearest_boundary(norm: Norm, classes: int, shape: tuple[int, ...]) -> None:
    bench = linear_bench(classes=classes, shape=shape, seed=1, threat=ThreatModel(norm=norm), n=6)
    finds(bench, targets="all", steps=FEW)
    finds(bench, restarts=classes - 1, steps=FEW)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [(0.19, 0.81), (-1.0, 1.0)])
@pytest.mark.parametrize("uneven", [False, True])
def test_finds_it_within_bounds_weights_and_frozen_features(
    norm: Norm, bounds: tuple[float, float], uneven: bool
) -> None:
    weights = np.geomspace(0.5, 2, 12).astype(np.float32) if uneven else None
    frozen = np.arange(12) % 5 == 2 if uneven else None
    threat = ThreatModel(norm=norm, bounds=bounds, weights=weights, frozen=frozen)
    finds(linear_bench(classes=3, seed=2, threat=threat, n=8), restarts=2, steps=40)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targets", ["ranked", "all"])
def test_reaches_the_target_of_the_goal(norm: Norm, targets: str) -> None:
    bench = linear_bench(classes=4, seed=3, threat=ThreatModel(norm=norm, goal=Goal(1), bounds=(-3.0, 3.0)), n=10)
    bench = replace(bench, samples=bench.samples.take(bench.samples.labels != 1))
    finds(bench, within=0.02, targets=targets)


@pytest.mark.parametrize("norm", NORMS)
def test_its_iterates_by_hand(norm: Norm) -> None:
    """In units of the distance: overshoot by 5 %, back to 90 %, then mixed in proportion to both projections."""
    bench = linear_bench(n=4, threat=ThreatModel(norm=norm, epsilon=1e-3), distance=0.1)
    bench = replace(bench, execution=Execution(device="cpu", threads=1, precision="float64"))
    clean = torch.from_numpy(bench.samples.inputs[0])
    way = [float((points[0] - clean).norm()) for _, points, _ in spied(bench)]
    first = 1.05
    back = 0.9 * first
    share = (1 - back) / (2 - back)
    second = (1 - share) * (back + 1.05 * (1 - back)) + share * 1.05
    expected = np.array([0, first, back, second, 0.9 * second])
    np.testing.assert_allclose(np.array(way[:5]) / way[1], expected / first, rtol=1e-5)
    slower = spied(bench, alpha_max=0.01, steps=2)
    share = 0.01
    second = (1 - share) * (back + 1.05 * (1 - back)) + share * 1.05
    assert float((slower[3][1][0] - clean).norm()) / way[1] == pytest.approx(second / first, rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_it_looks_for_the_boundary_beyond_epsilon(norm: Norm) -> None:
    bench = linear_bench(n=4, threat=ThreatModel(norm=norm, bounds=(-2.0, 2.0)), distance=0.1)
    near = spied(bench.at(0.02), steps=5)[-1][2]
    far = spied(bench.at(0.099), steps=5)[-1][2]
    assert (near.best_size < 0.1 * 1.01).all()
    torch.testing.assert_close(near.best_size, far.best_size)
    problem = bench.at(0.02).problem()
    assert problem.contains(near.x).all()
    assert (problem.size(near.x) > 0.019).all()  # it ends on the way to what it found


def test_the_restart_is_the_rank_of_the_class() -> None:
    """Class 1 has the second score but is far away in input space; class 2 has the third score and is near."""
    weight = np.array([[0.0, 0.0], [0.0, 0.1], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    target = LinearTarget(weight, np.array([1.0, 0.9, 0.5, -9.0, -9.0]))
    samples = Samples(inputs=np.zeros((1, 2), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    bench = Bench(target=target, samples=samples, threat=ThreatModel(epsilon=0.55))
    first, second = (bench.play(FAB(steps=FEW), restarts=restarts) for restarts in (1, 2))
    assert not first.broken.any()
    assert second.broken.all()
    assert second.ledger.label.tolist() == [2]
    assert bench.play(FAB(steps=FEW, targets="all")).broken.all()


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_begin_at_the_input_until_each_class_has_had_its_turn(norm: Norm) -> None:
    bench = linear_bench(classes=3, n=6, threat=ThreatModel(norm=norm, epsilon=0.2, bounds=(-5.0, 5.0)))
    problem = bench.problem()
    scores = torch.from_numpy(bench.target.scores(bench.samples.inputs, batch=1))
    far = torch.linspace(0.1, 0.6, 6)
    problem = replace(
        problem,
        restarts=torch.tensor([0, 1, 2, 3, 4, 5]),
        draws=replace(problem.draws, restarts=torch.tensor([0, 1, 2, 3, 4, 5])),
        notes=torch.cat([scores, far[:, None]], dim=1),
    )
    begun = FAB().start(problem)
    expected = torch.tensor([0, 0, 0.1, 0.1, 0.1, 0.1])
    torch.testing.assert_close(problem.size(begun.point), expected)
    ranked = scores.argsort(dim=1, descending=True)
    assert begun.aim.tolist() == [int(ranked[i, 1 + i % 2]) for i in range(6)]
    alone = FAB(targets="all").start(problem)
    torch.testing.assert_close(problem.size(alone.point), torch.tensor([0, 0.1, 0.1, 0.1, 0.1, 0.1]))
    endless = replace(problem, epsilon=torch.full((6,), torch.inf))
    torch.testing.assert_close(problem.size(FAB().start(endless).point), torch.where(expected > 0, far / 2, 0))


def test_from_random_starts_it_ends_at_the_boundary_too() -> None:
    bench = linear_bench(n=4, threat=ThreatModel(norm=Norm.L2), distance=0.1)
    seen = spied(bench.at(0.05), restarts=3, steps=FEW)
    starts = seen[0][1]  # all rows of all restarts
    assert len({tuple(start) for start in starts.tolist()}) == 4 * 3
    assert (seen[-1][2].best_size < 0.101).all()
    assert (bench.play(FAB(steps=FEW), restarts=3, distance=True).ledger.nearest < 0.1003).all()


@pytest.mark.parametrize(("targets", "backwards"), [("ranked", 1), ("all", 4)])
def test_a_survivor_costs_two_forwards_and_a_backward_a_step(targets: str, backwards: int) -> None:
    attack = FAB(steps=7, targets=targets, search=2)
    trial = linear_bench(classes=5, n=4).at(1e-4).play(attack, restarts=3)
    assert trial.row.forwards == 4 * (3 * (2 * 7 + 2 + 1) + 1)
    assert trial.row.backwards == 4 * 3 * 7 * backwards
    assert attack.cost(5) == (2 * 7 + 2 + 1, 7 * backwards)
    assert attack.survey_cost(5) == (1, 1)


def test_what_it_costs_in_autoattack() -> None:
    """Nine classes, 100 steps of two forwards and a backward each."""
    row = linear_bench(classes=10, n=1, seed=5).at(1e-5).play(FAB(), restarts=9).row
    assert row.forwards == pytest.approx(9 * 100 * 2, rel=0.02)
    assert row.backwards == 9 * 100


def test_the_check_asks_for_no_gradient_and_nothing_outside_the_ball_is_proposed() -> None:
    problem = linear_bench(n=3, threat=ThreatModel(epsilon=0.05)).problem()
    attack = FAB(steps=2)
    problem = replace(problem, notes=torch.zeros(3, 3))
    rows = attack.start(problem)
    rows = replace(rows, point=problem.inputs + torch.tensor([0.01, 0.04, 0.06])[:, None])
    asked: Query = attack.query(problem.at(torch.tensor([0, 1, 2]), 1), rows)
    assert isinstance(asked.gradient, Tensor)
    assert asked.gradient.tolist() == [True, False, True]
    assert asked.probes is not None
    assert asked.probes.tolist() == [False, False, True]


def test_the_final_search_interpolates_the_margin() -> None:
    """Margin 1 at the input and -3 at what was found: a quarter of the way, then between the new ends."""
    problem = linear_bench(n=2, threat=ThreatModel(norm=Norm.L2, epsilon=9.0)).problem()
    problem = replace(problem, notes=torch.cat([_scores(problem, [1.0, 1.0]), torch.zeros(2, 1)], dim=1))
    attack = FAB(steps=1, search=3)
    assert attack.replies == 5
    rows = replace(attack.start(problem), point=problem.inputs + 1)

    def after(rows: FABRows, age: int, margins: list[float]) -> tuple[FABRows, list[float]]:
        reply = Reply(points=rows.point, owner=torch.arange(2), labels=problem.labels, scores=_scores(problem, margins))
        rows = attack.step(problem.at(torch.full((2,), age), 2), rows, reply)
        return rows, (rows.point - problem.inputs)[:, 0].tolist()

    rows, at = after(rows, 1, [-3.0, -1.0])
    assert at == pytest.approx([0.25, 0.5], rel=1e-5)
    rows, at = after(rows, 2, [-1.0, 0.5])  # across: the new best; not across: the new inner end
    assert at == pytest.approx([0.125, 0.5 + 0.5 / 3], rel=1e-5)
    rows, at = after(rows, 3, [0.5, -0.5])
    assert at == pytest.approx([0.125 + 0.125 / 3, 0.5 + (0.5 / 3) / 2], rel=1e-5)
    rows, _ = after(rows, 4, [0.1, 0.1])
    way = ((rows.best - problem.inputs)[:, 0]).tolist()
    assert way == pytest.approx([0.25, 0.5 + 0.5 / 3], rel=1e-5)
    torch.testing.assert_close(rows.x, rows.best)


def _scores(problem: Problem, margins: list[float]) -> Tensor:
    own = torch.nn.functional.one_hot(problem.labels, 2).float()
    return own * torch.tensor(margins)[:, None]


def test_on_a_grid_it_proposes_grid_points_only() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(2, 200))
    inputs = (rng.integers(60, 190, (6, 200)) / np.float32(255)).astype(np.float32)
    slope = weight[1] - weight[0]
    bias = np.array([0.0, -float(np.median(inputs.astype(float) @ slope))])
    target = LinearTarget(weight, bias)
    samples = Samples(inputs=inputs, labels=target.labels(inputs, batch=1).astype(np.int64), ids=np.arange(6))
    threat = ThreatModel(bounds=(0.0, 1.0), grid=1 / 255)
    bench = Bench(target=target, samples=samples, threat=threat)
    steps = np.ceil(distances(bench) * 255)
    for index in range(6):
        trial = single(bench, index, epsilon=steps[index] / 255).play(FAB(steps=FEW))
        assert trial.broken.all()
        assert trial.row.rejected == {}


def test_boxes_of_the_samples_own_are_all_there_is() -> None:
    made = linear_bench(n=12, seed=4)
    rng = np.random.default_rng(0)
    half = rng.uniform(0.05, 0.2, size=(12, 12)).astype(np.float32)
    half[:, 3] = 0
    inputs = made.samples.inputs
    samples = replace(made.samples, lower=inputs - half, upper=inputs + half)
    bench = replace(made, samples=samples, threat=ThreatModel(boxes=True, epsilon=1.0))
    target = made.target
    assert isinstance(target, LinearTarget)
    scores = target.scores(inputs, batch=1)
    reach = (half * np.abs(target.weight[1] - target.weight[0])).sum(axis=1)
    reachable = np.abs(scores[:, 0] - scores[:, 1]) < 0.999 * reach
    assert 2 < reachable.sum() < 11
    trial = bench.play(FAB(steps=FEW))
    assert trial.row.rejected == {}
    np.testing.assert_array_equal(trial.broken, reachable)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"targets": "some"}, "fab: targets is one of ranked, all, got 'some'."),
        ({"alpha_max": 1.5}, "fab: alpha_max is from 0 to 1, got 1.5."),
        ({"eta": 0.9}, "fab: eta is at least 1, got 0.9."),
        ({"beta": 1.0}, "fab: beta is at least 0 and below 1, got 1.0."),
        ({"search": -1}, "fab: search is at least 0, got -1."),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        FAB(**options)


def test_it_is_right() -> None:
    check_attack(FAB(steps=FEW), seeds=2)
    check_attack(FAB(steps=FEW, targets="all", search=3), seeds=1, restarts=2)

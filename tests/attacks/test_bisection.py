"""Bisection: the distance of linear models in every box, nets without slope near clean inputs, and rules by hand."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.bisection import FIRST, LAST, Bisection, BisectionRows
from auditor.plugins.attacks.fmn import FMN
from torch import Tensor, nn

from auditor.attack import Attack, Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel
from tests.nets import NetTarget
from tests.planes import distances

NORMS = [Norm.LINF, Norm.L2]


def found(bench: Bench, attack: Attack | None = None, **options: Any) -> np.ndarray:
    """The size of the nearest adversarial point of each sample that the target confirms, infinite where none is."""
    row, ledger = (trial := bench.play(attack or Bisection(**options), distance=True)).row, trial.ledger
    assert row.status == "ran", row.reason
    assert row.rejected == {}
    return ledger.nearest


def finds(bench: Bench, **options: Any) -> None:
    """Within 1 % of each sample's own exact distance, and not below it."""
    exact = distances(bench)
    near = np.isfinite(exact)
    assert near.sum() >= 4
    ratio = found(bench, **options)[near] / exact[near]
    assert (ratio > 1 - 1e-4).all(), ratio
    assert (ratio < 1.01).all(), ratio


@pytest.mark.parametrize(
    ("bounds", "loss"), [(None, "ce"), ((0.0, 1.0), "margin"), ((-1.0, 1.0), "dlr"), ((-3.0, 12.0), "ce")]
)
@pytest.mark.parametrize("norm", NORMS)
def test_finds_the_distance_with_two_classes(norm: Norm, bounds: tuple[float, float] | None, loss: str) -> None:
    finds(linear_bench(n=6, seed=1, shape=(1, 3, 4), threat=ThreatModel(norm=norm, bounds=bounds)), loss=loss)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [None, (0.1, 0.9), (-1.0, 2.0)])
def test_finds_it_with_weights_frozen_features_and_a_goal(norm: Norm, bounds: tuple[float, float] | None) -> None:
    uneven: dict[str, Any] = {"weights": np.geomspace(0.5, 2, 20).astype(np.float32), "frozen": np.arange(20) % 5 == 2}
    finds(linear_bench(n=5, seed=2, shape=(20,), threat=ThreatModel(norm=norm, bounds=bounds, **uneven)))
    aimed = ThreatModel(norm=norm, bounds=bounds, goal=Goal(1))
    made = linear_bench(classes=3, n=10, seed=2, shape=(20,), threat=aimed)
    finds(replace(made, samples=made.samples.take(made.samples.labels != 1)), steps=150)


@pytest.mark.parametrize("norm", NORMS)
def test_a_distance_does_not_depend_on_the_scale_of_scores_or_inputs(norm: Norm) -> None:
    bench = linear_bench(n=6, seed=4, threat=ThreatModel(norm=norm, bounds=(0.0, 1.0)))
    target = bench.target
    assert isinstance(target, LinearTarget)
    steeper = replace(bench, target=LinearTarget(1000 * target.weight, 1000 * target.bias))
    np.testing.assert_allclose(found(steeper), found(bench), rtol=5e-3)  # ce has saturated
    pixels = replace(bench.samples, inputs=255 * bench.samples.inputs)
    wide = ThreatModel(norm=norm, bounds=(0.0, 255.0))
    coarse = replace(bench, target=LinearTarget(target.weight / 255, target.bias), samples=pixels, threat=wide)
    np.testing.assert_allclose(found(coarse), 255 * found(bench), rtol=5e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_steps_smaller_than_those_of_an_8_bit_input_add_up(norm: Norm) -> None:
    made = linear_bench(n=6, seed=4, shape=(50,))
    pixels = (np.rint(255 * made.samples.inputs) / 255).astype(np.float32)
    labels = made.target.labels(pixels, batch=1).astype(np.int64)
    samples = replace(made.samples, inputs=pixels, labels=labels)
    made = replace(made, samples=samples, threat=ThreatModel(norm=norm, bounds=(0.0, 1.0), grid=1 / 255))
    near, exact = found(made), distances(made)
    room = {Norm.LINF: 1 / 255, Norm.L2: 50**0.5 / 510}[norm]  # rounding every feature
    assert (near >= exact * (1 - 1e-4)).all()
    assert (near <= 1.01 * exact + room).all()


# where there is no slope


class Plateau(nn.Module):
    """The label leads by 1 where features are on average up to 0.2 from 0.5, and no further than that there is a slope,
    which takes the lead away at 0.3."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        beyond = ((x - 0.5).abs().mean(dim=1) - 0.2).clamp_min(0)
        return torch.stack([1 - 10 * beyond, torch.zeros_like(beyond)], dim=1)


def flat_bench(norm: Norm, bounds: tuple[float, float] | None = (0.0, 1.0)) -> Bench:
    samples = Samples(inputs=np.full((6, 8), 0.5, np.float32), labels=np.zeros(6, np.int64), ids=np.arange(6))
    return Bench(target=NetTarget(Plateau(), 8, 2), samples=samples, threat=ThreatModel(norm=norm, bounds=bounds))


@pytest.mark.parametrize("norm", NORMS)
def test_where_no_slope_leads_away_from_the_clean_input_it_gets_there_and_fmn_does_not(norm: Norm) -> None:
    bench = flat_bench(norm)
    assert np.isinf(found(bench, FMN(steps=60))).all()
    exact = 0.3 if norm is Norm.LINF else 0.3 * 8**0.5
    np.testing.assert_allclose(found(bench), exact, rtol=0.01)


@pytest.mark.parametrize("norm", NORMS)
def test_without_bounds_it_looks_ever_further(norm: Norm) -> None:
    assert np.isfinite(found(flat_bench(norm, bounds=None))).all()


class NotANumber(Plateau):
    """Answers with no number around the clean input, up to linf 0.2."""

    def forward(self, x: Tensor) -> Tensor:
        near = (x - 0.5).abs().amax(dim=1, keepdim=True)
        return torch.where((near > 0) & (near < 0.2), float("nan"), super().forward(x))


def test_it_survives_answers_that_are_no_numbers() -> None:
    bench = flat_bench(Norm.LINF)
    strange = replace(bench, target=NetTarget(NotANumber(), 8, 2))
    np.testing.assert_allclose(found(strange), 0.3, rtol=0.01)


# the rules, by hand

SLOPE = torch.tensor([[2.0, -3.0, 6.0]])


def hand(norm: Norm = Norm.L2, **options: Any) -> Problem:
    """Two classes, three features, inputs 0; the slope of the loss is (2, -3, 6): 7 and 11 in l2's and linf's dual
    norms. The label leads by 14."""
    target = LinearTarget(np.array([[0.0, 0.0, 0.0], [2.0, -3.0, 6.0]]), np.array([14.0, 0.0]))
    samples = Samples(inputs=np.zeros((1, 3), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    threat = ThreatModel(norm=norm, **({"epsilon": 100.0, "bounds": (-50.0, 50.0)} | options))
    return Bench(target=target, samples=samples, threat=threat).problem()


def step(
    attack: Bisection, problem: Problem, rows: BisectionRows, age: int = 1, slope: Tensor = SLOPE, lead: float = 0.0
) -> BisectionRows:
    """One step, with the reply that the model would give, or where the label leads by so much."""
    gap = torch.tensor([lead]) if lead else 14 - (rows.x * SLOPE).sum(dim=1)
    scores = torch.stack([gap, torch.zeros_like(gap)], dim=1)
    reply = Reply(
        points=rows.x,
        owner=torch.zeros(1, dtype=torch.int64),
        labels=scores.argmax(dim=1),
        scores=scores,
        loss=-gap,
        gradient=slope,
    )
    return attack.step(problem.at(torch.tensor([age]), 2), rows, reply)


def under_way(attack: Bisection, problem: Problem, **columns: Any) -> BisectionRows:
    """Rows of an attack that is some way on."""
    values = {name: value if isinstance(value, Tensor) else torch.tensor([value]) for name, value in columns.items()}
    return replace(attack.start(problem), **values)


@pytest.mark.parametrize(("norm", "dual"), [(Norm.L2, 7), (Norm.LINF, 11)])
def test_the_first_step_goes_a_little_beyond_where_the_gradient_predicts_the_boundary(norm: Norm, dual: int) -> None:
    problem, attack = hand(norm), Bisection()
    rows = step(attack, problem, attack.start(problem), 0)
    assert float(rows.radius) == pytest.approx(1.2 * 14 / dual)
    assert float(problem.size(rows.x)) == pytest.approx(1.2 * 14 / dual, rel=1e-4)
    assert float((rows.x * SLOPE).sum()) == pytest.approx(1.2 * 14, rel=1e-4)


@pytest.mark.parametrize("slope", [0.0, 1e-4])
def test_where_it_predicts_more_than_a_quarter_of_the_way_the_climb_begins_at_a_random_point(slope: float) -> None:
    problem, attack = hand(Norm.LINF), Bisection()
    rows = step(attack, problem, attack.start(problem), 0, slope * SLOPE)
    assert float(rows.radius) == pytest.approx(50 / 4)
    assert 0 < float(problem.size(rows.x)) <= 12.5
    assert len(rows.x.abs().unique()) == 3, "no corner"
    wider = step(attack, problem, replace(rows, turn=torch.tensor([7])), lead=1.0)
    assert float(wider.radius) == pytest.approx(25), "twice as far, after a climb that failed"
    assert not torch.allclose(wider.x, 2 * rows.x)
    near = hand(Norm.LINF, epsilon=3.0)
    assert float(step(attack, near, attack.start(near), 0, slope * SLOPE).radius) == pytest.approx(3, rel=1e-5)


def test_a_hit_shrinks_the_ball_and_a_climb_that_failed_widens_it() -> None:
    problem, attack = hand(), Bisection(inner=4)
    near = 0.4 * SLOPE  # 2.8 from the input, where the boundary is at 2
    rows = under_way(attack, problem, x=near, radius=3.0, turn=2)
    hit = step(attack, problem, rows)
    assert float(hit.high) == pytest.approx(2.8)
    assert float(hit.radius) == pytest.approx(0.8 * 2.8), "nothing has failed yet"
    assert torch.equal(hit.best, near)
    between = step(attack, problem, replace(rows, low=torch.tensor([1.0])))
    assert float(between.radius) == pytest.approx(1.9), "half way to what failed"
    inside = under_way(attack, problem, x=0.2 * SLOPE, radius=1.5, low=1.0, best=near, high=2.8, turn=torch.tensor([1]))
    same = step(attack, problem, inside)
    assert float(same.radius) == pytest.approx(1.5), "the climb goes on"
    failed = step(attack, problem, replace(inside, turn=torch.tensor([3])))
    assert float(failed.low) == pytest.approx(1.5)
    assert float(failed.radius) == pytest.approx((1.5 + 2.8) / 2)
    assert int(failed.turn) == 0
    closed = step(attack, problem, replace(inside, radius=torch.tensor([2.79]), turn=torch.tensor([3])))
    assert float(closed.low) == pytest.approx(0.85 * 2.8), "low was never proved"
    above = step(attack, problem, replace(rows, low=torch.tensor([2.75])))
    assert float(above.low) == pytest.approx(0.85 * 2.8), "a hit just above"
    still = step(attack, problem, replace(inside, radius=torch.tensor([2.75]), turn=torch.tensor([3])))
    assert float(still.low) == pytest.approx(2.75), "a climb that failed there counts for a while"


def test_it_climbs_the_margin_at_first_and_where_the_bracket_is_narrow() -> None:
    problem, attack, scores = hand(), Bisection(), torch.tensor([[3.0, 1.0]])
    for columns, loss in [
        ({"radius": 0.0}, "margin"),
        ({"radius": 3.0, "low": 2.0}, "ce"),
        ({"radius": 3.0, "low": 2.0, "high": 2.3}, "ce"),
        ({"radius": 2.0, "low": 2.0, "high": 2.2}, "margin"),
    ]:
        rows = under_way(attack, problem, **columns)
        torch.testing.assert_close(attack.objective(scores, problem, rows), problem.loss(loss, scores))


def test_the_further_point_is_no_hit_and_the_nearest_is_what_it_ends_on() -> None:
    problem, attack = hand(), Bisection(steps=10)
    rows = under_way(attack, problem, x=0.5 * SLOPE, radius=4.0, best=0.4 * SLOPE, high=2.8, turn=torch.tensor([1]))
    after = step(attack, problem, rows, 9)
    assert torch.equal(after.best, 0.4 * SLOPE)
    assert torch.equal(after.x, 0.4 * SLOPE)


def test_steps_get_shorter_by_a_cosine_and_keep_their_momentum_until_there_is_a_hit() -> None:
    problem, attack = hand(), Bisection(inner=8)
    rows = under_way(attack, problem, radius=1.0, turn=torch.tensor([3]), pull=torch.tensor([[0.0, 0.0, 0.5]]))
    rate = LAST + (FIRST - LAST) * (1 + cos(pi * 4 / 8)) / 2
    pull = 0.6 * rows.pull + SLOPE / 7
    torch.testing.assert_close(step(attack, problem, rows).x, rate * pull / pull.norm(), rtol=1e-4, atol=1e-6)
    known = replace(rows, high=torch.tensor([3.0]), best=3 / 7 * SLOPE)
    torch.testing.assert_close(step(attack, problem, known).x, rate * SLOPE / 7, rtol=1e-4, atol=1e-6)


def test_on_level_ground_it_does_not_wait_for_the_climb_to_end() -> None:
    problem, attack = hand(), Bisection()
    level = torch.zeros(1, 3)
    rows = under_way(attack, problem, x=torch.tensor([[0.1, 0.2, 0.3]]), radius=1.0, turn=torch.tensor([1]))
    assert float(step(attack, problem, rows, slope=level).radius) == 2
    known = replace(rows, high=torch.tensor([3.0]), best=3 / 7 * SLOPE)
    after = step(attack, problem, known, slope=level)
    assert float(after.radius) == pytest.approx(2), "half way between what failed and what was found"
    torch.testing.assert_close(after.x, 2 / 7 * SLOPE, rtol=1e-4, atol=1e-6)


# as it is played


@pytest.mark.parametrize("norm", NORMS)
def test_with_an_epsilon_it_stays_within_it_and_breaks_what_is_nearer(norm: Norm) -> None:
    bench = linear_bench(n=12, seed=1, threat=ThreatModel(norm=norm, bounds=(0.0, 1.0)))
    exact = distances(bench)
    epsilon = float(np.median(exact))
    trial = bench.at(epsilon).play(Bisection())
    assert trial.row.rejected == {}
    np.testing.assert_array_equal(trial.broken, exact < epsilon)


def test_what_it_costs() -> None:
    attack = Bisection(steps=9)
    row = linear_bench(classes=5, n=4).at(1e-4).play(attack, restarts=2).row
    assert attack.cost(5) == (10, 9)
    assert (row.forwards, row.backwards) == (4 * 2 * 10, 4 * 2 * 9)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"inner": 0}, "inner is at least 1, got 0"),
        ({"loss": "kl"}, "loss is one of ce, margin, dlr, got 'kl'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        Bisection(**options)


def test_it_is_right() -> None:
    check_attack(Bisection(), seeds=2)

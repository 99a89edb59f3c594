"""FMN: the distance of linear models in four norms and every box, and its rules for ball and step by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.fmn import FMN, FMNRows
from torch import Tensor

from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel
from tests.planes import distances

NORMS = [Norm.LINF, Norm.L2, Norm.L1]


@dataclass(frozen=True, kw_only=True)
class Spy(FMN):
    """Notes whose rows there were, what it was told, and what came of them."""

    seen: list[tuple[Tensor, Reply, FMNRows]]

    def step(self, problem: Problem, rows: FMNRows, reply: Reply) -> FMNRows:
        moved = super().step(problem, rows, reply)
        self.seen.append((problem.ids, reply, moved))
        return moved


def found(bench: Bench, restarts: int = 1, distance: bool = True, **options: Any) -> np.ndarray:
    """The size of the nearest adversarial point of each sample, of what the attack itself knows."""
    seen: list[tuple[Tensor, Reply, FMNRows]] = []
    row = bench.play(Spy(seen=seen, **options), restarts=restarts, distance=distance).row
    assert row.status == "ran", row.reason
    assert row.rejected == {}
    sizes = np.full(len(bench.samples), np.inf)
    for ids, _, rows in seen:
        np.minimum.at(sizes, ids.numpy(), rows.best_size.numpy())
    return sizes


def finds(bench: Bench, restarts: int = 1, **options: Any) -> None:
    """Within 1 % of each sample's own exact distance, and not below it."""
    exact = distances(bench)
    near = np.isfinite(exact)
    assert near.sum() >= 4
    ratio = found(bench, restarts, **options)[near] / exact[near]
    assert (ratio > 1 - 1e-4).all(), ratio
    assert (ratio < 1.01).all(), ratio


@pytest.mark.parametrize(
    ("bounds", "loss"), [(None, "margin"), ((0.0, 1.0), "margin"), ((-1.0, 1.0), "dlr"), ((-3.0, 12.0), "margin")]
)
@pytest.mark.parametrize("norm", NORMS)
def test_finds_the_distance_with_two_classes(norm: Norm, bounds: tuple[float, float] | None, loss: str) -> None:
    finds(linear_bench(n=6, seed=1, shape=(1, 3, 4), threat=ThreatModel(norm=norm, bounds=bounds)), loss=loss)


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("norm", NORMS)
def test_finds_it_with_more_classes_where_restarts_go_for_each(norm: Norm, classes: int) -> None:
    bench = linear_bench(classes=classes, n=6, seed=1, threat=ThreatModel(norm=norm, bounds=(-2.0, 3.0)))
    finds(bench, restarts=classes)
    if norm is Norm.LINF and classes == 3:
        assert (found(bench) > 1.05 * distances(bench)).any(), "the first goes for any class"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [None, (0.1, 0.9), (-1.0, 2.0)])
def test_finds_it_with_weights_frozen_features_and_a_goal(norm: Norm, bounds: tuple[float, float] | None) -> None:
    uneven = {"weights": np.geomspace(0.5, 2, 20).astype(np.float32), "frozen": np.arange(20) % 5 == 2}
    bench = linear_bench(n=5, seed=2, shape=(20,), threat=ThreatModel(norm=norm, bounds=bounds, **uneven))
    finds(bench)
    made = linear_bench(
        classes=3, n=10, seed=2, shape=(20,), threat=ThreatModel(norm=norm, bounds=bounds, goal=Goal(1))
    )
    finds(replace(made, samples=made.samples.take(made.samples.labels != 1)), steps=150)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_finds_the_fewest_features(classes: int) -> None:
    """Bounds so wide that each feature has nearly the same room: then the steepest are also those that gain most."""
    weights = np.geomspace(0.5, 2, 60).astype(np.float32)  # which l0 does not know
    threat = ThreatModel(norm=Norm.L0, bounds=(-0.1, 1.1), weights=weights, frozen=np.arange(60) % 5 == 2)
    made = linear_bench(classes=classes, n=8, seed=1, shape=(60,), threat=threat)
    target = made.target
    assert isinstance(target, LinearTarget)
    centre = np.full_like(made.samples.inputs, 0.5) + 0.01 * (made.samples.inputs - 0.5)
    labels = target.labels(centre, batch=1).astype(np.int64)
    made = replace(made, samples=Samples(inputs=centre, labels=labels, ids=np.arange(8)))
    target.bias[labels[0]] += 12  # so that it takes several
    made = replace(made, samples=made.samples.take(target.labels(centre, batch=1) == labels))
    fewest = target.radii(made.samples, threat)
    assert fewest.max() >= 3
    np.testing.assert_array_equal(found(made, restarts=classes), fewest)


@pytest.mark.parametrize("norm", NORMS)
def test_a_distance_does_not_depend_on_the_scale_of_scores_or_inputs(norm: Norm) -> None:
    bench = linear_bench(n=6, seed=4, threat=ThreatModel(norm=norm, bounds=(0.0, 1.0)))
    target = bench.target
    assert isinstance(target, LinearTarget)
    steeper = replace(bench, target=LinearTarget(1000 * target.weight, 1000 * target.bias))
    np.testing.assert_allclose(found(steeper), found(bench), rtol=1e-3)
    pixels = replace(bench.samples, inputs=255 * bench.samples.inputs)
    wide = ThreatModel(norm=norm, bounds=(0.0, 255.0))
    coarse = replace(bench, target=LinearTarget(target.weight / 255, target.bias), samples=pixels, threat=wide)
    np.testing.assert_allclose(found(coarse), 255 * found(bench), rtol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_steps_smaller_than_those_of_an_8_bit_input_add_up(norm: Norm) -> None:
    made = linear_bench(n=6, seed=4, shape=(50,))
    pixels = (np.rint(255 * made.samples.inputs) / 255).astype(np.float32)
    labels = made.target.labels(pixels, batch=1).astype(np.int64)
    samples = replace(made.samples, inputs=pixels, labels=labels)
    made = replace(made, samples=samples, threat=ThreatModel(norm=norm, bounds=(0.0, 1.0), grid=1 / 255))
    near, exact = found(made), distances(made)
    room = {Norm.LINF: 1 / 255, Norm.L2: 50**0.5 / 510, Norm.L1: 50 / 510}[norm]  # rounding every feature
    assert (near >= exact * (1 - 1e-4)).all()
    assert (near <= 1.01 * exact + room).all()


# the rules, by hand


def hand(norm: Norm = Norm.L2, **options: Any) -> tuple[Problem, Tensor]:
    """Two classes, three features, inputs 0; the slope of the loss is (2, -3, 6): 7, 6 and 11 in l2, l1's and linf's
    dual norms. The label leads by 14."""
    weight = np.array([[0.0, 0.0, 0.0], [2.0, -3.0, 6.0]])
    samples = Samples(inputs=np.zeros((1, 3), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    threat = ThreatModel(norm=norm, epsilon=100.0, **({"bounds": (-50.0, 50.0)} | options))
    bench = Bench(target=LinearTarget(weight, np.array([14.0, 0.0])), samples=samples, threat=threat)
    return bench.problem(), torch.tensor([[2.0, -3.0, 6.0]])


def step(attack: FMN, problem: Problem, rows: FMNRows, age: int = 0) -> FMNRows:
    """One step, with the reply that the model would give."""
    slope = torch.tensor([[2.0, -3.0, 6.0]])
    lead = 14 - (rows.point * slope).sum(dim=1)
    scores = torch.stack([lead, torch.zeros_like(lead)], dim=1)
    reply = Reply(
        points=rows.point,
        owner=torch.zeros(1, dtype=torch.int64),
        labels=scores.argmax(dim=1),
        scores=scores,
        loss=-lead,
        gradient=slope,
    )
    return attack.step(problem.at(torch.tensor([age]), 2), rows, reply)


@pytest.mark.parametrize(("norm", "dual"), [(Norm.L2, 7), (Norm.L1, 6), (Norm.LINF, 11)])
def test_until_it_has_been_adversarial_the_ball_reaches_as_far_as_the_gradient_predicts(norm: Norm, dual: int) -> None:
    problem, _ = hand(norm)
    rows = step(FMN(), problem, FMN().start(problem))
    assert float(rows.radius) == pytest.approx(14 / dual, rel=2e-3)
    near = replace(rows, point=0.5 * rows.point)  # from there again: what it is away, and what is still to go
    expected = (
        float(problem.size(near.point)) + (14 - float((near.point * torch.tensor([2.0, -3.0, 6.0])).sum())) / dual
    )
    assert float(step(FMN(), problem, near, 1).radius) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_the_ball_shrinks_while_adversarial_and_grows_while_not(norm: Norm) -> None:
    problem, slope = hand(norm)
    attack = FMN(gamma=0.2, last_gamma=0.1, steps=10)
    inside = replace(attack.start(problem), point=0.5 * slope, radius=torch.tensor([40.0]))
    first = step(attack, problem, inside)
    size = float(problem.size(inside.point))
    assert float(first.best_size) == pytest.approx(size)
    assert float(first.radius) == pytest.approx(min(size, 0.8 * 40)), "no larger than what has been found"
    smaller = step(attack, problem, replace(inside, radius=torch.tensor([0.5])), 5)
    assert float(smaller.radius) == pytest.approx(0.5 * 0.85), "gamma is half way down at half of the steps"
    outside = replace(first, point=0.1 * slope)
    after = step(attack, problem, outside, 5)
    assert float(after.radius) == pytest.approx(1.15 * float(first.radius))
    assert torch.equal(after.best, inside.point), "the last point is not the best"
    further = step(attack, problem, replace(first, point=2 * slope), 5)
    assert torch.equal(further.best, inside.point), "nor is one that is further away"


def test_in_l0_the_ball_changes_by_whole_features() -> None:
    problem, slope = hand(Norm.L0)
    attack = FMN(steps=10)
    rows = attack.start(problem)
    assert float(rows.radius) == 1
    assert float(step(attack, problem, rows).radius) == 2
    all_three = replace(rows, point=slope, radius=torch.tensor([3.0]))
    assert float(step(attack, problem, all_three).radius) == 2
    assert float(step(attack, problem, replace(all_three, radius=torch.tensor([40.0]))).radius) == 3
    assert float(step(FMN(gamma=0.5), problem, replace(all_three, radius=torch.tensor([5.0]))).radius) == 2


def test_steps_follow_the_gradient_and_get_shorter_by_a_cosine() -> None:
    problem, slope = hand(bounds=(-0.5, 0.5))  # as wide as in the paper
    attack = FMN(steps=20, step_size=0.1, last_step=0.02)
    started = replace(attack.start(problem), best_size=torch.tensor([9.0]), radius=torch.tensor([9.0]))
    for age in (0, 5, 19):
        moved = step(attack, problem, started, age).point
        rate = 0.02 + 0.08 * (1 + cos(pi * age / 20)) / 2
        torch.testing.assert_close(moved, rate * slope / 7, rtol=1e-5, atol=1e-6)
    assert (step(FMN(step_size=2.0), problem, started).point.abs() <= 0.5).all()


def test_in_the_end_it_proposes_the_best_point_brought_into_the_ball() -> None:
    problem, slope = hand()
    narrow = replace(problem, epsilon=torch.tensor([1.5]))
    started = replace(FMN().start(narrow), best=slope, best_size=torch.tensor([7.0]))
    last = step(FMN(), narrow, started, 99).x
    torch.testing.assert_close(last, slope / 7 * 1.5, rtol=1e-4, atol=1e-5)


def test_the_further_restarts_go_for_one_class_each() -> None:
    bench = linear_bench(classes=4, n=5, seed=3, threat=ThreatModel(bounds=(-2.0, 3.0)))
    problem, attack = bench.problem(), FMN()
    scores = torch.from_numpy(bench.target.scores(bench.samples.inputs, batch=1))
    owner = torch.arange(5)
    reply = Reply(points=problem.inputs, owner=owner, labels=problem.labels, scores=scores)
    order = attack.learn(problem, reply)
    for restart in range(6):
        row = replace(problem, notes=order, restarts=torch.full_like(problem.labels, restart))
        loss = attack.objective(scores, row, attack.start(row))
        if restart == 0:
            torch.testing.assert_close(loss, -problem.margin(scores))
            continue
        aim = scores.argsort(dim=1, descending=True)[:, 1 + (restart - 1) % 3]
        chosen = scores.gather(1, aim[:, None])[:, 0]
        torch.testing.assert_close(loss, chosen - scores.amax(dim=1))


# as it is played


def test_what_it_costs() -> None:
    attack = FMN(steps=7)
    row = linear_bench(classes=5, n=4).at(1e-4).play(attack, restarts=2).row
    forwards, backwards = attack.cost(5)
    assert (forwards, backwards) == (8, 7)
    assert row.forwards == 4 * (2 * forwards + attack.survey_cost(5)[0])
    assert row.backwards == 4 * 2 * backwards


@pytest.mark.parametrize("norm", NORMS)
def test_the_ledger_has_the_distances(norm: Norm) -> None:
    bench = linear_bench(n=6, seed=1, threat=ThreatModel(norm=norm, bounds=(0.0, 1.0)))
    ratio = bench.play(FMN(), distance=True).ledger.nearest / distances(bench)
    assert ((ratio >= 1) & (ratio < 1.01)).all()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"step_size": 0.0}, "last_step is above 0 and at most step_size, got 0.01 and 0.0"),
        ({"last_step": -1.0}, "last_step is above 0"),
        ({"gamma": 1.0}, "gamma below 1"),
        ({"last_gamma": 0.2}, "at most gamma"),
        ({"loss": "ce"}, "loss is one of margin, dlr, got 'ce'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        FMN(**options)


@dataclass(frozen=True, kw_only=True)
class Sizes(FMN):
    norms: ClassVar[frozenset[Norm]] = frozenset(NORMS)


@dataclass(frozen=True, kw_only=True)
class Counts(FMN):
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L0})


def test_it_is_right() -> None:
    check_attack(Sizes(steps=60), seeds=1)
    check_attack(
        Counts(steps=60), seeds=1, must_break=False
    )  # unlike sigma-zero, it does not weigh how far a feature may go

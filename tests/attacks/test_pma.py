"""PMA: the published halves and steps, and a gradient where probabilities have saturated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.pma import GAP, PMA, PMARows
from phases import phases, restarted
from torch import Tensor
from walks import check_threats

from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

NORMS = [Norm.LINF, Norm.L2]


def bench(classes: int = 5, n: int = 20, **options: Any) -> Bench:
    made = linear_bench(classes=classes, n=n, seed=1, threat=ThreatModel(**({"epsilon": 0.03} | options)))
    return replace(made, execution=Execution(device="cpu", threads=1, precision="float64"))


def louder(made: Bench, factor: float) -> Bench:
    """The same model, its scores multiplied."""
    assert isinstance(made.target, LinearTarget)
    target = LinearTarget(factor * made.target.weight, factor * made.target.bias)
    return replace(made, target=target, execution=Execution(device="cpu", threads=1))


def fresh(problem: Problem) -> PMARows:
    return PMARows(x=problem.inputs, scale=torch.ones(len(problem)))


def climbed(scores: Tensor, problem: Problem, age: int, restart: int, steps: int = 10) -> Tensor:
    """The objective of rows that are all at this age and restart."""
    at = restarted(problem, restart).at(torch.full_like(problem.ages, age), 3)
    return PMA(steps=steps).objective(scores, at, fresh(problem))


def scores_of(made: Bench, spread: float = 1.0) -> Tensor:
    n, classes = len(made.samples), made.target.classes
    return spread * torch.from_numpy(np.random.default_rng(0).normal(size=(n, classes)))


@pytest.mark.parametrize("steps", [10, 7])
def test_each_half_climbs_what_was_published(steps: int) -> None:
    """p(label) in the first step (sic), then -p(label) or p(rival) by the restart, then their difference."""
    made = bench()
    problem, scores = made.problem(), scores_of(made)
    p = np.exp(scores.numpy())
    p /= p.sum(axis=1, keepdims=True)
    rows, y = np.arange(len(p)), made.samples.labels
    label = p[rows, y]
    rest = p.copy()
    rest[rows, y] = 0
    rival = rest.max(axis=1)
    for restart in range(4):
        for age in range(steps):
            half = rival if restart % 2 else -label
            wanted = label if age == 0 else half if age < steps / 2 else rival - label
            np.testing.assert_allclose(climbed(scores, problem, age, restart, steps), wanted, atol=1e-12)


def test_rows_of_all_ages_and_restarts_in_one_batch_have_each_their_own() -> None:
    made = bench(n=40)
    problem, scores = made.problem(), scores_of(made)
    ages, restarts = torch.arange(40) % 10, torch.arange(40) // 10
    mixed = restarted(problem, restarts).at(ages, 3)
    together = PMA(steps=10).objective(scores, mixed, fresh(problem))
    for row in range(40):
        alone = climbed(scores, problem, int(ages[row]), int(restarts[row]))
        assert float(alone[row]) == float(together[row])


def test_steps_shrink_twice_from_two_epsilon() -> None:
    """2 epsilon (1 + cos) / 2, the wave anew after the first step of the second half."""
    share = PMA(steps=100).share(torch.arange(100)).tolist()
    assert share[0] == pytest.approx(1 + np.cos(np.pi / 50))
    for first, middle in ((1, 26), (51, 76)):
        assert share[first] == pytest.approx(2)
        assert share[middle] == pytest.approx(1)
    assert share[50] == pytest.approx(1 + np.cos(49 * np.pi / 50), abs=1e-6)
    assert share[99] == pytest.approx(1 + np.cos(48 * np.pi / 50), abs=1e-6)
    assert share[1:51] == sorted(share[1:51], reverse=True)
    assert share[51:] == sorted(share[51:], reverse=True)
    odd = PMA(steps=5).share(torch.arange(5)).tolist()
    assert odd == pytest.approx([1 + np.cos(np.pi * s / 2.5) for s in (-1, 0, 1, -0.5, 0.5)])


def test_the_first_step_goes_the_wrong_way_and_the_last_ones_to_the_worst_corner() -> None:
    made = bench(classes=2, epsilon=0.005)
    assert isinstance(made.target, LinearTarget)
    rows, _ = phases(made, PMA(steps=20), made.problem())
    inputs, slope = made.problem().inputs, torch.from_numpy(made.target.weight[1] - made.target.weight[0])
    worst = torch.where(made.problem().labels[:, None] == 0, 1, -1) * slope.sign()
    begun = (rows[1].x - inputs) * worst
    assert (begun < 0).float().mean() > 0.95  # almost 2 epsilon: all but starts in a far corner end in the other
    np.testing.assert_allclose(rows[-1].x - inputs, 0.005 * worst, atol=1e-7)


def test_even_and_odd_restarts_take_different_ways() -> None:
    made = bench(classes=5)
    ways = []
    for restart in (0, 1, 2, 3):
        ways.append(phases(made, PMA(steps=40), restarted(made.problem(), restart))[0][20].x)
    away = [(ways[0] - way).abs().amax(dim=1) for way in ways]
    assert (away[2] < 2e-3).float().mean() > 0.8  # on a linear model the way there hardly depends on the start
    assert (away[1] > 0.01).float().mean() > 0.5
    assert ((ways[1] - ways[3]).abs().amax(dim=1) < 2e-3).float().mean() > 0.8


def test_with_a_target_it_is_the_rival() -> None:
    made = bench(goal=Goal(2))
    problem, scores = made.problem(), scores_of(made)
    p = scores.softmax(dim=1)
    rest = p.clone()
    rest[:, 2] = 0
    strongest = rest.amax(dim=1)
    for age, restart, wanted in ((0, 0, strongest), (3, 0, -strongest), (3, 1, p[:, 2]), (7, 0, p[:, 2] - strongest)):
        np.testing.assert_allclose(climbed(scores, problem, age, restart), wanted, atol=1e-12)


# scores that saturate


@pytest.mark.parametrize("age", [0, 3, 7])
@pytest.mark.parametrize("restart", [0, 1])
def test_saturated_probabilities_have_a_gradient_and_others_are_as_published(age: int, restart: int) -> None:
    problem = bench(classes=3, n=3).problem()
    problem = replace(problem, labels=torch.zeros_like(problem.labels))
    scores = torch.tensor([[9.5, 0, -3], [4e3, 0, 3.9e3], [5e4, 1e4, 0]], requires_grad=True)
    values = climbed(scores, problem, age, restart)
    (gradient,) = torch.autograd.grad(values.sum(), scores)
    assert (gradient.abs().amax(dim=1) > 1e-10).all()
    (blind,) = torch.autograd.grad(scores.softmax(dim=1)[:, 0].sum(), scores)
    assert (blind[1:].abs() < 1e-30).all()
    plain = scores.detach()[0].softmax(dim=0)
    sign = 1 if age == 0 else -1
    wanted = {0: plain[0], 3: plain[1] if restart else -plain[0], 7: plain[1] - plain[0]}[age]
    assert float(values[0].detach()) == float(wanted)
    assert (sign * gradient[:, 0] > 0).all()


def test_scores_further_apart_than_the_gap_are_brought_to_it() -> None:
    problem = replace(bench(classes=2, n=1).problem(), labels=torch.zeros(1, dtype=torch.int64))
    one, other = (climbed(torch.tensor([[z, 0.0]]), problem, 0, 0) for z in (GAP, 1e6))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert climbed(torch.tensor([[GAP - 1, 0.0]]), problem, 0, 0) < one


def test_log_probabilities_do_as_well_as_logits() -> None:
    made = bench()
    problem = made.problem()
    for spread in (1.0, 100.0):
        scores = scores_of(made, spread)
        for age in (0, 3, 7):
            np.testing.assert_allclose(
                climbed(scores.log_softmax(dim=1), problem, age, 1), climbed(scores, problem, age, 1), atol=1e-9
            )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 6])
def test_a_thousandfold_of_the_scores_loses_nothing(norm: Norm, classes: int) -> None:
    epsilon = {Norm.LINF: 0.04, Norm.L2: 0.12}[norm] * (3 if classes == 2 else 1)
    made = bench(classes=classes, n=60, norm=norm, epsilon=epsilon)
    broken = [louder(made, factor).play(PMA(steps=40), restarts=2).broken for factor in (1, 1e3)]
    clear = abs(made.target.radii(made.samples, made.threat) - epsilon) > 0.01 * epsilon  # type: ignore[attr-defined]
    assert 10 < broken[0].sum() < 50
    np.testing.assert_array_equal(broken[0][clear], broken[1][clear])


# the whole


@pytest.mark.parametrize("norm", NORMS)
def test_it_breaks_what_can_be_broken_among_several_classes(norm: Norm) -> None:
    made = bench(n=60, norm=norm, epsilon=0.04 if norm is Norm.LINF else 0.12)
    radii = made.target.radii(made.samples, made.threat)  # type: ignore[attr-defined]
    broken = made.play(PMA(steps=40), restarts=2).broken
    assert not (broken & (radii > made.threat.epsilon)).any()
    assert broken.sum() >= 0.95 * (radii < 0.99 * made.threat.epsilon).sum() > 10


def test_one_step_alone_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^pma: steps is at least 2, since the first moves away, got 1\.$"):
        PMA(steps=1)


def test_it_keeps_to_every_threat_and_to_its_cost() -> None:
    check_threats(PMA(steps=6))


def test_it_is_right() -> None:
    check_attack(PMA(steps=40), seeds=2)

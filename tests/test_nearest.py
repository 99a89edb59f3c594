"""A distance stage: everybody the same budget, the nearest point of each, judged and tightened on the target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import TargetUnavailable, UsageError
from auditor.problem import Problem
from auditor.suite import Stage
from auditor.threat import Norm, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Outward(Attack):
    """Walks along the steepest direction of two classes in steps of `pace`, as far as it comes."""

    name: ClassVar[str] = "outward"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2, Norm.L1, Norm.L0})
    minimum_norm: ClassVar[bool] = True

    steps: int = 20
    pace: float = 0.05

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.inputs)

    def query(self, problem: Problem, rows: Rows) -> Query:
        return Query(points=rows.x, probes=~problem.contains(rows.x))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        gradient = reply.need_gradient()
        direction = gradient.sign() if problem.norm is Norm.LINF else gradient / _length(problem, gradient)
        return Rows(x=(rows.x + self.pace * direction).clamp(problem.lower, problem.upper))


def _length(problem: Problem, gradient: Tensor) -> Tensor:
    return problem.wide(gradient.flatten(1).norm(dim=1).clamp_min(1e-9))


class Other(LinearTarget):
    """Answers as if its boundary were further away than the twin says: the twin's gap, less `lag`."""

    lag = 0.0

    def scores(self, inputs: np.ndarray, *, batch: int = 64) -> np.ndarray:
        scores = super().scores(inputs, batch=batch)
        top = scores.max(axis=1, keepdims=True) - scores.min(axis=1, keepdims=True)
        flipped = scores.argmax(axis=1) != self.own
        weak = flipped & (top[:, 0] < self.lag)
        return np.where(weak[:, None], scores[:, ::-1], scores)

    own = 0


def bench(norm: Norm = Norm.LINF, n: int = 12, **options: object) -> Bench:
    threat = ThreatModel(norm=norm, epsilon=0.05, **options)  # type: ignore[arg-type]
    return linear_bench(seed=3, n=n, threat=threat)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_distances_are_those_of_the_closed_form(norm: Norm) -> None:
    made = bench(norm)
    radii = made.target.radii(made.samples, made.threat)  # type: ignore[attr-defined]
    found = made.play(Outward(steps=150, pace=0.004), distance=True).ledger.nearest
    np.testing.assert_allclose(found, radii, rtol=2e-3, atol=2e-5)
    assert (found >= radii - 1e-6).all()


def test_what_lies_within_epsilon_is_broken_and_nothing_else() -> None:
    made = bench()
    ledger = made.play(Outward(steps=60, pace=0.01), distance=True).ledger
    assert 0 < ledger.broken.sum() < len(ledger.broken)
    np.testing.assert_array_equal(ledger.broken, ledger.nearest <= 0.05)
    for sample in np.flatnonzero(ledger.broken):
        assert ledger.adversarial[int(sample)].tobytes() == ledger.nearest_point[int(sample)].tobytes()


def test_the_broken_are_measured_too_and_keep_their_example() -> None:
    made = bench()
    coarse = Stage(attack=Outward(steps=1, pace=0.05), title="first")
    ledger, rows = made.play_suite([coarse, Stage(attack=Outward(), distance=True, title="second")])
    first = ledger.stage == 0
    assert first.any()
    assert rows[1].entered == len(ledger.broken)
    assert np.isfinite(ledger.nearest).all()
    for sample in np.flatnonzero(first):
        assert ledger.adversarial[int(sample)].tobytes() != ledger.nearest_point[int(sample)].tobytes()


def test_everybody_has_the_same_budget() -> None:
    trial = bench().play(Outward(steps=7), distance=True)
    assert (trial.ledger.spent[:, 0] == 8).all()
    assert (trial.ledger.spent[:, 1] == 7).all()


def test_where_nothing_is_found_the_distance_is_infinite() -> None:
    ledger = bench().play(Outward(steps=1, pace=1e-6), distance=True).ledger
    assert np.isinf(ledger.nearest).all()
    assert ledger.full.all()
    assert ledger.ranged.all()


def lagging(lag: float) -> Bench:
    """Samples of class 0, whose target lags behind the twin."""
    made = bench(n=40)
    samples = made.samples.take(made.samples.labels == 0)
    target = Other(made.target.weight, made.target.bias)  # type: ignore[attr-defined]
    target.lag = lag
    return replace(made, target=target, samples=samples)


def test_a_point_that_only_fools_the_twin_is_moved_on_until_the_target_is_wrong() -> None:
    exact, late = lagging(0.0), lagging(0.05)
    radii = exact.target.radii(exact.samples, exact.threat)  # type: ignore[attr-defined]
    slope = np.abs(exact.target.weight[0] - exact.target.weight[1]).sum()  # type: ignore[attr-defined]
    found = late.play(Outward(steps=200, pace=0.002), distance=True).ledger.nearest
    needed = radii + 0.05 / slope
    assert np.isfinite(found).all()
    assert (found >= needed - 1e-6).all()
    assert (found <= 1.1 * needed).all()


def test_a_point_that_never_fools_the_target_is_refused() -> None:
    trial = lagging(1e9).play(Outward(), distance=True)
    assert np.isinf(trial.ledger.nearest).all()
    assert trial.row.rejected == {"not misclassified": len(trial.ledger.nearest)}
    assert not trial.broken.any()


def test_a_lost_target_loses_its_samples_and_no_others() -> None:
    made = bench()
    asked = iter(range(10**6))
    answer = made.target.scores

    def scores(inputs: np.ndarray, *, batch: int = 64) -> np.ndarray:
        if len(inputs) == 1 and next(asked) >= 60:
            raise TargetUnavailable("gone")
        return answer(inputs, batch=batch)

    made.target.scores = scores  # type: ignore[method-assign]
    ledger = made.play(Outward(), distance=True).ledger
    assert ledger.lost.any()
    assert np.isfinite(ledger.nearest).any()
    assert not ledger.ranged[ledger.lost].any()


def test_bounds_and_frozen_features_hold_without_an_epsilon() -> None:
    frozen = np.zeros(12, bool)
    frozen[:6] = True
    made = bench(Norm.L2, bounds=(0.1, 0.9), frozen=frozen)
    ledger = made.play(Outward(steps=80), distance=True).ledger
    assert len(ledger.nearest_point) > 6
    for sample, point in ledger.nearest_point.items():
        assert point.min() >= np.float32(0.1)
        assert point.max() <= np.float32(0.9)
        np.testing.assert_array_equal(point[:6], made.samples.inputs[sample, :6])


def test_a_fixed_budget_has_no_distance() -> None:
    from auditor.plugins.attacks.pgd import PGD

    with pytest.raises(UsageError, match="minimum-norm"):
        Stage(attack=PGD(), distance=True, title="pgd")
    with pytest.raises(UsageError, match="same budget"):
        Stage(attack=Outward(), distance=True, share=0.5, title="outward")


def test_boxes_of_their_own_have_no_distance() -> None:
    made = bench()
    x = made.samples.inputs
    samples = replace(made.samples, lower=x - 0.1, upper=x + 0.1)
    threat = ThreatModel(epsilon=1.0, boxes=True)
    row = replace(made, samples=samples, threat=threat).play(Outward(), distance=True).row
    assert row.status == "skipped"
    assert "boxes" in str(row.reason)


@dataclass(frozen=True, kw_only=True)
class Blind(Outward):
    """The same walk along a direction drawn at random, asking the target itself."""

    name: ClassVar[str] = "blind"
    access: ClassVar[Access] = Access.SCORE

    steps: int = 60

    def query(self, problem: Problem, rows: Rows) -> Query:
        return Query(points=rows.x, gradient=False, probes=~problem.contains(rows.x))

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        share = problem.wide((problem.ages + 1) * self.pace)
        signs = problem.at(torch.zeros_like(problem.ages), 2).draws.signs(*problem.inputs.shape[1:])
        return Rows(x=(problem.inputs + share * signs).clamp(problem.lower, problem.upper))


@dataclass(frozen=True, kw_only=True)
class Deaf(Blind):
    name: ClassVar[str] = "deaf"
    access: ClassVar[Access] = Access.DECISION


@pytest.mark.parametrize("attack", [Blind(), Deaf()])
def test_attacks_without_gradients_have_distances_too(attack: Attack) -> None:
    ledger = bench(n=30).play(attack, distance=True).ledger
    assert np.isfinite(ledger.nearest).any()
    np.testing.assert_array_equal(ledger.broken, ledger.nearest <= 0.05)


@dataclass(frozen=True, kw_only=True)
class Lost(Outward):
    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return Rows(x=rows.x + 10)


def test_a_row_that_ends_beyond_the_bounds_has_looked_at_nothing() -> None:
    trial = bench(bounds=(0.0, 1.0)).play(Lost(steps=1), distance=True)
    assert not trial.ledger.full.any()
    assert not trial.ledger.ranged.any()
    assert trial.row.rejected == {"outside the bounds": len(trial.ledger.full)}


def test_a_step_of_the_grid_that_rounds_above_epsilon_is_within_it() -> None:
    made = replace(linear_bench(seed=3, n=40), threat=ThreatModel(epsilon=0.3, grid=0.1, bounds=(0.0, 1.0)))
    inputs = (np.round(made.samples.inputs * 10) / 10).astype(np.float32)
    labels = made.target.labels(inputs, batch=1).astype(np.int64)
    made = replace(made, samples=replace(made.samples, inputs=inputs, labels=labels))
    ledger = made.play(Outward(pace=0.1, steps=9), distance=True).ledger
    at = np.isclose(ledger.nearest, 0.3)
    assert at.any()
    assert ledger.broken[at].all()


def test_on_a_grid_points_stay_as_they_were_found() -> None:
    made = bench(grid=1 / 64)
    inputs = np.round(made.samples.inputs * 64) / 64
    labels = made.target.labels(inputs.astype(np.float32), batch=1)
    samples = replace(made.samples, inputs=inputs.astype(np.float32), labels=labels.astype(np.int64))
    ledger = replace(made, samples=samples).play(Outward(), distance=True).ledger
    assert np.isfinite(ledger.nearest).any()
    for point in ledger.nearest_point.values():
        np.testing.assert_array_equal(point, (np.rint(point * 64) / 64).astype(np.float32))


def test_the_same_in_another_width() -> None:
    one, other = (replace(bench(), execution=replace_width(width)).play(Outward(), distance=True) for width in (1, 64))
    np.testing.assert_allclose(one.ledger.nearest, other.ledger.nearest, rtol=1e-6)
    assert torch.is_grad_enabled()


def replace_width(width: int):  # type: ignore[no-untyped-def]
    from auditor.execution import Execution

    return Execution(device="cpu", threads=1, width=width, precision="float64")


class Fickle(LinearTarget):
    """Right at the clean inputs; elsewhere it answers by lot: class 1 with a chance of one half, else its own."""

    rng = np.random.default_rng(0)
    clean: np.ndarray

    def _run(self, x: np.ndarray) -> np.ndarray:
        right = super()._run(x)
        known = np.array([(row == self.clean).all(axis=1).any() for row in x.reshape(len(x), 1, -1)])
        flip = (self.rng.random(len(x)) < 0.5) & ~known
        return np.where(flip[:, None], -right, right)


def test_a_target_that_changes_its_mind_leaves_no_example_within_epsilon_that_does_not_count() -> None:
    made = linear_bench(n=40, distance=0.1).at(0.2)
    assert isinstance(made.target, LinearTarget)
    target = Fickle(made.target.weight, made.target.bias)
    target.clean = made.samples.inputs.reshape(40, -1)
    ledger = replace(made, target=target).play(Outward(), distance=True).ledger
    within = ledger.nearest <= 0.2
    assert 0 < within.sum() < 40
    assert (ledger.broken == within).all()

"""JSMA: the worked example, pairs against brute force, and what ends a walk."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks import jsma
from auditor.plugins.attacks.jsma import JSMA, best_pair

from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

JACOBIAN = np.array([[3, 1, -1, 2, 0], [-1, -2, 1, 1, -1], [-1, -1, -2, -1, -1]], np.float32)


def sums(target: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What a change of each feature does for the target, and against the others together."""
    towards = JACOBIAN[target]
    against = JACOBIAN.sum(axis=0) - towards
    return torch.tensor(theta * towards)[None], torch.tensor(-theta * against)[None]


@pytest.mark.parametrize(
    ("target", "theta", "without", "pair", "score"),
    [
        (0, 1.0, [], (0, 1), 20.0),
        (0, 1.0, [1], (0, 4), 12.0),
        (0, 1.0, [1, 4], (0, 3), 10.0),
        (0, 1.0, [0, 3, 4], None, -np.inf),  # only (1, 2) is left, which does not raise the target
        (0, 1.0, [0, 1, 3], None, -np.inf),  # only (2, 4)
        (1, -1.0, [], (0, 1), 6.0),
        (1, -1.0, [1], (0, 4), 2.0),
        (1, -1.0, [0], (1, 3), 1.0),
    ],
)
def test_pairs_of_the_worked_example(
    target: int, theta: float, without: list[int], pair: tuple[int, int] | None, score: float
) -> None:
    free = torch.ones(1, 5, dtype=torch.bool)
    free[0, without] = False
    found, value = best_pair(*sums(target, theta), free)
    assert float(value[0]) == score
    assert pair is None or tuple(sorted(found[0].tolist())) == pair


@pytest.mark.parametrize("entries", [1, 50, 1 << 22])
@pytest.mark.parametrize("kind", ["scattered", "tied", "traded off", "hopeless"])
def test_no_pair_is_better_than_the_best(kind: str, entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traded off: what helps the target helps the others too, so that no feature can be left out beforehand."""
    monkeypatch.setattr(jsma, "ENTRIES", entries)
    rng = np.random.default_rng(0)
    gain, loss = rng.normal(size=(2, 40, 12)).astype(np.float32)
    if kind == "tied":
        gain, loss = gain.round(), loss.round()
    if kind == "traded off":
        gain, loss = gain, (0.3 - gain).astype(np.float32)
    if kind == "hopeless":
        loss = -np.abs(loss)
    free = rng.random((40, 12)) < 0.8
    pairs, scores = best_pair(torch.from_numpy(gain), torch.from_numpy(loss), torch.from_numpy(free))
    for a, b, may, (p, q), score in zip(gain, loss, free, pairs.tolist(), scores.tolist(), strict=True):
        products = {
            (i, j): (a[i] + a[j]) * (b[i] + b[j])
            for i, j in combinations(range(12), 2)
            if may[i] and may[j] and a[i] + a[j] > 0 and b[i] + b[j] > 0
        }
        assert score == max(products.values(), default=-np.inf)
        assert not products or score == products[min(p, q), max(p, q)]


def test_a_slope_that_is_no_number_is_left_out() -> None:
    gain, loss = sums(0, 1.0)
    gain[0, 0], loss[0, 1] = float("nan"), float("inf")
    pair, score = best_pair(gain, loss, torch.ones(1, 5, dtype=torch.bool))
    assert (sorted(pair[0].tolist()), float(score[0])) == ([3, 4], 4.0)


def bench(epsilon: float, bias: list[float], target: int | None = 0, high: float = 1.0, **options: Any) -> Bench:
    samples = Samples(inputs=np.zeros((1, 5), np.float32), labels=np.array([2]), ids=np.arange(1))
    threat = ThreatModel(norm=Norm.L0, epsilon=epsilon, bounds=(0.0, high), goal=Goal(target), **options)
    return Bench(target=LinearTarget(JACOBIAN, np.array(bias)), samples=samples, threat=threat)


def test_the_first_pair_is_pushed_to_its_bound() -> None:
    """Features 0 and 1 raise class 0 by 4 and lower class 2 by 2, which closes a gap of 5."""
    trial = bench(2.0, [0.0, 0.0, 5.0]).play(JSMA())
    assert trial.broken.all()
    assert trial.ledger.adversarial[0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert trial.ledger.distance[0] == 2.0


def test_theta_is_a_share_of_the_bounds() -> None:
    """Two features moved by 3 each close a gap of 17; by 1.5 each they close one of 8, and are then moved again."""
    far = [0.0, 0.0, 17.0]
    assert bench(2.0, far, high=3.0).play(JSMA(steps=1)).broken.all()
    assert not bench(2.0, far, high=3.0).play(JSMA(steps=1, theta=0.5)).broken.any()
    trial = bench(2.0, far, high=3.0).play(JSMA(steps=2, theta=0.5))
    assert trial.ledger.adversarial[0].tolist() == [3.0, 3.0, 0.0, 0.0, 0.0]
    trial = bench(2.0, [0.0, 0.0, 8.0], high=3.0).play(JSMA(theta=0.5))
    assert trial.ledger.adversarial[0].tolist() == [1.5, 1.5, 0.0, 0.0, 0.0]


def test_without_bounds_a_change_is_counted_in_weights() -> None:
    weights = np.array([3.0, 2.0, 1.0, 1.0, 1.0], np.float32)
    """Moved by 3 and 2, features 0 and 1 close a gap of 3 · 4 + 2 · 2 = 16."""
    made = bench(2.0, [0.0, 0.0, 15.5])
    threat = ThreatModel(norm=Norm.L0, epsilon=2.0, weights=weights, goal=Goal(0))
    trial = replace(made, threat=threat).play(JSMA(steps=1))
    assert trial.ledger.adversarial[0].tolist() == [3.0, 2.0, 0.0, 0.0, 0.0]


def test_saturated_features_leave_the_search() -> None:
    """After (0, 1) the best pair of the rest is (3, 4): α 2, β -2; together they close a gap of 9."""
    trial = bench(4.0, [0.0, 0.0, 9.0]).play(JSMA())
    assert trial.ledger.adversarial[0].tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_frozen_features_are_never_moved() -> None:
    """Without 0 the best pair is (1, 3), which closes a gap of 5."""
    trial = bench(2.0, [0.0, 0.0, 4.5], frozen=np.eye(5, dtype=bool)[0]).play(JSMA())
    assert trial.ledger.adversarial[0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]


def test_a_row_whose_pairs_are_used_up_ends_by_itself() -> None:
    """(0, 1), then (3, 4); feature 2 is left alone. A third query finds no pair, and the last point is judged."""
    trial = bench(5.0, [0.0, 0.0, 50.0]).play(JSMA(steps=100))
    assert not trial.broken.any()
    assert trial.row.forwards == 1 + 3 + 1
    assert trial.row.backwards == 2 * 3
    assert trial.ledger.best[0].tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_where_no_pair_helps_nothing_is_changed() -> None:
    made = bench(5.0, [0.0, 0.0, 5.0])
    flat = replace(made, target=LinearTarget(np.zeros((3, 5)), np.array([0.0, 0.0, 5.0])))
    trial = flat.play(JSMA())
    assert trial.row.rejected == {"unchanged input": 1}
    assert not trial.ledger.best.any()


def test_more_features_than_epsilon_are_not_proposed() -> None:
    trial = bench(3.0, [0.0, 0.0, 9.0]).play(JSMA())
    assert not trial.broken.any()
    assert trial.row.rejected == {}  # it is over, and asserts nothing
    assert trial.ledger.best[0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_lowering_is_the_mirror_image_of_raising() -> None:
    made = bench(4.0, [0.0, 0.0, 9.0])
    samples = replace(made.samples, inputs=np.ones((1, 5), np.float32))
    mirrored = LinearTarget(-JACOBIAN, np.array([0.0, 0.0, 9.0]) + JACOBIAN.sum(axis=1))
    trial = replace(made, samples=samples, target=mirrored).play(JSMA(theta=-1.0))
    assert trial.ledger.adversarial[0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_both_takes_the_better_direction_and_never_turns_round() -> None:
    """From the middle of the bounds, (2, 3) lowered close 8 of a gap, (0, 1) raised 3 more: both are needed."""
    samples = Samples(inputs=np.full((1, 5), 0.5, np.float32), labels=np.array([2]), ids=np.arange(1))
    weight = np.array([[3, 1, -4, -4, 0], [0, 0, 0, 0, 0], [-1, -1, 4, 4, 0]], np.float32)
    made = Bench(
        target=LinearTarget(weight, np.array([0.0, -50.0, 14.0])),
        samples=samples,
        threat=ThreatModel(norm=Norm.L0, epsilon=4.0, bounds=(0.0, 1.0), goal=Goal(0)),
    )
    assert not made.play(JSMA()).broken.any()
    assert not made.play(JSMA(theta=-1.0)).broken.any()
    trial = made.play(JSMA(both=True))
    assert trial.ledger.best[0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.5]
    half = made.play(JSMA(both=True, theta=-0.4, steps=4))
    np.testing.assert_allclose(half.ledger.best[0], [1.0, 1.0, 0.0, 0.0, 0.5], atol=1e-6)


def test_each_restart_heads_for_the_next_likely_class() -> None:
    """Class 1 is ahead of class 0 at first; only class 0 can be reached."""
    weight = np.array([[1, 1, 0, 0, 0], [0, 0, -1, -1, -1], [-0.1, -0.1, 1, 1, 1]], np.float32)
    made = bench(2.0, [-0.5, 0.0, 1.0], target=None)
    made = replace(made, target=LinearTarget(weight, np.array([-0.5, 0.0, 1.0])))
    assert not made.play(JSMA(), restarts=1).broken.any()
    trial = made.play(JSMA(), restarts=2)
    assert trial.broken.all()
    assert trial.ledger.adversarial[0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    aimed = replace(made, threat=replace(made.threat, goal=Goal(0)))
    assert aimed.play(JSMA()).broken.all()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_passes_are_counted_as_promised(classes: int) -> None:
    made = linear_bench(classes=classes, n=4, shape=(30,), threat=ThreatModel(norm=Norm.L0, epsilon=30.0))
    attack = JSMA(steps=3, theta=1e-6)
    row = made.play(attack, restarts=2).row
    forwards, backwards = attack.cost(classes)
    assert row.forwards == 4 * (2 * forwards + attack.survey_cost(classes)[0])
    assert row.backwards == 4 * 2 * backwards


def test_without_an_epsilon_the_walk_ends_where_the_goal_is_reached() -> None:
    made = bench(1.0, [0.0, 0.0, 5.0])
    trial = made.play(JSMA(), distance=True)
    assert trial.ledger.nearest.tolist() == [2.0]
    assert trial.row.forwards == 1 + 2 + 1
    unreachable = bench(1.0, [0.0, 0.0, 50.0]).play(JSMA(), distance=True)
    assert unreachable.ledger.nearest.tolist() == [np.inf]


@pytest.mark.parametrize("shape", [(20,), (1, 4, 5), (3, 2, 4)])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.5, 2.0)])
def test_it_never_needs_fewer_features_than_there_are(shape: tuple[int, ...], bounds: tuple[float, float]) -> None:
    threat = ThreatModel(norm=Norm.L0, bounds=bounds)
    made = linear_bench(classes=3, shape=shape, n=12, seed=2, threat=threat)
    radii = made.target.radii(made.samples, threat)  # type: ignore[attr-defined]
    nearest = made.play(JSMA(both=True), restarts=2, distance=True).ledger.nearest
    assert np.isfinite(nearest).mean() > 0.7
    assert (nearest >= radii).all()
    assert (nearest <= 2 * np.ceil(radii / 2) + 2)[np.isfinite(nearest)].mean() > 0.8


@pytest.mark.parametrize("theta", [0.0, 1.5, -2.0])
def test_theta_is_checked(theta: float) -> None:
    with pytest.raises(UsageError, match=f"^jsma: theta is between -1 and 1 and not 0, got {theta}.$"):
        JSMA(theta=theta)


def test_it_is_right() -> None:
    check_attack(JSMA(both=True), seeds=2, must_break=False)
    check_attack(JSMA(), seeds=1, must_break=False)

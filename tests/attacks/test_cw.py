"""Carlini and Wagner's attack: exact l2 distances, its first step by hand, and the search for c."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.cw import CW, CWRows

from auditor.attack import Rows
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel
from tests.planes import distances
from tests.walks import X, check_threats, fixture, walk

WEIGHTS = np.array([[0.3, 3.0, 1.0, 1.0], [2.0, 0.5, 1.0, 1.0], [1.0, 1.0, 4.0, 0.25]], np.float32)


def l2(**options: Any) -> ThreatModel:
    return ThreatModel(norm=Norm.L2, **options)


def ratios(bench: Bench, attack: CW, restarts: int = 1) -> np.ndarray:
    """Distances that are found over exact ones."""
    trial = bench.play(attack, restarts=restarts, distance=True)
    assert trial.row.status == "ran", trial.row.reason
    ratio: np.ndarray = trial.ledger.nearest / distances(bench)
    assert (ratio > 1 - 1e-4).all(), ratio
    return ratio


@pytest.mark.parametrize(
    "options",
    [
        {"bounds": (-1.0, 0.85), "weights": WEIGHTS},
        {"bounds": (0.0, 1.0), "frozen": np.arange(12).reshape(3, 4) % 4 == 1},
        {},
    ],
)
def test_finds_the_nearest_point_of_a_linear_model(options: dict[str, Any]) -> None:
    made = linear_bench(shape=(3, 4), n=6, seed=3, threat=l2(**options))
    assert (ratios(made, CW(steps=800, rate=0.02)) < 1.01).all()


def test_the_scale_of_the_inputs_does_not_matter() -> None:
    made = linear_bench(n=6, seed=3, threat=l2(bounds=(0.0, 1.0)))
    target = made.target
    assert isinstance(target, LinearTarget)
    grown = replace(
        made,
        target=LinearTarget(target.weight / 256, target.bias),
        samples=replace(made.samples, inputs=256 * made.samples.inputs),
        threat=l2(bounds=(0.0, 256.0)),
    )
    one, other = (bench.play(CW(steps=300, search=150), distance=True).ledger.nearest for bench in (made, grown))
    np.testing.assert_allclose(other, 256 * one, rtol=1e-3)


def test_restarts_find_the_class_that_is_nearest() -> None:
    made = linear_bench(classes=3, n=10, seed=1, threat=l2(bounds=(-1.0, 2.0)))
    assert (ratios(made, CW(steps=300)) > 1.2).any()
    assert (ratios(made, CW(steps=700), restarts=3) < 1.05).all()


def test_finds_the_nearest_point_of_the_class_that_is_aimed_at() -> None:
    made = linear_bench(classes=3, n=6, seed=1, threat=l2(bounds=(-1.0, 2.0), goal=Goal(1)))
    made = replace(made, samples=made.samples.take(np.flatnonzero(made.samples.labels != 1)))
    assert (ratios(made, CW(steps=600)) < 1.05).all()


def rows_of(rows: Rows) -> CWRows:
    assert isinstance(rows, CWRows)
    return rows


def test_the_first_step_is_adams() -> None:
    """Adam's first step is the rate times the sign: towards class 1, up where its weight is larger. Box 0 to 1."""
    made = fixture(epsilon=10.0, norm=Norm.L2)
    made = replace(made, threat=replace(made.threat, bounds=(0.0, 1.0)))
    rows, replies = walk(made, CW(steps=1, rate=0.01))
    np.testing.assert_array_equal(replies[0].points, X)
    move = rows_of(rows[1]).variable - rows_of(rows[0]).variable
    np.testing.assert_allclose(move, [[-0.01, 0.01, 0.01, -0.01]], rtol=1e-4)


def test_the_variable_is_the_hyperbolic_arc_tangent_of_the_point() -> None:
    made = fixture(epsilon=10.0, norm=Norm.L2)
    made = replace(made, threat=replace(made.threat, bounds=(0.0, 1.0)))
    rows, replies = walk(made, CW(steps=2, rate=0.5, inset=1e-6))
    np.testing.assert_allclose(rows_of(rows[0]).variable, np.arctanh(2 * X - 1), rtol=1e-4)
    moved = np.tanh(np.arctanh(2 * X - 1) + np.array([[-0.5, 0.5, 0.5, -0.5]]))
    np.testing.assert_allclose(replies[1].points, (1 + moved) / 2, rtol=1e-3)


def test_c_grows_tenfold_until_it_suffices_and_is_then_halved_in_between() -> None:
    made = fixture(epsilon=10.0, norm=Norm.L2)
    made = replace(made, threat=replace(made.threat, bounds=(0.0, 1.0)))
    rows, replies = walk(made, CW(steps=90, search=15, rate=0.1, initial=1e-3, early=False))
    searches = range(15, 91, 15)
    problem = made.problem()
    reached = [any(bool((problem.margin(r.need_scores()) < 0).any()) for r in replies[at - 15 : at]) for at in searches]
    assert True in reached
    assert False in reached
    c, low, high = 1e-3, 0.0, 1e10
    for at, found in zip(searches, reached, strict=True):
        assert float(rows_of(rows[at - 1]).c) == pytest.approx(c, rel=1e-5)
        low, high = (low, min(high, c)) if found else (max(low, c), high)
        c = (low + high) / 2 if high < 1e10 else 10 * c
        again = rows_of(rows[at])
        assert float(again.c) == pytest.approx(c, rel=1e-5)
        np.testing.assert_array_equal(again.variable, rows_of(rows[0]).variable)
        assert not again.mean.any()
        assert int(again.turns) == 0


def test_a_search_whose_loss_stands_still_ends_early() -> None:
    made = linear_bench(n=3, seed=3, threat=l2(epsilon=0.0))  # where nothing can move
    rows, _ = walk(made, CW(steps=40, search=100))
    np.testing.assert_array_equal([rows_of(row).turns[0] for row in rows[:13]], [*range(11), 0, 1])
    np.testing.assert_allclose(rows_of(rows[11]).c, 10 * rows_of(rows[10]).c)
    rows, _ = walk(made, CW(steps=40, search=100, early=False))
    np.testing.assert_array_equal(rows_of(rows[-1]).c, rows_of(rows[0]).c)


def test_kappa_asks_for_a_margin() -> None:
    """A search has come to the goal once the margin is kappa below 0, not before."""
    made = linear_bench(n=6, seed=3, threat=l2(bounds=(0.0, 1.0), epsilon=10.0))
    rows, replies = walk(made, CW(kappa=0.5, steps=400))
    problem = made.problem()
    kept = torch.stack([rows_of(row).reached for row in rows])
    margins = torch.stack([problem.margin(reply.need_scores()) for reply in replies])
    first = kept.int().argmax(dim=0, keepdim=True) - 1
    assert kept.any(dim=0).all()
    assert (margins.gather(0, first) <= -0.5).all()
    assert ((margins < 0).int().argmax(dim=0) < first).all()


def test_later_restarts_wander_and_draw_only_for_themselves() -> None:
    made = linear_bench(n=4, seed=3, threat=l2(bounds=(0.0, 1.0), epsilon=10.0))
    problem = made.problem()
    again = replace(
        problem,
        restarts=torch.tensor([0, 1, 2, 1]),
        draws=replace(problem.draws, restarts=torch.tensor([0, 1, 2, 1])),
    )
    rows, _ = walk(made, CW(steps=80, search=80, initial=10.0, early=False), again)
    before, after = rows_of(rows[0]), rows_of(rows[80])
    assert after.best_size.isfinite().all()
    moved = (after.variable - before.variable).flatten(1).norm(dim=1)
    assert moved[0] == 0
    assert (moved[1:] > 0.01).all()


def test_a_point_within_epsilon_is_found_although_the_search_passes_outside() -> None:
    made = linear_bench(n=6, seed=2, threat=l2(bounds=(0.0, 1.0)))
    exact = float(distances(made)[0])
    one = replace(made, samples=made.samples.take([0]))
    assert one.at(1.01 * exact).play(CW()).broken.all()
    assert not one.at(0.99 * exact).play(CW(steps=200, search=100)).broken.any()


def test_keeps_to_every_threat() -> None:
    check_threats(CW(steps=6, search=3))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"search": 0}, "search is at least 1, got 0."),
        ({"rate": 0.0}, "rate is a finite number above 0, got 0.0."),
        ({"initial": -1.0}, "initial is a finite number above 0, got -1.0."),
        ({"kappa": -1.0}, "kappa is a finite number of at least 0, got -1.0."),
        ({"inset": 1.0}, "inset is between 0 and 1, got 1.0."),
    ],
)
def test_options_are_checked(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^cw: {sentence}$"):
        CW(**options)


def test_it_is_right() -> None:
    check_attack(CW(steps=400, search=100), seeds=1)

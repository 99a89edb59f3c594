"""Robust accuracy over epsilon, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.bench import linear_bench
from auditor.curve import POINTS, curve, median_distance, smallest_found
from auditor.ledger import Ledger


def ledger(
    nearest: list[float], *, correct: list[bool] | None = None, broken: dict[int, float] | None = None
) -> Ledger:
    n = len(nearest)
    made = Ledger.of(linear_bench(n=n).samples, np.array(correct or [True] * n))
    made.nearest[:] = nearest
    made.ranged[:] = made.correct
    for sample, distance in (broken or {}).items():
        made.broken[sample], made.distance[sample] = True, distance
    return made


def test_by_hand() -> None:
    made = ledger([0.1, 0.3, 0.2, np.inf, 0.5], correct=[True, True, True, True, False])
    points = {point.epsilon: point.robust_accuracy for point in curve(made, 0.25)}
    assert points == {
        0.0: 0.8,
        0.1: 0.6,
        0.2: 0.4,
        0.25: 0.4,
        0.3: 0.2,
    }
    assert median_distance(made) == pytest.approx(0.25)


def test_what_other_stages_broke_counts_from_its_distance_on() -> None:
    made = ledger([0.4, 0.5], broken={0: 0.3})
    assert [(p.epsilon, p.robust_accuracy) for p in curve(made, 0.3)] == [(0.0, 1.0), (0.3, 0.5), (0.5, 0.0)]


def test_a_misclassified_sample_is_at_distance_0_whatever_was_found() -> None:
    assert smallest_found(ledger([0.4, 0.2], correct=[False, True])).tolist() == [0.0, 0.2]


def test_at_epsilon_it_is_what_stands() -> None:
    rng = np.random.default_rng(0)
    made = ledger(rng.uniform(0, 1, 40).tolist(), broken={})
    inside = np.flatnonzero(made.nearest <= 0.3)
    made.broken[inside], made.distance[inside] = True, made.nearest[inside]
    at = {point.epsilon: point.robust_accuracy for point in curve(made, 0.3)}
    assert at[0.3] == made.robust_accuracy


def test_it_falls_and_has_no_more_points_than_one_can_read() -> None:
    rng = np.random.default_rng(1)
    points = curve(ledger(rng.uniform(0, 1, 500).tolist()), 0.5)
    assert len(points) <= POINTS + 2
    values = [point.robust_accuracy for point in points]
    assert values == sorted(values, reverse=True)
    assert points[0].robust_accuracy == 1
    assert points[-1].robust_accuracy == 0


def test_without_a_distance_stage_there_is_no_curve() -> None:
    made = ledger([np.inf, np.inf], broken={0: 0.3})
    made.ranged[:] = False
    assert curve(made, 0.3) == []
    assert median_distance(made) is None


def test_a_median_beyond_all_that_was_found_is_none() -> None:
    assert median_distance(ledger([0.1, np.inf, np.inf])) is None

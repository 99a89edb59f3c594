"""Robust accuracy over epsilon, against counting by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from auditor.curve import POINTS, curve, median_distance, smallest_found
from auditor.record import Outcome, Status


def outcomes(
    nearest: list[float], *, correct: list[bool] | None = None, broken: dict[int, float] | None = None
) -> list[Outcome]:
    """One for each nearest distance; all looked for by a distance stage, some broken by another stage."""
    made = []
    for i, near in enumerate(nearest):
        right = correct is None or correct[i]
        status = Status.BROKEN if i in (broken or {}) else Status.WITHSTOOD if right else Status.MISCLASSIFIED
        distance = (broken or {}).get(i)
        found = near if np.isfinite(near) else None
        label = 0 if right else 1
        made.append(
            Outcome(id=i, label=0, clean_label=label, status=status, distance=distance, nearest=found, ranged=right)
        )
    return made


def test_by_hand() -> None:
    made = outcomes([0.1, 0.3, 0.2, np.inf, 0.5], correct=[True, True, True, True, False])
    points = {point.epsilon: point.robust_accuracy for point in curve(made, 0.25)}
    assert points == {
        0.0: 0.8,
        0.1: 0.6,
        0.2: 0.4,
        0.25: 0.4,
        0.3: 0.2,
    }
    assert median_distance(made, 0.25) == pytest.approx(0.25)


def test_what_other_stages_broke_counts_from_its_distance_on() -> None:
    made = outcomes([0.4, 0.5], broken={0: 0.3})
    assert [(p.epsilon, p.robust_accuracy) for p in curve(made, 0.3)] == [(0.0, 1.0), (0.3, 0.5), (0.5, 0.0)]


def test_a_misclassified_sample_is_at_distance_0_whatever_was_found() -> None:
    assert smallest_found(outcomes([0.4, 0.2], correct=[False, True]), 0.3).tolist() == [0.0, 0.2]


def test_at_epsilon_it_is_what_stands() -> None:
    rng = np.random.default_rng(0)
    near = rng.uniform(0, 1, 40)
    made = outcomes(near.tolist(), broken={int(i): float(near[i]) for i in np.flatnonzero(near <= 0.3)})
    at = {point.epsilon: point.robust_accuracy for point in curve(made, 0.3)}
    assert at[0.3] == sum(outcome.status is Status.WITHSTOOD for outcome in made) / 40


def test_what_is_broken_lies_within_epsilon_however_its_distance_is_rounded() -> None:
    steps = 3 * 0.1  # 0.30000000000000004, which a grid of 0.1 allows within 0.3
    at = {point.epsilon: point.robust_accuracy for point in curve(outcomes([steps, np.inf], broken={0: steps}), 0.3)}
    assert at[0.3] == 0.5


def test_it_falls_and_has_no_more_points_than_one_can_read() -> None:
    rng = np.random.default_rng(1)
    points = curve(outcomes(rng.uniform(0, 1, 500).tolist()), 0.5)
    assert len(points) <= POINTS + 2
    values = [point.robust_accuracy for point in points]
    assert values == sorted(values, reverse=True)
    assert points[0].robust_accuracy == 1
    assert points[-1].robust_accuracy == 0


def test_without_a_distance_stage_there_is_no_curve() -> None:
    made = [msgspec.structs.replace(o, ranged=False) for o in outcomes([np.inf, np.inf], broken={0: 0.3})]
    assert curve(made, 0.3) == []
    assert median_distance(made, 0.3) is None


def test_boxes_have_none() -> None:
    assert curve(outcomes([0.1]), None) == []


def test_a_median_beyond_all_that_was_found_is_none() -> None:
    assert median_distance(outcomes([0.1, np.inf, np.inf]), 0.3) is None


def test_an_estimate_stays_above_what_is_proved_and_below_what_stands() -> None:
    """Four samples, the first two of which were looked at: both lie near, the others are proved, or broken."""
    made = outcomes([0.1, 0.2, np.inf, np.inf], broken={3: 0.25})
    made = [msgspec.structs.replace(o, ranged=i < 2, radius=0.4 * (i == 2)) for i, o in enumerate(made)]
    at = {point.epsilon: (point.robust_accuracy, point.certified) for point in curve(made, 0.3)}
    assert at[0.1] == (0.5, 0.25)
    assert at[0.2] == (0.25, 0.25)
    assert all(found >= proved for found, proved in at.values())
    hard = [msgspec.structs.replace(o, nearest=9.0 if i < 2 else None) for i, o in enumerate(made)]
    beyond = {point.epsilon: point.robust_accuracy for point in curve(hard, 0.3)}
    assert beyond[0.3] == 0.75

"""The verifier: every reason to refuse, strict at the last float32, and what a break is."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import pytest

from auditor.errors import TargetUnavailable
from auditor.samples import Samples
from auditor.target import ATTEMPTS
from auditor.testing import LinearTarget
from auditor.threat import Goal, Norm, ThreatModel
from auditor.verify import Reason, Ruling, Verifier, error_bound, reached, size

NAN, INF = float("nan"), float("inf")


class Scripted(LinearTarget):
    """Answers with these scores in turn, the last for ever; `None` is a lost answer."""

    def __init__(self, answers: Sequence[Sequence[float] | None], features: int = 2):
        super().__init__(np.zeros((len(answers[-1] or ()), features)), np.zeros(len(answers[-1] or ())))
        self.answers = list(answers)
        self.widths: list[int] = []

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.widths.append(len(x))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise TargetUnavailable("gone")
        return np.tile(np.array(answer, np.float32), (len(x), 1))


def verifier(
    clean: Sequence[float], answers: Sequence[Sequence[float] | None] = ((0.0, 1.0),), votes: int = 1, **options: Any
) -> Verifier:
    """One sample with label 0 and a target that errs, unless told otherwise."""
    boxes = {name: np.array([options.pop(name)], np.float32) for name in ("lower", "upper") if name in options}
    x = np.array([clean], np.float32)
    samples = Samples(inputs=x, labels=np.zeros(1, np.int64), ids=np.arange(1), **boxes)
    threat = ThreatModel(**options)
    target = Scripted(answers, features=len(clean))
    target.fit(x.shape[1:])
    return Verifier(target, samples, threat, threat.region(samples), votes=votes)


def judge(clean: Sequence[float], candidate: Any, **options: Any) -> Ruling:
    if isinstance(candidate, (list, tuple)):
        candidate = np.array(candidate, np.float32)
    return verifier(clean, **options).judge(0, candidate)


def after(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(INF)))


def test_a_break_has_no_reason_but_a_label_and_a_distance() -> None:
    ruling = judge([0.5, 0.5], [0.75, 0.5], epsilon=0.25)
    assert ruling.broken
    assert (ruling.reason, ruling.label, ruling.distance) == (None, 1, 0.25)


@pytest.mark.parametrize(
    "candidate",
    [
        np.zeros((1, 2), np.float32),
        np.zeros(3, np.float32),
        np.zeros(2, np.float64),
        np.zeros(2, np.int64),
        "adversarial",
        None,
    ],
)
def test_another_shape_or_type(candidate: Any) -> None:
    assert judge([0.5, 0.5], candidate, epsilon=9).reason is Reason.SHAPE


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_not_finite(value: float) -> None:
    assert judge([0.5, 0.5], [0.5, value], epsilon=9).reason is Reason.NOT_FINITE


def test_unchanged_input_is_not_even_asked() -> None:
    one = verifier([0.5, 0.5], epsilon=9)
    assert one.judge(0, np.array([0.5, 0.5], np.float32)).reason is Reason.UNCHANGED
    assert one.target.queries == 0


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.25, 0.75)])
def test_bounds_are_strict(bounds: tuple[float, float]) -> None:
    low, high = bounds
    assert judge([0.5, 0.5], [low, high], epsilon=9, bounds=bounds).broken
    assert judge([0.5, 0.5], [low, after(high)], epsilon=9, bounds=bounds).reason is Reason.BOUNDS
    below = -after(-low) if low else -1e-45
    assert judge([0.5, 0.5], [below, high], epsilon=9, bounds=bounds).reason is Reason.BOUNDS


def test_linf_is_strict() -> None:
    assert judge([0.5, 0.5], [0.75, 0.25], epsilon=0.25).broken
    refused = judge([0.5, 0.5], [after(0.75), 0.5], epsilon=0.25)
    assert refused.reason is Reason.BALL
    assert refused.distance == after(0.75) - 0.5
    assert refused.label is None
    # 8/255 as a float64 lies between two float32s: the upper one is outside
    assert judge([0.0, 0.0], [float(np.float32(8 / 255)), 0], epsilon=8 / 255).broken == (
        float(np.float32(8 / 255)) <= 8 / 255
    )


def test_l2_is_strict() -> None:
    assert judge([0, 0], [3, 4], norm=Norm.L2, epsilon=5).broken
    assert judge([0, 0], [3, 4], norm=Norm.L2, epsilon=5).distance == 5
    assert judge([0, 0], [3, after(4)], norm=Norm.L2, epsilon=5).reason is Reason.BALL
    assert judge([0, 0], [3, 4], norm=Norm.L2, epsilon=5 - 1e-12).reason is Reason.BALL


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_measure_the_change(dtype: type) -> None:
    weights = np.array([1, 0.25], dtype)
    inside = judge([0, 0], [0.5, 0.125], epsilon=0.5, weights=weights)
    assert inside.broken
    assert inside.distance == 0.5
    assert judge([0, 0], [0.25, after(0.125)], epsilon=0.5, weights=weights).reason is Reason.BALL
    assert judge([0, 0], [3, 1], norm=Norm.L2, epsilon=5, weights=weights).distance == 5
    assert judge([0, 0], [3, 1], norm=Norm.L2, epsilon=5, weights=weights).broken
    assert judge([0, 0], [3, after(1)], norm=Norm.L2, epsilon=5, weights=weights).reason is Reason.BALL


def test_frozen_features_must_keep_their_value() -> None:
    frozen = np.array([False, True])
    assert judge([0.5, 0.5], [0.7, 0.5], epsilon=9, frozen=frozen).broken
    assert judge([0.5, 0.5], [0.7, after(0.5)], epsilon=9, frozen=frozen).reason is Reason.FROZEN


def test_the_grid() -> None:
    def pixel(level: float) -> float:
        return float(np.float32(level / 255))

    clean = [pixel(100), pixel(3)]
    inside = judge(clean, [pixel(108), pixel(0)], epsilon=8 / 255, grid=1 / 255)
    assert inside.broken
    assert inside.distance == pytest.approx(8 / 255, rel=1e-15)
    assert judge(clean, [pixel(109), pixel(0)], epsilon=8 / 255, grid=1 / 255).reason is Reason.BALL
    assert judge(clean, [pixel(100.5), pixel(3)], epsilon=8 / 255, grid=1 / 255).reason is Reason.GRID
    assert judge(clean, [after(pixel(101)), pixel(3)], epsilon=8 / 255, grid=1 / 255).reason is Reason.GRID


def test_every_8_bit_change_of_8_levels_is_inside_on_the_grid() -> None:
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    one = verifier(list(levels), epsilon=8 / 255, grid=1 / 255, bounds=(0, 1))
    for move in (-8, 8):
        moved = np.clip(np.arange(256) + move, 0, 255).astype(np.float32) / np.float32(255)
        assert one.judge(0, moved).broken


def test_boxes_are_strict_and_measured_in_half_widths() -> None:
    box = {"boxes": True, "lower": [0, -1], "upper": [1, 1]}
    inside = judge([0.5, 0.0], [1.0, -0.5], **box)
    assert inside.broken
    assert inside.distance == 1.0
    assert judge([0.5, 0.0], [after(1.0), 0], **box).reason is Reason.BALL
    assert judge([0.5, 0.0], [0.5, -after(1.0)], **box).reason is Reason.BALL


def test_the_first_reason_counts() -> None:
    assert judge([0.5, 0.5], [NAN, 2], epsilon=0.1, bounds=(0, 1)).reason is Reason.NOT_FINITE
    assert judge([0.5, 0.5], [0.5, 2], epsilon=0.1, bounds=(0, 1)).reason is Reason.BOUNDS


@pytest.mark.parametrize(
    ("scores", "goal", "broken"),
    [
        ([1, 0, 0], None, False),
        ([0, 1, 0], None, True),
        ([1, 1, 0], None, False),  # a tie is no break, whichever class comes first
        ([0, 1, 1], None, True),
        ([0, NAN, 1], None, False),
        ([NAN, 0, 1], None, False),
        ([NAN, NAN, NAN], None, False),
        ([-1, 0, -INF], None, True),  # a log-probability of an impossible class
        ([-INF, -INF, -INF], None, False),
        ([0, INF, 1], None, True),
        ([INF, INF, 1], None, False),
        ([1, 0, 0], 0, True),
        ([0, 1, 0], 2, False),
        ([0, 1, 2], 2, True),
        ([0, 2, 2], 2, False),
    ],
)
def test_what_a_break_is(scores: list[float], goal: int | None, broken: bool) -> None:
    assert reached(np.array(scores, np.float64), 0, goal) is broken


def test_ties_and_goals_through_the_target() -> None:
    move = [0.6, 0.5]
    tie = judge([0.5, 0.5], move, epsilon=1, answers=[[1.0, 1.0]])
    assert tie.reason is Reason.TIE
    nothing = judge([0.5, 0.5], move, epsilon=1, answers=[[1.0, np.nan]])
    assert nothing.reason is Reason.NO_ANSWER
    assert tie.distance == pytest.approx(0.1, rel=1e-6)
    other = judge([0.5, 0.5], move, epsilon=1, answers=[[0.0, 1.0, 0.0]], goal=Goal(2))
    assert (other.reason, other.label) == (Reason.NOT_MISCLASSIFIED, 1)
    assert judge([0.5, 0.5], move, epsilon=1, answers=[[0.0, 1.0, 2.0]], goal=Goal(2)).broken


def test_the_target_is_asked_at_batch_one() -> None:
    one = verifier([0.5, 0.5], epsilon=1, votes=3, answers=[[0.0, 1.0]])
    one.judge(0, np.array([0.6, 0.5], np.float32))
    assert isinstance(one.target, Scripted)
    assert one.target.widths == [1, 1, 1]


@pytest.mark.parametrize("votes", [1, 2, 5, 25, 100])
def test_error_bound_against_closed_forms(votes: int) -> None:
    if votes == 1:
        assert (error_bound(0, 1), error_bound(1, 1)) == (0.0, 1.0)
        return
    assert error_bound(0, votes) == 0
    assert error_bound(votes, votes) == pytest.approx(0.05 ** (1 / votes))
    assert error_bound(1, votes) == pytest.approx(1 - 0.95 ** (1 / votes))
    for wrong in range(1, votes + 1):
        p = error_bound(wrong, votes)  # the rate at which seeing so many errors has probability 5 %
        tail = sum(comb(votes, k) * p**k * (1 - p) ** (votes - k) for k in range(wrong, votes + 1))
        assert tail == pytest.approx(0.05)


@pytest.mark.parametrize(("wrong", "broken"), [(0, False), (13, False), (17, False), (18, True), (25, True)])
def test_a_randomised_target_is_broken_only_beyond_doubt(wrong: int, broken: bool) -> None:
    answers = [[0.0, 1.0]] * wrong + [[1.0, 0.0]] * (25 - wrong)
    ruling = judge([0.5, 0.5], [0.6, 0.5], epsilon=1, votes=25, answers=answers)
    assert ruling.broken is broken
    assert ruling.label == int(wrong > 12)


def test_a_lost_target_is_asked_again_and_then_given_up() -> None:
    candidate = np.array([0.6, 0.5], np.float32)
    gone: list[Sequence[float] | None] = [None] * (ATTEMPTS - 1)
    assert verifier([0.5, 0.5], [*gone, (0.0, 1.0)], epsilon=1).judge(0, candidate).broken
    with pytest.raises(TargetUnavailable):
        verifier([0.5, 0.5], [*gone, None, (0.0, 1.0)], epsilon=1).judge(0, candidate)


def test_size() -> None:
    change = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)
    assert [size(norm, change) for norm in (Norm.LINF, Norm.L2, Norm.L1, Norm.L0)] == [4, 5, 7, 2]
    assert size(Norm.LINF, np.zeros(0)) == 0

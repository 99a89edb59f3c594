"""The threat model: what it accepts, and boxes that are as large as they may be and not one float32 larger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auditor.errors import SamplesError, UsageError
from auditor.samples import Samples
from auditor.threat import Goal, Norm, ThreatModel, parse_epsilon

RNG = np.random.default_rng(0)
PIXELS = np.arange(256, dtype=np.uint8).astype(np.float32) / np.float32(255)


def samples(inputs: Any, **boxes: np.ndarray) -> Samples:
    x = np.atleast_2d(np.asarray(inputs, np.float32))
    return Samples(inputs=x, labels=np.zeros(len(x), np.int64), ids=np.arange(len(x)), **boxes)


def excess(corner: np.ndarray, x: np.ndarray, radius: Any) -> np.ndarray:
    """How far a corner lies beyond the ball, in the float64 arithmetic that a replay would use."""
    return np.abs(corner.astype(np.float64) - x.astype(np.float64)) - np.asarray(radius, np.float64)


def outward(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.nextafter(lower, np.float32(-np.inf)), np.nextafter(upper, np.float32(np.inf))


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.03", 0.03), ("8/255", 8 / 255), (" 8 / 255", 8 / 255), ("1e-3", 1e-3), (0.5, 0.5), (0, 0.0), ("2", 2.0)],
)
def test_epsilon(text: str | float, value: float) -> None:
    assert parse_epsilon(text) == value


@pytest.mark.parametrize("text", ["-1", "-1/255", "nan", "inf", "8/0", "", "eight", "1e999", "8/255/2"])
def test_epsilon_that_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="epsilon is a number of at least 0"):
        parse_epsilon(text)


def test_goal() -> None:
    assert Goal.parse("untargeted") == Goal()
    assert Goal.parse("targeted:3") == Goal(3)
    assert str(Goal(3)) == "targeted:3"
    assert Goal.parse(str(Goal())) == Goal()
    for text in ("targeted", "targeted:-1", "targeted:x", "3", "targeted:1.5"):
        with pytest.raises(UsageError, match="targeted:K"):
            Goal.parse(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bounds": (1.0, 0.0)}, "LO below HI"),
        ({"bounds": (0.0, float("nan"))}, "LO below HI"),
        ({"grid": 0.0}, "grid is the positive distance"),
        ({"grid": float("inf")}, "grid is the positive distance"),
        ({"weights": np.array([1.0, 0.0])}, "weights are positive"),
        ({"weights": np.array([1.0, np.nan])}, "weights are positive"),
        ({"boxes": True, "frozen": np.array([True])}, "drop weights and frozen"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ThreatModel(**options)


def test_title() -> None:
    assert ThreatModel(epsilon=8 / 255, epsilon_text="8/255").title == "linf 8/255"
    assert ThreatModel(norm=Norm.L2, epsilon=0.5).title == "l2 0.5"
    assert ThreatModel(boxes=True).title == "per-sample boxes"
    assert ThreatModel(name="camera noise").title == "camera noise"


@pytest.mark.parametrize("magnitude", [1e-30, 1e-6, 1.0, 300.0, 1e8, 1e30])
@pytest.mark.parametrize("relative", [0.0, 1e-12, 1e-7, 8 / 255, 0.3, 1.0, 1e6])
def test_the_box_is_inside_the_ball_and_no_float32_smaller(magnitude: float, relative: float) -> None:
    x = (magnitude * RNG.uniform(-1, 1, (40, 30))).astype(np.float32)
    epsilon = magnitude * relative
    region = ThreatModel(epsilon=epsilon).region(samples(x))
    assert (region.lower <= x).all()
    assert (x <= region.upper).all()
    lower, upper = outward(region.lower, region.upper)
    assert (excess(region.lower, x, epsilon) <= 0).all()
    assert (excess(region.upper, x, epsilon) <= 0).all()
    assert (excess(lower, x, epsilon) > 0).all()
    assert (excess(upper, x, epsilon) > 0).all()


@pytest.mark.parametrize("epsilon", [1 / 255, 2 / 255, 8 / 255, 0.1, 0.3, 1.0])
def test_pixels_inside_ball_and_bounds(epsilon: float) -> None:
    region = ThreatModel(epsilon=epsilon, bounds=(0, 1)).region(samples(PIXELS))
    for corner in (region.lower, region.upper):
        assert corner.dtype == np.float32
        assert (excess(corner, PIXELS, epsilon) <= 0).all()
        assert ((corner >= 0) & (corner <= 1)).all()
    assert region.lower[0, 0] == 0
    assert region.upper[0, -1] == 1


@pytest.mark.parametrize("bounds", [(-0.1, 0.7), (-1 / 3, 1e-9), (-1e30, 1e30)])
def test_bounds_that_float32_can_not_hold(bounds: tuple[float, float]) -> None:
    x = RNG.uniform(*bounds, (20, 5)).astype(np.float32)
    region = ThreatModel(epsilon=1e31, bounds=bounds).region(samples(x))
    assert (region.lower.astype(np.float64) >= bounds[0]).all()
    assert (region.upper.astype(np.float64) <= bounds[1]).all()
    lower, upper = outward(region.lower, region.upper)
    assert (lower.astype(np.float64) < bounds[0]).all()
    assert (upper.astype(np.float64) > bounds[1]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_scale_the_ball(dtype: type) -> None:
    x = RNG.uniform(-1, 1, (50, 40)).astype(np.float32)
    weights = RNG.uniform(0.01, 9, 40).astype(dtype)
    region = ThreatModel(epsilon=8 / 255, weights=weights).region(samples(x))
    radius = 8 / 255 * weights.astype(np.float64)
    assert region.weights is not None
    assert region.weights.shape == x.shape
    lower, upper = outward(region.lower, region.upper)
    assert (excess(region.lower, x, radius) <= 0).all()
    assert (excess(region.upper, x, radius) <= 0).all()
    assert (excess(lower, x, radius) > 0).all()
    assert (excess(upper, x, radius) > 0).all()


def test_weights_and_frozen_take_the_shape_of_a_sample() -> None:
    x = np.zeros((2, 1, 2, 3), np.float32)
    flat = ThreatModel(epsilon=1, weights=np.arange(1.0, 7)).region(samples(x.reshape(2, 6)))
    shaped = ThreatModel(epsilon=1, weights=np.arange(1.0, 7)).region(
        Samples(inputs=x, labels=np.zeros(2, np.int64), ids=np.arange(2))
    )
    np.testing.assert_array_equal(shaped.upper.reshape(2, 6), flat.upper)
    row = ThreatModel(epsilon=1, frozen=np.array([True, False])).region(samples(np.zeros((3, 2))))
    assert row.upper.tolist() == [[0, 1]] * 3
    with pytest.raises(UsageError, match="frozen should have one value per feature"):
        ThreatModel(epsilon=1, frozen=np.array([True, False, True])).region(samples(np.zeros((3, 2))))


def test_frozen_features_stay_where_they_are() -> None:
    x = RNG.uniform(0, 1, (5, 6)).astype(np.float32)
    frozen = np.array([True, False] * 3)
    region = ThreatModel(epsilon=0.1, frozen=frozen, grid=None).region(samples(x))
    np.testing.assert_array_equal(region.lower[:, frozen], x[:, frozen])
    np.testing.assert_array_equal(region.upper[:, frozen], x[:, frozen])
    assert (region.upper[:, ~frozen] > x[:, ~frozen]).all()


@pytest.mark.parametrize("levels", [0, 1, 2.5, 8, 300])
def test_the_grid_of_8_bit_pictures(levels: float) -> None:
    region = ThreatModel(epsilon=levels / 255, bounds=(0, 1), grid=1 / 255).region(samples(PIXELS))
    number = np.arange(256)
    np.testing.assert_array_equal(region.lower[0], PIXELS[np.maximum(number - int(levels), 0)])
    np.testing.assert_array_equal(region.upper[0], PIXELS[np.minimum(number + int(levels), 255)])


@pytest.mark.parametrize("bounds", [(-0.6, 0.6), (-0.3, 0.3), (0.0, 0.7), (-1.0, 1.0)])
def test_the_grid_ends_inside_bounds_that_float32_can_not_hold(bounds: tuple[float, float]) -> None:
    x = (np.arange(-2, 3) * 0.1).astype(np.float32)[np.newaxis]
    x = x[:, (x[0] >= bounds[0]) & (x[0] <= bounds[1])]
    region = ThreatModel(epsilon=5, bounds=bounds, grid=0.1).region(samples(x))
    for edge in (region.lower, region.upper):
        steps = np.rint(edge.astype(np.float64) / 0.1)
        np.testing.assert_array_equal(edge, (steps * 0.1).astype(np.float32))
        assert ((edge.astype(np.float64) >= bounds[0]) & (edge.astype(np.float64) <= bounds[1])).all()
    assert (region.upper > bounds[1] - 0.11).all()
    assert (region.lower < bounds[0] + 0.11).all()


def test_inputs_off_the_grid_are_refused() -> None:
    with pytest.raises(SamplesError, match=r"up to 0\.4\d* steps off it"):
        ThreatModel(epsilon=0.1, grid=1 / 255).region(samples([0.0, 0.4 / 255]))


def test_samples_beyond_the_bounds_are_refused_and_counted() -> None:
    with pytest.raises(SamplesError, match="1 of 2 samples reach beyond them"):
        ThreatModel(epsilon=0.1, bounds=(0, 1)).region(samples([[0.5, 1.0], [0.5, 1.5]]))


def test_own_boxes_are_the_region() -> None:
    lower, upper = np.array([[0.0, -1.0]], np.float32), np.array([[1.0, -1.0]], np.float32)
    own = samples([[0.25, -1.0]], lower=lower, upper=upper)
    region = ThreatModel(epsilon=1, boxes=True).region(own)
    np.testing.assert_array_equal(region.lower, lower)
    np.testing.assert_array_equal(region.upper, upper)
    assert region.weights is not None
    assert region.weights.tolist() == [[0.5, 0.0]]
    with pytest.raises(SamplesError, match="no `lower` and `upper`"):
        ThreatModel(epsilon=1, boxes=True).region(samples([[0.25, -1.0]]))

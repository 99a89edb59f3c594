"""The spatial threat: the finite set it is, what a transform does to a picture, and who belongs to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import rotate, shift

from auditor.config import Config, ThreatTable
from auditor.errors import SamplesError, UsageError
from auditor.samples import Samples
from auditor.spatial import axes, is_picture, matching, reach, transformed, transforms
from auditor.testing import LinearTarget
from auditor.threat import Norm, ThreatModel
from auditor.threats import threats
from auditor.verify import Reason, Ruling, Verifier

RNG = np.random.default_rng(0)
SHAPES = {"[c, h, w]": (3, 12, 10), "[h, w, c]": (12, 10, 3), "[h, w]": (12, 10)}


def moved(picture: np.ndarray, *move: float, fill: float = 0.0) -> np.ndarray:
    """A picture of any of the three shapes after one transform, float64."""
    channels, height, width, last = axes(picture.shape)
    planes = np.moveaxis(picture, 2, 0) if last else picture.reshape(channels, height, width)
    after = transformed(planes, np.array([move], float), fill)[0].reshape(channels, height, width)
    return (np.moveaxis(after, 0, 2) if last else after).reshape(picture.shape)


def test_the_set_is_that_of_the_paper() -> None:
    """31 angles between ±30°, 5 × 5 shifts between ±3 pixels: 775, the identity among them (Engstrom 2019)."""
    grid = transforms(30, 3)
    assert grid.shape == (775, 3)
    assert np.unique(grid[:, 0]).tolist() == list(range(-30, 31, 2))
    for shifts in (grid[:, 1], grid[:, 2]):
        assert np.unique(shifts).tolist() == [-3, -1.5, 0, 1.5, 3]
    assert len(np.unique(grid, axis=0)) == 775
    assert grid[0].tolist() == [0, 0, 0]
    sizes = np.abs(grid / [30, 3, 3]).max(axis=1)
    assert (np.diff(sizes) >= -1e-12).all(), "the smallest first"


@pytest.mark.parametrize(("rotation", "translation", "count"), [(30, 0, 31), (0, 3, 25), (0, 0, 1), (7.3, 0.1, 775)])
def test_a_narrower_set_holds_each_transform_once(rotation: float, translation: float, count: int) -> None:
    grid = transforms(rotation, translation)
    assert len(grid) == count
    assert grid[0].tolist() == [0, 0, 0]
    assert np.abs(grid).max(axis=0).tolist() == [rotation, translation, translation]


def test_pictures_are_shifted_by_what_the_paper_shifts_them() -> None:
    assert [reach(shape) for shape in ((28, 28), (3, 32, 32), (224, 224, 3), (3, 299, 400), (2, 2))] == [
        3,
        3,
        24,
        32,
        1,
    ]


def test_what_is_a_picture() -> None:
    assert all(is_picture(shape) for shape in ((28, 28), (1, 28, 28), (28, 28, 3), (2, 2)))
    assert not any(is_picture(shape) for shape in ((784,), (1, 28), (1, 1, 28), (3, 16, 28, 28), ()))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_identity_and_whole_shifts_are_exact(shape: tuple[int, ...]) -> None:
    x = RNG.uniform(0, 1, shape).astype(np.float32)
    np.testing.assert_array_equal(moved(x, 0, 0, 0), x)
    right = moved(x, 0, 2, 0, fill=0.25)
    line = {"[c, h, w]": 2, "[h, w, c]": 1, "[h, w]": 1}[next(name for name, s in SHAPES.items() if s == shape)]
    np.testing.assert_array_equal(np.delete(right, [0, 1], axis=line), np.delete(x, [-1, -2], axis=line))
    assert (np.take(right, [0, 1], axis=line) == 0.25).all()
    down = moved(x, 0, 0, 3)
    np.testing.assert_array_equal(np.take(down, [5], axis=line - 1), np.take(x, [2], axis=line - 1))


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("side", [8, 9])
def test_quarter_turns_are_those_of_the_array(turns: int, side: int) -> None:
    x = RNG.uniform(0, 1, (side, side)).astype(np.float32)
    np.testing.assert_allclose(moved(x, 90 * turns, 0, 0), np.rot90(x, turns), rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [17, -30, 2])
def test_other_angles_and_shifts_agree_with_scipy(angle: float) -> None:
    """scipy's own rotation, then its shift by whole pixels: but for what the first lost at the rim, it is the same."""
    x = RNG.uniform(0, 1, (14, 11))
    turned = rotate(x, angle, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(moved(x, angle, 0, 0), turned, rtol=0, atol=1e-12)
    both = shift(turned, (-3, 2), order=1, mode="grid-constant")
    np.testing.assert_allclose(moved(x, angle, 2, -3)[:-3, 2:], both[:-3, 2:], rtol=0, atol=1e-12)


def test_a_half_pixel_is_the_mean_of_two() -> None:
    x = np.array([[0.0, 1.0, 0.5], [0.0, 0.25, 0.75]])
    np.testing.assert_allclose(moved(x, 0, 0.5, 0), [[0, 0.5, 0.75], [0, 0.125, 0.5]])


# the threat


def pictures(shape: tuple[int, ...] = (1, 12, 12), n: int = 2) -> Samples:
    return Samples(
        inputs=RNG.uniform(0.1, 0.9, (n, *shape)).astype(np.float32), labels=np.zeros(n, np.int64), ids=np.arange(n)
    )


def spatial(**options: Any) -> ThreatModel:
    return ThreatModel(**{"norm": Norm.SPATIAL, "epsilon": 1.0, "bounds": (0.0, 1.0)} | options)


def test_its_region_is_the_bounds() -> None:
    region = spatial(bounds=(-0.5, 1.5)).region(pictures())
    assert (region.lower == -0.5).all()
    assert (region.upper == 1.5).all()


def test_the_title_says_how_far() -> None:
    assert spatial(translation=3.0).title == "rotation ≤ 30°, shift ≤ 3 px"
    assert spatial(epsilon=0.5, rotation=15, translation=24).title == "rotation ≤ 7.5°, shift ≤ 12 px"
    assert spatial().title == "rotation ≤ 30°, shift ≤ 11%"
    assert spatial(name="scanner").title == "scanner"


def test_the_fill_is_zero_or_the_nearest_bound() -> None:
    bounds = [(0.0, 1.0), (-1.0, 1.0), (0.25, 1.0), (-2.0, -0.5)]
    assert [spatial(bounds=each).fill for each in bounds] == [0, 0, 0.25, -0.5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": np.ones(3)}, "it has no weights"),
        ({"frozen": np.ones(3, bool)}, "it has no frozen"),
        ({"grid": 1 / 255}, "it has no grid"),
        ({"boxes": True}, "it has no boxes"),
        ({"rotation": 181.0}, "from 0 to 180 degrees"),
        ({"rotation": float("nan")}, "from 0 to 180 degrees"),
        ({"translation": -1.0}, "pixels from 0 on"),
    ],
)
def test_what_it_can_not_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        spatial(**options)


def test_it_is_about_pictures_within_bounds() -> None:
    with pytest.raises(UsageError, match=r"\[height, width\]; the samples have the shape \[12\]"):
        spatial().region(pictures((12,)))
    with pytest.raises(UsageError, match="needs bounds"):
        spatial(bounds=None).region(pictures())
    with pytest.raises(UsageError, match="at most 180 degrees, got 210"):
        spatial(epsilon=7.0).region(pictures())
    with pytest.raises(SamplesError, match="reach beyond them"):
        spatial(bounds=(0.0, 0.5)).region(pictures())


# the plan


def planned(table: dict[str, Any], *, shape: tuple[int, ...] = (32, 32, 3), **options: Any) -> ThreatModel:
    given = dict.fromkeys(("norm", "epsilon", "bounds", "goal")) | options
    config = Config(threat=[ThreatTable(**table)])
    (threat,) = threats(config, given, None, pixels=True, boxes=False, shape=shape)  # type: ignore[arg-type]
    return threat


def test_the_plan_fills_in_what_is_not_said() -> None:
    threat = planned({}, norm="spatial", epsilon="1")
    assert (threat.norm, threat.epsilon, threat.bounds) == (Norm.SPATIAL, 1.0, (0.0, 1.0))
    assert threat.title == "rotation ≤ 30°, shift ≤ 3 px"
    own = planned({"norm": "spatial", "epsilon": "1/2", "rotation": 10.0, "translation": 8.0}, shape=(224, 224, 3))
    assert own.title == "rotation ≤ 5°, shift ≤ 4 px"
    assert planned({"norm": "spatial", "epsilon": 1}, shape=(3, 224, 224)).translation == 24


def test_rotation_belongs_to_the_spatial_norm() -> None:
    with pytest.raises(UsageError, match="rotation is of the norm spatial, this threat's is linf"):
        planned({"epsilon": 0.1, "rotation": 10.0})


# the verifier


def judge(clean: np.ndarray, candidate: np.ndarray, **options: Any) -> Ruling:
    """A target that is always wrong about the one sample."""
    samples = Samples(inputs=clean[np.newaxis], labels=np.zeros(1, np.int64), ids=np.arange(1))
    target = LinearTarget(np.zeros((2, clean.size)), np.array([0.0, 1.0]), clean.shape)
    target.fit(clean.shape)
    threat = spatial(**options)
    return Verifier(target, samples, threat, threat.region(samples)).judge(0, candidate.astype(np.float32))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_all_775_are_accepted_each_at_its_share(shape: tuple[int, ...]) -> None:
    x = RNG.uniform(0, 1, shape).astype(np.float32)
    channels, height, width, last = axes(shape)
    planes = np.moveaxis(x, 2, 0) if last else x.reshape(channels, height, width)
    grid = transforms(30, 1)  # a tenth of the shorter side
    every = transformed(planes, grid, 0.0).reshape(-1, channels, height, width)
    every = (np.moveaxis(every, 1, 3) if last else every).reshape(-1, *shape)
    assert judge(x, every[0]).reason is Reason.UNCHANGED
    for move, candidate in zip(grid[1:], every[1:], strict=True):
        ruling = judge(x, candidate)
        assert ruling.broken
        assert ruling.distance == pytest.approx(np.abs(move / [30, 1, 1]).max(), abs=1e-12)
        assert ruling.distance <= 1


@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_epsilon_scales_the_set(epsilon: float) -> None:
    x = RNG.uniform(0, 1, (28, 28)).astype(np.float32)
    assert judge(x, moved(x, 30 * epsilon, -3 * epsilon, 0), epsilon=epsilon).distance == pytest.approx(epsilon)
    assert judge(x, moved(x, 30, -3, 0), epsilon=epsilon).reason is Reason.TRANSFORM
    assert judge(x, moved(x, 30 * epsilon, 0, 0), epsilon=epsilon / 2).reason is Reason.TRANSFORM


@pytest.mark.parametrize(
    ("move", "why"),
    [
        ((31, 0, 0), "beyond the last angle"),
        ((29, 0, 0), "between two angles"),
        ((0, 3.1, 0), "beyond the last shift"),
        ((0, 1, 0), "between two shifts"),
        ((0, 0.001, 0), "nearly the identity"),
    ],
)
def test_other_transforms_are_refused(move: tuple[float, ...], why: str) -> None:
    x = RNG.uniform(0, 1, (28, 28)).astype(np.float32)
    ruling = judge(x, moved(x, *move))
    assert (ruling.reason, ruling.label, ruling.distance) == (Reason.TRANSFORM, None, None), why


def test_other_changes_are_refused() -> None:
    x = RNG.uniform(0.1, 0.9, (28, 28)).astype(np.float32)
    assert judge(x, x + 8 / 255 * np.sign(RNG.normal(size=x.shape))).reason is Reason.TRANSFORM
    assert judge(x, x + 5e-6).reason is Reason.TRANSFORM, "too little to be seen, but no transform either"
    turned = moved(x, 14, 1.5, -3)
    assert judge(x, turned).broken
    one = np.zeros_like(x)
    one[13, 15] = 1
    assert judge(x, turned + 5e-6 * one).broken
    assert judge(x, turned + 2e-5 * one).reason is Reason.TRANSFORM
    assert judge(x, turned + 2 * one).reason is Reason.BOUNDS
    assert judge(x, turned.T).reason is Reason.TRANSFORM


def test_one_pixel_among_many_gives_it_away() -> None:
    """The pixels that are looked at first are those that changed most, which one forged pixel may not be among."""
    x = RNG.uniform(0, 1, (40, 40)).astype(np.float32)
    forged = moved(x, 20, 4, 0)
    place = np.abs(forged - x).argmin()
    forged.ravel()[place] = np.clip(forged.ravel()[place] + 1e-3, 0, 1)
    assert judge(x, moved(x, 20, 4, 0)).broken
    assert judge(x, forged).reason is Reason.TRANSFORM


def test_of_all_that_match_the_smallest_counts() -> None:
    """A picture of one colour with fill of the same colour, and a line along which shifts change nothing."""
    x = np.zeros((28, 28), np.float32)
    x[:, 14] = 1
    candidate = moved(x, 0, 3, 0)
    assert judge(x, candidate).distance == 1
    tall = np.zeros((28, 28), np.float32)
    tall[10, :] = 1
    up = moved(tall, 0, 0, 1.5)
    assert judge(tall, up).distance == 0.5


def test_the_tolerance_grows_with_the_range() -> None:
    x = RNG.uniform(0, 255, (28, 28)).astype(np.float32)
    assert judge(x, moved(x, 30, 0, 0) + 2e-3, bounds=(0, 256)).broken
    assert judge(x, moved(x, 30, 0, 0) + 3e-3, bounds=(0, 256)).reason is Reason.TRANSFORM


def test_matching_names_all_that_fit() -> None:
    flat = np.full((1, 6, 6), 0.5)
    other = np.full((1, 6, 6), 0.5)
    assert matching(flat, other, transforms(30, 3), 0.5, 1e-5).tolist() == [0]
    line = np.zeros((6, 6))
    line[:, 2] = 1
    moves = transforms(0, 1)
    found = matching(line, np.roll(line, 1, axis=1), moves, 0.0, 1e-5)
    assert {tuple(move) for move in moves[found]} == {(0, 1, 0)}


def test_a_title_in_words_survives_a_change_of_epsilon() -> None:
    assert replace(spatial(translation=3.0), epsilon=0.1).title == "rotation ≤ 3°, shift ≤ 0.3 px"

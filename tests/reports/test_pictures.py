"""Pictures: the right pixels, whatever order the axes have."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from auditor.reports.pictures import Picture, as_pictures, show, show_difference
from PIL import Image


def pixels(picture: Picture) -> np.ndarray:
    head, _, data = picture.uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize(
    ("shape", "is_8_bit", "found"),
    [
        ((1, 28, 28), False, (28, 28, 1)),
        ((3, 32, 20), False, (32, 20, 3)),
        ((32, 20, 3), False, (32, 20, 3)),
        ((28, 28), False, (28, 28, 1)),
        ((784,), False, (28, 28, 1)),
        ((3072,), True, (32, 32, 3)),
        ((64,), True, (8, 8, 1)),
        ((64,), False, None),
        ((8,), False, None),
        ((4, 9, 9), False, None),
        ((2, 3, 4, 5), False, None),
    ],
)
def test_what_is_a_picture(shape: tuple[int, ...], is_8_bit: bool, found: tuple[int, ...] | None) -> None:
    images = as_pictures(np.full((2, *shape), 0.5, np.float32), pixels=is_8_bit)
    assert (None if images is None else images.shape[1:]) == found


def test_a_large_flat_input_beyond_0_to_1_is_no_picture() -> None:
    assert as_pictures(np.full((2, 784), 3.0, np.float32), pixels=False) is None


def test_channels_first_last_and_flat_give_the_same_picture() -> None:
    image = np.random.default_rng(0).random((1, 3, 16, 16)).astype(np.float32)
    first = as_pictures(image, pixels=True)
    last = as_pictures(np.moveaxis(image, 1, -1), pixels=True)
    flat = as_pictures(image.reshape(1, -1), pixels=True)
    assert first is not None
    assert last is not None
    assert flat is not None
    assert np.array_equal(first, last)
    assert np.array_equal(first, flat)
    assert np.array_equal(pixels(show(first[0], 0, 1)), np.rint(np.moveaxis(image[0].astype(np.float64), 0, -1) * 255))


def test_low_is_black_and_high_is_white() -> None:
    image = np.array([[[-2.0], [0.0]], [[2.0], [9.0]]])
    assert pixels(show(image, -2, 2)).tolist() == [[0, 128], [255, 255]]


def test_a_grey_change_is_blue_paper_or_orange() -> None:
    change = np.array([[[-0.1], [0.0]], [[0.1], [0.05]]])
    shown = pixels(show_difference(change, 0.1)).tolist()
    assert shown[0][0] == [33, 102, 172]
    assert shown[0][1] == [247, 247, 247]
    assert shown[1][0] == [202, 84, 12]
    assert shown[1][1] == [224, 166, 130]


def test_a_coloured_change_is_about_mid_grey() -> None:
    change = np.array([[[-0.2, 0.0, 0.2]]])
    assert pixels(show_difference(change, 0.2)).tolist() == [[[0, 128, 255]]]


def test_a_large_picture_is_averaged_and_its_largest_change_kept() -> None:
    image = np.zeros((224, 200, 1))
    image[0, 0] = 1.0
    assert pixels(show(image, 0, 1)).shape == (112, 100)
    assert pixels(show(image, 0, 1))[0, 0] == 64  # a quarter of 255
    assert pixels(show_difference(-image, 1.0))[0, 0].tolist() == [33, 102, 172]


def test_no_change_and_no_number_are_drawn() -> None:
    assert pixels(show_difference(np.zeros((4, 4, 1)), 0.0)).min() == 247
    assert pixels(show(np.full((4, 4, 1), np.nan), 0, 1)).max() == 0

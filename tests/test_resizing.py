import numpy as np
import pytest

from auditor.errors import SamplesError
from auditor.resizing import all_fitted

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 4, 4), (2, 8, 8)),
        ((2, 4, 4, 3), (2, 8, 8, 3)),
        ((2, 4, 4, 1), (2, 8, 8, 1)),
        ((2, 3, 4, 4), (2, 3, 8, 8)),
        ((2, 1, 4, 4), (2, 1, 8, 8)),
    ],
)
def test_channels_stay_where_they_were(shape, expected):
    x = RNG.integers(0, 256, shape).astype(np.uint8)
    made = all_fitted("x", x, (8, 8))
    assert (made.shape, made.dtype) == (expected, np.uint8)


def test_both_layouts_give_the_same_picture():
    last = RNG.integers(0, 256, (2, 4, 6, 3)).astype(np.uint8)
    first = np.moveaxis(last, -1, 1)
    assert np.array_equal(np.moveaxis(all_fitted("x", first, (5, 5)), 1, -1), all_fitted("x", last, (5, 5)))


def test_a_plain_picture_stays_plain():
    assert (all_fitted("x", np.full((1, 4, 4), 77, np.uint8), (9, 3)) == 77).all()


@pytest.mark.parametrize("x", [np.zeros((2, 784), np.uint8), np.zeros((2, 4, 4), np.float32)])
def test_what_is_no_picture_is_not_resized(x):
    with pytest.raises(SamplesError, match="`size` resizes pictures"):
        all_fitted("x", x, (8, 8))

import re

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto

from benchmarks.node_cases import Case, difference


def told(value, expected):
    return difference(Case("case", ModelProto(), [], [expected], rtol=1e-3, atol=1e-7), [value])


HALF = np.array([0.5, 2], np.float32)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (HALF, HALF * 1.0005),
        (HALF.astype(np.float64), HALF.astype(np.float16)),
        (HALF, HALF.astype(ml_dtypes.bfloat16)),
        (np.array([3.0, -1.0]), np.array([3, -1], np.int8)),
        (np.array([3, 200], np.int64), np.array([3, 200], np.uint8)),
        (np.array([7, 1], np.int8), np.array([7, 1], ml_dtypes.uint4)),
        (np.array([1.0, 0.0]), np.array([True, False])),
        (np.array(["a"], object), np.array(["a"], object)),
        ([HALF, HALF], [HALF, HALF]),
        (None, None),
        (np.array([np.nan, np.inf]), np.array([np.nan, np.inf], np.float32)),
        (np.array([1e3, 1e-5], np.float32), np.array([1e3, 0], np.float32)),
    ],
)
def test_what_is_the_same(value, expected):
    assert told(value, expected) == ""


@pytest.mark.parametrize(
    ("value", "expected", "words"),
    [
        (HALF, HALF * 1.01, "2 of 2"),
        (HALF[:1], HALF, r"shape \[1\] instead of \[2\]"),
        (np.array([0.5, 2.0]), np.array([0, 2], np.int32), "no int32"),
        (np.array([3, 300], np.int64), np.array([3, 44], np.uint8), "no uint8"),
        (np.array([2.0]), np.array([True]), "no bool"),
        (np.array([1]), np.array([True]), "no bool"),
        (np.array([1]), np.array([1], np.float32), "no float32"),
        (np.array([1000], np.int32), np.array([1001], np.int32), "other values"),
        (np.array(["a"], object), np.array(["b"], object), "other values"),
        ([HALF], [HALF, HALF], "sequence"),
        (None, HALF, "not a tensor"),
        (HALF, None, "optional"),
        (np.array([np.nan]), np.array([1.0]), "1 of 1"),
    ],
)
def test_what_is_not(value, expected, words):
    assert re.search(words, told(value, expected))


def test_the_number_of_outputs_counts():
    case = Case("case", ModelProto(), [], [HALF, HALF], rtol=1e-3, atol=1e-7)
    assert difference(case, [HALF]) == "1 outputs instead of 2"

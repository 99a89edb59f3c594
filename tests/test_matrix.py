"""Who fools whom: the published matrix and its two masked rows, and models whose gradients lead nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.errors import UsageError
from auditor.matrix import Matrix, Signature
from auditor.protocols import TransferCounts, count

NAMES = ("v4", "v3", "v3adv", "IRv2", "IRv2adv")
PUBLISHED = (
    (60.2, 39.2, 31.1, 36.6, 30.9),
    (43.8, 69.6, 36.4, 42.1, 35.1),
    (36.3, 35.6, 26.6, 35.2, 35.9),
    (38.0, 38.0, 30.8, 50.7, 31.9),
    (31.0, 30.3, 25.7, 30.6, 21.4),
)
"""Step-LL at 16/256 in Tramèr et al., percent: rows are targets."""


def matrix(*rows: tuple[float | None, ...], n: int = 1000) -> Matrix:
    return Matrix(names=NAMES[: len(rows)], errors=rows, n=n)


def test_the_published_matrix_has_its_two_masked_rows() -> None:
    published = matrix(*(tuple(error / 100 for error in row) for row in PUBLISHED), n=10_000)
    found = {name: published.signature(name) for name in NAMES}
    own, masked = Signature.OWN, Signature.MASKED
    assert found == {"v4": own, "v3": own, "v3adv": masked, "IRv2": own, "IRv2adv": masked}
    assert published.lead("v3") == pytest.approx(0.696 - 0.438)
    assert published.lead("v3adv") == pytest.approx(0.266 - 0.363)


@pytest.mark.parametrize(
    ("row", "signature"),
    [
        ((0.2, 0.3, 0.4), Signature.MASKED),
        ((0.2, 0.2, 0.4), Signature.BEATEN),
        ((0.3, 0.2, 0.4), Signature.BEATEN),
        ((0.4, 0.2, 0.4), Signature.OWN),
        ((1.0, 1.0, 1.0), Signature.OWN),
        ((0.5, 0.2, 0.4), Signature.OWN),
        ((0.2, None, 0.4), Signature.MASKED),
        ((0.2, None, None), Signature.UNKNOWN),
        ((None, 0.2, 0.4), Signature.UNKNOWN),
    ],
)
def test_what_a_row_says(row: tuple[float | None, ...], signature: Signature) -> None:
    made = matrix(row, (0.0,) * 3, (0.0,) * 3)
    assert made.signature("v4") is signature
    assert (made.lead("v4") is None) == (signature is Signature.UNKNOWN)


def test_one_model_has_nothing_to_compare_with() -> None:
    assert matrix((0.7,)).signature("v4") is Signature.UNKNOWN


def test_it_is_made_of_counts_with_targets_as_rows() -> None:
    right = np.ones(4, bool)
    fooled = {"a": np.array([1, 1, 1, 0], bool), "b": np.array([1, 0, 0, 0], bool)}
    counts = {
        ("a", "a"): count(right, right, fooled["a"], fooled["a"]),
        ("b", "b"): count(right, right, fooled["b"], fooled["b"]),
        ("a", "b"): count(right, right, fooled["a"], np.array([1, 1, 0, 0], bool)),
        ("b", "a"): count(right, right, fooled["b"], ~right),
    }
    made = Matrix.of(counts, ("a", "b"))
    assert made == Matrix(names=("a", "b"), errors=((0.75, 0.0), (0.5, 0.25)), n=4)
    assert (made.signature("a"), made.signature("b")) == (Signature.OWN, Signature.MASKED)
    del counts["b", "a"]
    with pytest.raises(UsageError, match="every source against every target, b against a is missing"):
        Matrix.of(counts, ("a", "b"))


def test_its_table() -> None:
    lines = list(matrix((0.5, 0.25), (0.125, None)).table())
    assert lines == [
        "| target \\ source | v4 | v3 | own gradients |",
        "|---|---|---|---|",
        "| v4 | **50.0 %** | 25.0 % | own |",
        "| v3 | 12.5 % | **not computed** | unknown |",
    ]


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2 models has 2 rows of 2 errors, got 2 of lengths \[2, 1\]"):
        matrix((0.1, 0.2), (0.3,))


def test_counts_of_no_samples() -> None:
    nothing = TransferCounts(n=0, both_right=0, fooled_source=0, fooled_both=0, fooled_target=0, errors=0)
    made = Matrix.of({(one, other): nothing for one in "ab" for other in "ab"}, ("a", "b"))
    assert made.signature("a") is Signature.UNKNOWN

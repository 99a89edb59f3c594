"""Differences in words: signs, digits, and nothing rounded to 0 or across the level."""

from __future__ import annotations

import pytest

from auditor.points import ends, equation, p_value, points, size
from auditor.rates import MISSING


@pytest.mark.parametrize(
    ("value", "n", "shown"),
    [
        (-0.032, 500, "−3.2"),
        (0.011, 500, "+1.1"),
        (0.0, 500, "0.0"),
        (-0.04, 25, "−4"),
        (0.0001, 10000, "+0.01"),
        (-0.004, 99, "−0.4"),
        (1.0, 20, "+100"),
        (None, 5, MISSING),
        (float("nan"), 5, MISSING),
    ],
)
def test_points(value: float | None, n: int, shown: str) -> None:
    assert points(value, n) == shown


def test_a_size_has_no_sign() -> None:
    assert size(-0.032, 500) == "3.2"


def test_an_interval_has_two_signs() -> None:
    assert ends((-0.0587, 0.0061), 500) == "−5.9 to +0.6"
    assert ends(None, 500) == MISSING


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0171, "0.017"), (0.00002, "<0.001"), (0.0496, "0.0496"), (0.0525, "0.0525"), (1.0, "1"), (None, MISSING)],
)
def test_p_values(p: float | None, shown: str) -> None:
    assert p_value(p) == shown


def test_equations() -> None:
    assert equation(0.0171) == "p = 0.017"
    assert equation(1e-9) == "p < 0.001"

"""Numbers in words: digits that n justifies, and never a NaN."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from auditor.reports import numbers


@pytest.mark.parametrize(
    ("value", "n", "text"),
    [
        (0.412, 500, "41.2\u202f%"),
        (0.412, 100, "41.2\u202f%"),
        (0.412, 99, "41\u202f%"),
        (1.0, 500, "100.0\u202f%"),
        (0.0, 10, "0\u202f%"),
        (0.9999, 10_000, ">\u202f99.9\u202f%"),
        (0.0001, 10_000, "<\u202f0.1\u202f%"),
        (None, 500, "not computed"),
        (nan, 500, "not computed"),
        (inf, 500, "not computed"),
    ],
)
def test_a_rate_has_the_digits_that_n_justifies(value: float | None, n: int, text: str) -> None:
    assert numbers.percent(value, n) == text


def test_an_upper_bound_is_never_rounded_down_to_nothing() -> None:
    assert numbers.at_most(0.0001, 10_000) == "≤\u202f0.1\u202f%"
    assert numbers.at_most(0.9999, 10_000) == "≤\u202f100.0\u202f%"
    assert numbers.at_most(0.0, 500) == "≤\u202f0.0\u202f%"
    assert numbers.at_most(None, 500) == "not computed"


@pytest.mark.parametrize(
    ("span", "text"),
    [((0.3695, 0.4575), "37–46"), ((0.9924, 1.0), "99.2–100.0"), ((0.0, 0.66), "0–66"), (None, "not computed")],
)
def test_an_interval_is_two_numbers_that_differ(span: tuple[float, float] | None, text: str) -> None:
    assert numbers.interval(span) == text


def test_an_interval_in_running_text_stays_on_one_line() -> None:
    assert numbers.interval((0.3695, 0.4575), whole=True) == "37\u2060–\u206046"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "0.0314"), (0.0, "0"), (1e-5, "10⁻⁵"), (1.234e-5, "1.23×10⁻⁵"), (12345.6, "12,346"), (17.4, "17.4"),
        (-0.5, "−0.5"), (2.5e7, "2.5×10⁷"), (nan, "not computed"), (None, "not computed"),
    ],
)  # fmt: skip
def test_an_amount_has_three_digits(value: float | None, text: str) -> None:
    assert numbers.amount(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4231, "0.42 s"), (12.34, "12.3 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (59.99, "60 s")],
)
def test_seconds_read_like_a_clock(value: float, text: str) -> None:
    assert numbers.seconds(value).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"steps": 40, "loss": "ce", "mean": [0.5, 0.25], "std": None}, "steps 40, loss ce, mean 0.5, 0.25, std none"),
        ([], "none"), (True, "yes"), (nan, "no number"), (0.1 + 0.2, "0.3"), ("text", "text"),
    ],
)  # fmt: skip
def test_settings_are_written_out(value: Any, text: str) -> None:
    assert numbers.plain(value) == text


def test_a_change_carries_its_sign() -> None:
    assert (numbers.signed(0.0314), numbers.signed(-1.5)) == ("+0.0314", "−1.5")

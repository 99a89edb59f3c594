"""Names from elsewhere stay visible, and fit."""

from __future__ import annotations

import pytest
from auditor.reports.numbers import interval
from auditor.reports.text import clean, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat\x00dog", "cat\\u0000dog"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("שלום, 猫, naïve\n", "שלום, 猫, naïve\n"),
    ],
)
def test_what_can_not_be_shown_is_spelt_out(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert clean(text).encode()


def test_our_own_intervals_keep_to_one_line_and_nothing_else_joins() -> None:
    own = f"95\u202f% interval {interval((0.3695, 0.4575), whole=True)}, n\xa0=\xa0500"
    assert clean(own) == own
    assert clean("c\u2060at\u2060–\u20603") == "c\\u2060at\\u2060–\\u20603"


def test_a_long_name_is_cut_with_an_ellipsis() -> None:
    assert shorten("a" * 100, 10) == "aaaaaaaaa…"
    assert shorten("two\n lines  and more", 60) == "two lines and more"

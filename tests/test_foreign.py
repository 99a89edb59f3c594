"""Words from elsewhere: visible, in one line, and obeyed by nobody."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from auditor.foreign import HIDDEN, harmless, harmless_json, one_line, spell, unobeyed

SHOWN = {
    *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD,  # signs around Arabic, Kaithi, Syriac
    *range(0x13430, 0x13440),  # how hieroglyphs are stacked
}  # fmt: skip
"""Characters of the category Cf that are seen."""
HOSTILE = "::error file=x::pwn\n::warning::injected\r\n\x1b]0;title\x07\u202e ##[error]x ##vso[task.complete]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat\x00dog", "cat\\u0000dog"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b31mred", "\\u009b31mred"),
        ("\U000e0041", "\\U000e0041"),
        ("שלום, 猫, naïve 🐈\t\n", "שלום, 猫, naïve 🐈\t\n"),
        ("41.2\u202f%, n\xa0=\xa05", "41.2\u202f%, n\xa0=\xa05"),
    ],
)
def test_what_can_not_be_shown_is_spelt_out(text: str, shown: str) -> None:
    assert spell(text) == shown
    assert spell(text).encode()


@pytest.mark.parametrize(
    "code",
    [
        *range(0x200B, 0x2010),
        *range(0x2060, 0x2065),
        0xFEFF,
        0x61C,
        0xAD,
        0x180E,
        0x34F,
        0x115F,
        0x3164,
        0xFE0F,
        0xE0041,
    ],
    ids=hex,
)
def test_two_names_never_differ_by_what_is_not_seen(code: int) -> None:
    assert spell(f"c{chr(code)}at") == f"c{spell(chr(code))}at"
    assert spell(chr(code)).isascii()


def test_nothing_that_unicode_calls_control_or_format_is_left() -> None:
    left = HIDDEN.sub("", "".join(map(chr, range(sys.maxunicode + 1))))
    kinds = {ord(shown): unicodedata.category(shown) for shown in left}
    assert {code for code, kind in kinds.items() if kind in ("Cc", "Cs", "Zl", "Zp")} == {0x9, 0xA}
    assert {code for code, kind in kinds.items() if kind == "Cf"} <= SHOWN  # of which older tables know fewer


def test_in_one_line() -> None:
    assert one_line(" two\r\nlines\tand\u2028  more\x0b") == "two lines and more\\u000b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", ": :error::x"),
        ("  ::error::x", ": :error::x"),
        (":::error::x", ": ::error::x"),
        ("a::error::x", "a::error::x"),
        ("a ##[error]x", "a ## [error]x"),
        ("###[error]x", "### [error]x"),
        ("##vso[task.complete result=Succeeded;]", "## vso[task.complete result=Succeeded;]"),
        ("##teamcity[buildStop]", "## teamcity[buildStop]"),
        ("#\u200b#[error]", "#\\u200b#[error]"),
        ("## heading", "## heading"),
        ("", ""),
    ],
)
def test_no_build_server_obeys(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_nobody_obeys() -> None:
    assert harmless(HOSTILE) == (
        ": :error file=x::pwn ::warning::injected \\u001b]0;title\\u0007\\u202e ## [error]x ## vso[task.complete]"
    )


def test_line_breaks_of_ones_own_stay_where_they_are_wanted() -> None:
    assert unobeyed("one\n::two::\n  ::three ##[x") == "one\n: :two::\n  : :three ## [x"


def test_json_means_what_it_meant() -> None:
    made = {"text": HOSTILE + "\x9b\U000e0041\\##[\\", "n": 1}
    told = harmless_json(json.dumps(made, ensure_ascii=False))
    assert json.loads(told) == made
    assert spell(told) == told
    assert "##" not in told

"""The style sheet: enough contrast in both themes, and nothing that a style element can't hold."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from auditor.reports import svg
from auditor.reports.html import stylesheet

SHADES = ("s0", "s1", "s2", "s3", "s4", "s5")
BACKGROUNDS = {
    "ink": ("paper", "raised", "badwash", "openwash", "goodwash", *SHADES),
    "muted": ("paper", "raised", "badwash", "openwash", "goodwash"),
    "accent": ("paper",),
    "good": ("paper", "goodwash"),
    "bad": ("paper", "badwash"),
    "open": ("paper", "openwash"),
}


def themes() -> list[dict[str, str]]:
    """The colours of the light and of the dark theme."""
    blocks = re.findall(r":root \{(.*?)\}", stylesheet(), re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """WCAG 2's contrast ratio."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_has_contrast(theme: int) -> None:
    colours = themes()[theme]
    for ink, papers in BACKGROUNDS.items():
        for paper in papers:
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


@pytest.mark.parametrize("theme", [0, 1])
def test_neighbours_in_the_bar_differ_in_lightness(theme: int) -> None:
    colours = themes()[theme]
    for a, b in (("certified", "withstood"), ("withstood", "broken"), ("broken", "misclassified")):
        assert contrast(colours[a], colours[b]) >= 1.1, (a, b)


@pytest.mark.parametrize("theme", [0, 1])
def test_each_shade_of_a_matrix_differs_from_the_one_before(theme: int) -> None:
    colours = themes()[theme]
    away = [contrast(colours[shade], colours["paper"]) for shade in SHADES]
    assert away[0] == 1
    assert away == sorted(away)
    assert all(after / before >= 1.05 for before, after in pairwise(away))


def test_both_themes_name_the_same_colours_and_the_svg_has_the_light_ones() -> None:
    light, dark = themes()
    assert light.keys() == dark.keys()
    for kind in ("certified", "withstood", "unattacked", "error", "broken", "misclassified"):
        assert svg.FILLS[kind] == light[kind]
    assert svg.FILLS["band"] == light["band"]
    assert (svg.STROKES["curve"], svg.STROKES["proved"]) == (light["withstood"], light["certified"])
    assert {"strong": light["ink"], "quiet": light["muted"]} == svg.INKS


def test_the_sheet_stays_inside_its_element() -> None:
    sheet = str(stylesheet())
    assert "<" not in sheet
    assert "\r" not in sheet
    assert sheet.count("{") == sheet.count("}")

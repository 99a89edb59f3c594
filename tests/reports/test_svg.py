"""Charts: lengths are the numbers they stand for, and every mark says them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from auditor.reports import svg


def test_a_bar_s_lengths_are_the_shares() -> None:
    parts = [
        svg.Part(kind=k, share=s, title=f"{k} {s}") for k, s in [("withstood", 0.4), ("broken", 0.5), ("error", 0.0)]
    ]
    root = ElementTree.fromstring(svg.bracket(parts, 0.4, (0.35, 0.45), 0.2, 0.9, 500, "label"))
    rects = [(r.get("class"), r.get("x"), r.get("width")) for r in root.iter("rect")]
    assert rects == [("withstood", "0.000%", "40.000%"), ("broken", "40.000%", "50.000%")]
    lines = [(line.get("class"), line.get("x1"), line.get("x2")) for line in root.iter("line")]
    assert ("whisker", "35.000%", "45.000%") in lines
    assert ("tick", "40.000%", "40.000%") in lines
    assert ("tick", "90.000%", "90.000%") in lines
    assert ("tick", "20.000%", "20.000%") in lines
    assert root.get("aria-label") == "label"


def test_every_mark_has_a_title() -> None:
    chart = svg.share_bar(0.41, (0.37, 0.46), 0.93, "cat: 41 %")
    root = ElementTree.fromstring(chart)
    marks = [m for m in root if m.tag in ("rect", "line")]
    assert len(marks) >= 6
    assert all(mark.findtext("title") == "cat: 41 %" for mark in marks)


def test_a_row_without_numbers_is_an_empty_track() -> None:
    root = ElementTree.fromstring(svg.share_bar(None, None, None, "nothing"))
    assert [r.get("class") for r in root] == ["track"]


def test_a_curve_falls_from_the_top() -> None:
    root = ElementTree.fromstring(svg.curve([(0.0, 1.0), (0.1, 0.5), (0.2, 0.0)], 500, "label"))
    dots = [(c.get("cx"), c.get("cy")) for c in root.iter("circle")]
    assert dots == [("8.000%", "10.0"), ("53.000%", "100.0"), ("98.000%", "190.0")]
    assert [c.findtext("title") for c in root.iter("circle")][1] == "epsilon 0.1: robust accuracy ≤\u202f50.0\u202f%"
    strokes = [
        tuple(m.get(k) for k in ("x1", "y1", "x2", "y2")) for m in root.iter("line") if m.get("class") == "curve"
    ]
    assert strokes[:2] == [  # level until the next point, and down there: between two points nothing more is known
        ("8.000%", "10.0", "53.000%", "10.0"),
        ("53.000%", "10.0", "53.000%", "100.0"),
    ]


def test_a_curve_of_one_point_at_zero_is_drawn() -> None:
    assert len(list(ElementTree.fromstring(svg.curve([(0.0, 0.3)], 500, "label")).iter("circle"))) == 1


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '" onload="x', "a\x00b\u202e"])
def test_a_name_stays_a_title(name: str) -> None:
    chart = svg.part_bar("broken", 1, 2, 3, name)
    root = ElementTree.fromstring(chart)
    assert set(root.keys()) == {"class", "width", "height", "role", "aria-label", "overflow"}
    assert {m.tag for m in root.iter()} == {"svg", "rect", "title"}
    assert not re.search("[\x00\u202e]", chart)


def test_labels_that_would_meet_are_not_both_written() -> None:
    near = ElementTree.fromstring(svg.bracket([], 0.9, None, 0.8, 0.95, 500, "label"))
    far = ElementTree.fromstring(svg.bracket([], 0.9, None, 0.1, 0.95, 500, "label"))
    assert not [t for t in near.iter("text") if "certified" in (t.text or "")]
    assert [t.text for t in far.iter("text") if "certified" in (t.text or "")] == ["certified ≥ 10.0\u202f%"]

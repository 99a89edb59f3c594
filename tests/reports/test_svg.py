"""Charts: lengths are the numbers they stand for, and every mark says them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from auditor.reports import svg


def test_every_mark_has_a_title() -> None:
    chart = svg.share_bar(0.41, (0.37, 0.46), 0.93, "cat: 41 %")
    root = ElementTree.fromstring(chart)
    marks = [m for m in root if m.tag in ("rect", "line")]
    assert len(marks) >= 6
    assert all(mark.findtext("title") == "cat: 41 %" for mark in marks)


def test_a_row_without_numbers_is_an_empty_track() -> None:
    root = ElementTree.fromstring(svg.share_bar(None, None, None, "nothing"))
    assert [r.get("class") for r in root] == ["track"]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '" onload="x', "a\x00b\u202e"])
def test_a_name_stays_a_title(name: str) -> None:
    chart = svg.part_bar("broken", 1, 2, 3, name)
    root = ElementTree.fromstring(chart)
    assert set(root.keys()) == {"class", "width", "height", "role", "aria-label", "overflow"}
    assert {m.tag for m in root.iter()} == {"svg", "rect", "title"}
    assert not re.search("[\x00\u202e]", chart)


def test_a_stage_s_bar_is_what_stands_and_what_fell() -> None:
    root = ElementTree.fromstring(svg.stage_bar(0.9, 0.6, "pgd"))
    rects = [(r.get("class"), r.get("x"), r.get("width")) for r in root.iter("rect")]
    assert rects == [
        ("track", "0.000%", "100.000%"),
        ("withstood", "0.000%", "60.000%"),
        ("broken", "60.000%", "30.000%"),
    ]
    assert "broken" not in svg.stage_bar(0.6, 0.6, "square")

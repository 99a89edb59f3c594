"""The larger charts: lengths and heights are the numbers they stand for, and every mark says them."""

from __future__ import annotations

from xml.etree import ElementTree

from auditor.reports import charts


def steps(*points: tuple[float, ...]) -> list[charts.Step]:
    """Steps from (epsilon, found) or (epsilon, found, proved)."""
    return [charts.Step(epsilon=p[0], found=p[1], proved=p[2] if len(p) > 2 else 0.0) for p in points]


def test_a_bar_s_lengths_are_the_shares() -> None:
    parts = [
        charts.Part(kind=k, share=s, title=f"{k} {s}") for k, s in [("withstood", 0.4), ("broken", 0.5), ("error", 0.0)]
    ]
    root = ElementTree.fromstring(charts.bracket(parts, 0.4, (0.35, 0.45), 0.2, 0.9, 500, "label"))
    rects = [(r.get("class"), r.get("x"), r.get("width")) for r in root.iter("rect")]
    assert rects == [("withstood", "0.000%", "40.000%"), ("broken", "40.000%", "50.000%")]
    lines = [(line.get("class"), line.get("x1"), line.get("x2")) for line in root.iter("line")]
    assert ("whisker", "35.000%", "45.000%") in lines
    assert ("tick", "40.000%", "40.000%") in lines
    assert ("tick", "90.000%", "90.000%") in lines
    assert ("tick", "20.000%", "20.000%") in lines
    assert root.get("aria-label") == "label"


def test_a_curve_falls_from_the_top() -> None:
    root = ElementTree.fromstring(charts.curve(steps((0.0, 1.0), (0.1, 0.5), (0.2, 0.0)), 500, "label"))
    dots = [(c.get("cx"), c.get("cy")) for c in root.iter("circle")]
    assert dots == [("8.000%", "24.0"), ("53.000%", "119.0"), ("98.000%", "214.0")]
    assert [c.findtext("title") for c in root.iter("circle")][1] == "epsilon 0.1: robust accuracy ≤\u202f50.0\u202f%"
    strokes = [
        tuple(m.get(k) for k in ("x1", "y1", "x2", "y2")) for m in root.iter("line") if m.get("class") == "curve"
    ]
    assert strokes[:2] == [  # level until the next point, and down there: between two points nothing more is known
        ("8.000%", "24.0", "53.000%", "24.0"),
        ("53.000%", "24.0", "53.000%", "119.0"),
    ]


def test_a_curve_of_one_point_at_zero_is_drawn() -> None:
    assert len(list(ElementTree.fromstring(charts.curve(steps((0.0, 0.3)), 500, "label")).iter("circle"))) == 1


def test_labels_that_would_meet_are_not_both_written() -> None:
    near = ElementTree.fromstring(charts.bracket([], 0.9, None, 0.8, 0.95, 500, "label"))
    far = ElementTree.fromstring(charts.bracket([], 0.9, None, 0.1, 0.95, 500, "label"))
    assert not [t for t in near.iter("text") if "certified" in (t.text or "")]
    assert [t.text for t in far.iter("text") if "certified" in (t.text or "")] == ["certified ≥\u202f10.0\u202f%"]


def test_the_truth_lies_in_the_band_between_the_two_ends() -> None:
    root = ElementTree.fromstring(charts.curve(steps((0.0, 1.0, 0.6), (0.1, 0.5, 0.2), (0.2, 0.0, 0.0)), 500, "label"))
    bands = [r for r in root.iter("rect") if r.get("class") == "band"]
    assert [(r.get("x"), r.get("width"), r.get("y"), r.get("height")) for r in bands] == [
        ("8.000%", "45.000%", "24", "76"),
        ("53.000%", "45.000%", "119", "57"),
    ]
    assert bands[0].findtext("title") == (
        "epsilon 0 to 0.1: between 60.0\u202f% (proved) and 100.0\u202f% (nothing found)"
    )
    assert [m for m in root.iter("line") if m.get("class") == "proved"]


def test_where_nothing_is_proved_there_is_no_band() -> None:
    chart = charts.curve(steps((0.0, 1.0), (0.1, 0.5)), 500, "label")
    assert 'class="band"' not in chart
    assert 'class="proved"' not in chart


def test_epsilon_is_marked_where_it_lies_on_the_scale() -> None:
    points = steps((0.0, 1.0), (0.2, 0.5))
    root = ElementTree.fromstring(charts.curve(points, 500, "label", 0.1))
    (tick,) = [line for line in root.iter("line") if line.get("class") == "tick"]
    assert tick.get("x1") == "53.000%"
    assert tick.findtext("title") == "epsilon 0.1"
    assert 'class="tick"' not in charts.curve(points, 500, "label", 0.3)


def test_a_small_curve_is_one_path_on_the_common_scale() -> None:
    chart = charts.small_curve(steps((0.0, 1.0), (0.1, 0.5)), 0.2, 0.1, "cat: median 0.1")
    root = ElementTree.fromstring(chart)
    (path,) = [p for p in root.iter("path") if p.get("class") == "curve"]
    assert path.get("d") == "M4.0 6.0H120.0V54.0"
    assert path.findtext("title") == "cat: median 0.1"
    assert root.get("aria-label") == "cat: median 0.1"
    (tick,) = [p for p in root.iter("path") if p.get("class") == "tick"]
    assert tick.get("d") == "M120.0 6V102"

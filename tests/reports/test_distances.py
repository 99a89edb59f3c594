"""Distances: both ends of the curve, what they are made of, by class, and why there may be none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports import markdown
from auditor.reports.distances import distances
from auditor.reports.html import render

from auditor.entry import Entry
from auditor.hardness import CurvePoint, Hardness

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
replace = msgspec.structs.replace


def test_the_curve_has_both_ends_at_every_point(entry: Make, parse: Parse) -> None:
    made = entry(n=450, hardness={})
    rows = parse(render([made])).table("Robust accuracy in percent")
    points = {f"{p.epsilon:.3g}": p for p in made.record.curve}
    assert len(rows) == len(points)
    for row in rows:
        point = points[row[0]]
        assert row[1] == f"≤ {point.robust_accuracy * 100:.1f} %"
        assert row[2].replace(" %", "") in (f"≥ {point.certified * 100:.1f}", "≥ 0")


def test_what_is_proved_at_distance_0_alone_is_no_lower_end(entry: Make) -> None:
    curve = [
        CurvePoint(epsilon=0.0, robust_accuracy=1.0, certified=1.0),
        CurvePoint(epsilon=0.1, robust_accuracy=0.5),
        CurvePoint(epsilon=0.2, robust_accuracy=0.1),
    ]
    shown = distances(entry(n=60, curve=curve).record)
    assert not shown.proved
    assert "band" not in shown.chart
    assert not any("proved" in note for note in shown.notes)


def test_the_medians_are_those_of_the_record(entry: Make) -> None:
    made = entry(n=450, names=["ant", "bee", "cat"], hardness={})
    hardness = made.record.hardness
    assert hardness is not None
    near = min(hardness.classes, key=lambda row: row.distance or 0)
    lead = distances(made.record).lead
    assert f"within {made.record.metrics.median_distance:.3g} (linf, " in lead
    assert f"nearest is {['ant', 'bee', 'cat'][near.label]} with a median of {near.distance:.3g}" in lead


def test_a_curve_of_some_samples_is_called_an_estimate(entry: Make) -> None:
    made = entry(n=60, hardness={})
    hardness = made.record.hardness
    assert hardness is not None
    assert distances(made.record).estimate == ""
    some = replace(made.record, hardness=replace(hardness, ranged=10, correct=40))
    assert "on 10 of 40 correctly classified samples, so distances are estimates" in distances(some).estimate
    for output in (render([Entry(some, made.folder)]), markdown.render([Entry(some, made.folder)])):
        assert distances(some).estimate in output


@pytest.mark.parametrize(("classes", "curves"), [(3, 3), (12, 12), (13, 12)])
def test_every_class_has_a_curve_up_to_twelve_then_both_ends(entry: Make, classes: int, curves: int) -> None:
    shown = distances(entry(n=390, classes=classes, hardness={}, evidence=False).record)
    assert len(shown.small) == curves
    assert len(shown.by_class) == curves
    assert bool(shown.small_note) == (classes > 12)
    assert all("median" in small.note for small in shown.small)


def test_by_class_the_table_reads_the_curve_at_multiples_of_epsilon(entry: Make, parse: Parse) -> None:
    made = entry(n=450, hardness={})
    page = parse(render([made]))
    assert page.heads("Distance of the nearest")[-3:] == [
        "left at 0.5 × epsilon", "left at epsilon", "left at 2 × epsilon"
    ]  # fmt: skip
    hardness = made.record.hardness
    assert hardness is not None
    epsilon = made.record.threat.epsilon or 0
    for row in hardness.classes:
        shown = next(line for line in page.table("Distance of the nearest") if line[0] == str(row.label))
        at = [p for p in row.curve if p.epsilon <= epsilon][-1]
        assert shown[1:4] == [str(row.n), f"{row.nearest:.3g}", f"{row.distance:.3g}"]
        assert shown[5] == f"≤ {at.robust_accuracy * 100:.1f} %"


def test_nothing_beyond_epsilon_says_why(entry: Make, parse: Parse) -> None:
    made = entry(n=60)
    assert "looked at epsilon alone" in parse(render([made])).text
    made = Entry(replace(made.record, hardness=Hardness(why_not="the threat has boxes")), made.folder)
    assert "Nothing was looked for beyond epsilon: the threat has boxes." in parse(render([made])).text


def test_what_holds_at_epsilon_is_not_told_with_what_holds_just_over_it(entry: Make, parse: Parse) -> None:
    epsilon = 8 / 255
    curve = [
        CurvePoint(epsilon=e, robust_accuracy=r)
        for e, r in ((0.0, 0.9), (0.01, 0.8), (0.010001, 0.7), (epsilon, 0.5), (epsilon * 1.00001, 0.2), (0.1, 0.0))
    ]
    made = entry(n=200, curve=curve)
    rows = parse(render([made])).table("Robust accuracy in percent")
    assert [(row[0], row[1]) for row in rows] == [
        ("0", "≤ 90.0 %"), ("0.01", "≤ 70.0 %"), ("0.0314", "≤ 50.0 %"), ("just over 0.0314", "≤ 20.0 %"),
        ("0.1", "≤ 0.0 %"),
    ]  # fmt: skip
    assert distances(made.record).chart.count("<circle") == len(curve)

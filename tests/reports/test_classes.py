"""Which classes: their order, errors of either kind, distances and slopes, and what is said of few samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports.classes import classes
from auditor.reports.html import render

from auditor.entry import Entry
from auditor.metrics import weakest
from auditor.record import Outcome, Status

Make = Callable[..., Entry]
Parse = Callable[[str], Any]


def test_classes_come_weakest_first_with_the_record_s_numbers(entry: Make) -> None:
    record = entry(n=300, classes=3, names=["cat", "dog", "fox"]).record
    shown = classes(record)
    rows = sorted(record.by_class, key=lambda row: row.robust_accuracy or 0)
    assert [line.name for line in shown.rows] == [row.name for row in rows]
    for line, row in zip(shown.rows, rows, strict=True):
        assert row.robust_accuracy is not None
        assert line.robust == f"≤\u202f{row.robust_accuracy * 100:.1f}\u202f%"
        assert row.interval is not None
        assert line.interval == f"{row.interval[0] * 100:.0f}–{row.interval[1] * 100:.0f}"
        own = [o for o in record.outcomes if o.label == row.label and o.adversarial_label is not None]
        assert line.boundary == str(len(own))
        most = Counter(o.adversarial_label for o in own)[row.turns_into]
        assert line.into == f"{['cat', 'dog', 'fox'][row.turns_into or 0]} ({most} of {len(own)})"
    named = weakest(record)
    assert named is not None
    assert shown.lead.startswith(f"{named.name} is the weakest: at most")
    assert next(line.into for line in shown.rows if line.name == named.name) in shown.lead


def test_of_a_thousand_classes_the_hidden_ones_are_counted(entry: Make) -> None:
    shown = classes(entry(n=3000, classes=1000, evidence=False).record)
    assert (len(shown.rows), len(shown.strongest)) == (20, 10)
    assert shown.rows[0].robust == "≤\u202f0\u202f%"
    assert shown.strongest[0].robust == "≤\u202f100\u202f%"
    assert "the 20 weakest and the 10 strongest of 1,000 classes; 970 are not shown" in shown.note
    assert "fewer than 30 samples" in shown.note
    assert "No class has the 5 samples" in shown.lead
    assert not any(line.few for line in shown.rows)


def test_few_samples_are_said_in_the_row(entry: Make) -> None:
    outcomes = [
        Outcome(id=i, label=int(i >= 100), clean_label=int(i >= 100), status=Status.WITHSTOOD) for i in range(110)
    ]
    shown = classes(entry(outcomes=outcomes, classes=2, evidence=False).record)
    assert {line.n: line.few for line in shown.rows} == {"100": False, "10": True}
    assert "1 of these classes has fewer than 30 samples" in shown.note


def test_nothing_attacked_is_not_computed(entry: Make) -> None:
    outcomes = [Outcome(id=i, label=i % 2, clean_label=i % 2, status=Status.UNATTACKED) for i in range(60)]
    shown = classes(entry(outcomes=outcomes, classes=2, evidence=False).record)
    assert all(line.robust == "not computed" and line.into == "none found" for line in shown.rows)
    assert "no attack judged any sample" in shown.lead


def test_a_class_without_a_name_is_called_by_its_number(entry: Make) -> None:
    assert classes(entry(n=300, evidence=False).record).lead.startswith("Class ")


def test_natural_and_boundary_errors_are_what_is_not_robust(entry: Make, parse: Parse) -> None:
    made = entry(n=300, classes=3)
    rows = parse(render([made])).table("By class")
    for own in made.record.by_class:
        shown = next(row for row in rows if row[0] == own.name)
        assert shown[6:8] == [str(own.misclassified), str(own.broken)]
        assert own.robust_accuracy == pytest.approx(1 - (int(shown[6]) + int(shown[7])) / own.n)


def test_certified_and_distances_are_columns_only_where_there_are_any(entry: Make, parse: Parse) -> None:
    plain, far = entry(n=60), entry(n=60, hardness={})
    heads = [parse(render([made])).heads("By class") for made in (plain, far)]
    assert "Median distance" not in heads[0]
    assert "Median distance" in heads[1]
    assert "Certified" not in heads[1]
    proved = msgspec.structs.replace(
        far.record, by_class=[msgspec.structs.replace(row, certified=3) for row in far.record.by_class]
    )
    page = parse(render([Entry(proved, far.folder)]))
    assert page.table("By class")[0][page.heads("By class").index("Certified")] == "3"


def test_a_class_whose_half_has_no_example_is_beyond_reach(entry: Make) -> None:
    made = entry(n=60, hardness={})
    assert made.record.hardness is not None
    far = [msgspec.structs.replace(row, distance=None) for row in made.record.hardness.classes]
    record = msgspec.structs.replace(made.record, hardness=msgspec.structs.replace(made.record.hardness, classes=far))
    assert {line.distance for line in classes(record).rows} == {"beyond reach"}


def test_slopes_are_shown_of_the_classes_that_were_measured(entry: Make, parse: Parse) -> None:
    made = entry(n=60, hardness={})
    rows = parse(render([made])).table("Slopes by class")
    assert made.record.hardness is not None
    assert len(rows) == len(made.record.hardness.classes)
    assert rows[0][2:] == ["3.2", "11", "0.021"]
    assert "Slopes by class" not in " ".join(parse(render([entry(n=60)])).tables)


def test_a_record_of_before_errors_were_counted_says_so(entry: Make) -> None:
    made = entry(n=60)
    rows = [msgspec.structs.replace(row, misclassified=0, broken=0) for row in made.record.by_class]
    shown = classes(msgspec.structs.replace(made.record, by_class=rows)).rows
    assert {(line.natural, line.boundary) for line in shown} == {("not computed", "not computed")}

"""Where it is weak: order, counts, what is hidden, and what is said of few samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from auditor.reports.weakness import weakness

from auditor.metrics import weakest
from auditor.record import Entry, Outcome, Status

Make = Callable[..., Entry]


def test_classes_come_weakest_first_with_the_record_s_numbers(entry: Make) -> None:
    record = entry(n=300, classes=3, names=["cat", "dog", "fox"]).record
    shown = weakness(record)
    rows = sorted(record.by_class, key=lambda row: row.robust_accuracy or 0)
    assert [line.name for line in shown.classes] == [row.name for row in rows]
    for line, row in zip(shown.classes, rows, strict=True):
        assert row.robust_accuracy is not None
        assert line.robust == f"≤\u202f{row.robust_accuracy * 100:.1f}\u202f%"
        assert row.interval is not None
        assert line.interval == f"{row.interval[0] * 100:.0f}–{row.interval[1] * 100:.0f}"
        own = [o for o in record.outcomes if o.label == row.label and o.adversarial_label is not None]
        assert line.broken == str(len(own))
        most = Counter(o.adversarial_label for o in own)[row.turns_into]
        assert line.into == f"{['cat', 'dog', 'fox'][row.turns_into or 0]} ({most} of {len(own)})"
    named = weakest(record.by_class)
    assert named is not None
    assert shown.lead.startswith(f"{named.name} is the weakest: at most")
    assert next(line.into for line in shown.classes if line.name == named.name) in shown.lead


def test_of_a_thousand_classes_the_hidden_ones_are_counted(entry: Make) -> None:
    shown = weakness(entry(n=3000, classes=1000, evidence=False).record)
    assert len(shown.classes) == 30
    assert "20 weakest of 1,000 classes and the 10 others that lost most samples; 970 are not shown" in shown.note
    assert "fewer than 30 samples" in shown.note
    assert "No class has the 5 samples" in shown.lead
    assert not any(line.few for line in shown.classes)


def test_few_samples_are_said_in_the_row(entry: Make) -> None:
    outcomes = [
        Outcome(id=i, label=int(i >= 100), clean_label=int(i >= 100), status=Status.WITHSTOOD) for i in range(110)
    ]
    shown = weakness(entry(outcomes=outcomes, classes=2, evidence=False).record)
    assert {line.n: line.few for line in shown.classes} == {"100": False, "10": True}
    assert "1 of these classes has fewer than 30 samples" in shown.note


def test_pairs_are_counted_from_the_outcomes(entry: Make) -> None:
    record = entry(n=300, classes=3).record
    shown = weakness(record)
    counted = Counter((o.label, o.adversarial_label) for o in record.outcomes if o.adversarial_label is not None)
    assert len(shown.pairs) == len(counted)
    for line in shown.pairs:
        assert line.n == str(counted[int(line.source), int(line.into)])
    assert int(shown.pairs[0].n) == max(counted.values())


def test_nothing_attacked_is_not_computed(entry: Make) -> None:
    outcomes = [Outcome(id=i, label=i % 2, clean_label=i % 2, status=Status.UNATTACKED) for i in range(60)]
    shown = weakness(entry(outcomes=outcomes, classes=2, evidence=False).record)
    assert all(line.robust == "not computed" and line.into == "none found" for line in shown.classes)
    assert "no attack judged any sample" in shown.lead
    assert shown.pairs == []


def test_a_confusion_seen_once_is_not_called_frequent(entry: Make) -> None:
    outcomes = [Outcome(id=i, label=i, clean_label=i, status=Status.BROKEN, adversarial_label=i + 1) for i in range(3)]
    shown = weakness(entry(outcomes=outcomes, classes=4, evidence=False).record)
    assert shown.pairs == []
    assert "None of 3 confusions was seen twice" in shown.pairs_note


def test_a_class_without_a_name_is_called_by_its_number(entry: Make) -> None:
    assert weakness(entry(n=300, evidence=False).record).lead.startswith("Class ")

"""Confusions among adversarial examples: counted from the outcomes, and frequent only from two on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from auditor.reports.confusions import confusions

from auditor.entry import Entry
from auditor.record import Outcome, Status

Make = Callable[..., Entry]


def test_pairs_are_counted_from_the_outcomes(entry: Make) -> None:
    record = entry(n=300, classes=3).record
    shown = confusions(record)
    counted = Counter((o.label, o.adversarial_label) for o in record.outcomes if o.adversarial_label is not None)
    assert len(shown.rows) == len(counted)
    for line in shown.rows:
        assert line.n == str(counted[int(line.source), int(line.into)])
    assert int(shown.rows[0].n) == max(counted.values())


def test_a_confusion_seen_once_is_not_called_frequent(entry: Make) -> None:
    outcomes = [Outcome(id=i, label=i, clean_label=i, status=Status.BROKEN, adversarial_label=i + 1) for i in range(3)]
    shown = confusions(entry(outcomes=outcomes, classes=4, evidence=False).record)
    assert shown.rows == []
    assert "None of 3 confusions was seen twice" in shown.note

"""What was tried: what each stage left standing adds up to the number, and what it cost is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports.effort import effort

from auditor.entry import Entry

Make = Callable[..., Entry]


def played(made: Entry, *rows: dict[str, Any]) -> Entry:
    """The entry after these stages, each given by what sets it apart from the first one."""
    first = made.record.attacks[0]
    stages = [msgspec.structs.replace(first, **({"broken": 0} | row)) for row in rows]
    return Entry(msgspec.structs.replace(made.record, attacks=stages), made.folder)


def test_what_is_left_falls_from_clean_to_robust_accuracy(entry: Make) -> None:
    made = entry(n=120)
    m = made.record.metrics
    broken = m.statuses["broken"]
    shown = effort(played(made, {"broken": broken - 3}, {"name": "pgd", "broken": 3}).record).stages
    assert m.clean_accuracy is not None
    assert m.robust_accuracy is not None
    right = 120 - m.statuses["misclassified"]
    assert [line.left.replace("\u202f", " ") for line in shown] == [
        f"≤ {(right - broken + 3) / 1.2:.1f} %",
        f"≤ {m.robust_accuracy * 100:.1f} %",
    ]
    assert 'class="broken"' in shown[1].chart


def test_stages_that_did_not_run_leave_nothing_said(entry: Make) -> None:
    shown = effort(entry(n=120).record).stages
    assert [(line.status, line.left == "") for line in shown] == [
        ("ran", False), ("ran", False), ("skipped", True), ("error", True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "word", "lead"),
    [
        ("hardness", "search for distances", "Then distances were looked for."),
        ("answer", "answer to a doubt", "1 more followed"),
        ("check", "experiment of a check", "1 more followed"),
    ],
)
def test_phases_are_told_apart(entry: Make, phase: str, word: str, lead: str) -> None:
    shown = effort(played(entry(n=60), {"name": "pgd"}, {"name": "fmn", "phase": phase}).record)
    assert shown.stages[1].phase == word
    assert lead in shown.lead


def test_the_cost_of_looking_for_weaknesses_is_said(entry: Make) -> None:
    made = entry(n=60, hardness={}).record
    assert "37\u202f% of what the suite cost" in effort(made).lead
    dear = msgspec.structs.replace(made, hardness=msgspec.structs.replace(made.hardness, share=87.0))
    assert "87 times what the suite cost, which was soon over" in effort(dear).lead
    assert "To look where" not in effort(entry(n=60).record).lead

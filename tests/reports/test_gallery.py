"""The gallery: which examples, what it says of them, and why there may be none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from auditor.reports.gallery import gallery

from auditor.entry import Entry
from auditor.record import Outcome, Status

Make = Callable[..., Entry]


def test_pictures_say_what_they_are_of(entry: Make) -> None:
    made = entry(names=["cat", "dog", "fox"])
    shown = gallery(made)
    pictures = [picture for group in shown.groups for picture in group.pictures]
    evidence = made.evidence()
    outcomes = {outcome.id: outcome for outcome in made.record.outcomes}
    assert len(pictures) == 20
    assert f"20 of {len(evidence['id'])} adversarial examples" in shown.groups[0].note
    for example in (picture.example for picture in pictures):
        outcome = outcomes[int(example.id)]
        assert example.source == ["cat", "dog", "fox"][outcome.label]
        assert outcome.adversarial_label is not None
        assert example.into == ["cat", "dog", "fox"][outcome.adversarial_label]
        assert example.attack == outcome.attack
        assert example.change == "0.0314"
    assert "12 × 12, shown from 0 (black) to 1 (white)" in shown.scale


def test_pictures_stop_at_the_budget(entry: Make) -> None:
    assert sum(len(group.pictures) for group in gallery(entry(), budget=10).groups) == 1


def test_missing_and_broken_evidence_is_said(entry: Make) -> None:
    missing = entry(evidence=False)
    assert "can't be read" in gallery(missing).note
    (missing.folder / "evidence.npz").write_bytes(b"PK torn")
    assert "can't be read" in gallery(missing).note
    np.savez(missing.folder / "evidence.npz", id=np.zeros(1))
    assert "lacks x, x_adv, label, adversarial_label" in gallery(missing).note


def test_nothing_found_needs_no_evidence(entry: Make) -> None:
    outcomes = [Outcome(id=i, label=0, clean_label=0, status=Status.WITHSTOOD) for i in range(40)]
    assert gallery(entry(outcomes=outcomes, evidence=False)).note.startswith("No adversarial example was found")


def test_each_end_has_its_heading_where_distances_were_looked_for(entry: Make) -> None:
    shown = gallery(entry(n=200, classes=10, hardness={}))
    assert [group.title for group in shown.groups] == [
        "The easiest samples", "The hardest samples", "Of every class in turn"
    ]  # fmt: skip
    assert sum(len(group.pictures) for group in shown.groups) == 20

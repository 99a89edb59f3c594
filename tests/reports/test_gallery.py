"""The gallery: which examples, what it says of them, and why there may be none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from auditor.reports.gallery import choose, gallery

from auditor.record import Entry, Outcome, SamplesInfo, Status

Make = Callable[..., Entry]


def test_one_of_each_class_in_turn_the_weakest_first() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    assert choose(labels, [2, 0, 1]) == [4, 0, 3, 5, 1, 2]
    assert choose(labels, [2, 0, 1], most=4) == [4, 0, 3, 5]


def test_a_class_that_the_table_lacks_comes_last() -> None:
    assert choose(np.array([7, 0]), [0]) == [1, 0]


def test_pictures_say_what_they_are_of(entry: Make) -> None:
    made = entry(names=["cat", "dog", "fox"])
    shown = gallery(made)
    evidence = made.evidence()
    outcomes = {outcome.id: outcome for outcome in made.record.outcomes}
    assert len(shown.pictures) == 20
    assert f"20 of {len(evidence['id'])} adversarial examples" in shown.note
    for example in shown.pictures:
        outcome = outcomes[int(example.id)]
        assert example.source == ["cat", "dog", "fox"][outcome.label]
        assert outcome.adversarial_label is not None
        assert example.into == ["cat", "dog", "fox"][outcome.adversarial_label]
        assert example.attack == outcome.attack
        assert example.change == "0.0314"
    assert "12 × 12, shown from 0 (black) to 1 (white)" in shown.scale


def test_pictures_stop_at_the_budget(entry: Make) -> None:
    assert len(gallery(entry(), budget=10).pictures) == 1


def test_features_that_moved_most_come_first(entry: Make) -> None:
    made = entry(
        samples=SamplesInfo(n=120, digest="c", labels="given", skipped={}, source="d.csv", shape=[2, 3], pixels=False),
        evidence=False,
    )
    found = [outcome for outcome in made.record.outcomes if outcome.adversarial_label is not None][:1]
    x = np.zeros((1, 2, 3), np.float32)
    x_adv = x.copy()
    x_adv[0, 1, 2], x_adv[0, 0, 1] = -0.5, 0.25
    np.savez(
        made.folder / "evidence.npz",
        id=np.array([found[0].id]),
        x=x,
        x_adv=x_adv,
        label=np.array([0]),
        adversarial_label=np.array([1]),
    )
    (moved,) = gallery(made).tables
    assert moved.moved == "2 of 6"
    assert [(m.feature, m.before, m.after, m.change) for m in moved.moves] == [
        ("1, 2", "0", "−0.5", "−0.5"),
        ("0, 1", "0", "0.25", "+0.25"),
    ]


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

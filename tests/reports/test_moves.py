"""Features that moved: of one example by the size of their change, over all by the mean of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from auditor.reports.gallery import gallery
from auditor.reports.moves import features

from auditor.entry import Entry
from auditor.record import SamplesInfo

Make = Callable[..., Entry]


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
    shown = gallery(made)
    (moved,) = shown.groups[0].tables
    assert moved.moved == "2 of 6"
    assert [(m.feature, m.before, m.after, m.change) for m in moved.moves] == [
        ("1, 2", "0", "−0.5", "−0.5"),
        ("0, 1", "0", "0.25", "+0.25"),
    ]


def test_over_all_examples_features_come_by_their_mean_change() -> None:
    x = np.zeros((4, 3))
    x_adv = x.copy()
    x_adv[:, 0] = [0.1, -0.1, 0.1, 0.1]
    x_adv[0, 2] = 0.8
    rows = [(f.feature, f.moved, f.mean, f.most) for f in features(x, x_adv)]
    assert rows == [("2", "1 of 4", "0.2", "0.8"), ("0", "4 of 4", "0.1", "0.1")]


def test_no_examples_move_no_features() -> None:
    assert features(np.zeros((0, 3)), np.zeros((0, 3))) == []

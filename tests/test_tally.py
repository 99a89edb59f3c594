"""A stage's tally: when there is another round, and what it all comes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from auditor.plugins.attacks.pgd import PGD

from auditor.ledger import UnitResult
from auditor.suite import Stage
from auditor.tally import Tally


def stage(**options: Any) -> Stage:
    return Stage(attack=PGD(steps=4), title="pgd", **options)


def result(*spent: int, rejected: dict[str, int] | None = None, error: str | None = None) -> UnitResult:
    empty = np.zeros(0)
    table = np.array([spent], np.int64)
    one = np.zeros(1, bool)
    columns: dict[str, Any] = dict.fromkeys(("margin", "best", "adversarial", "label", "distance"), empty)
    return UnitResult(
        index=np.zeros(1, np.int64),
        broken=one,
        lost=one,
        full=one,
        spent=table,
        rejected=rejected or {},
        error=error,
        seconds=0.5,
        **columns,
    )


@pytest.mark.parametrize(
    ("broken", "left", "error", "goes_on"),
    [(6, 3, None, True), (5, 3, None, False), (6, 0, None, False), (6, 3, "a reason", False)],
)
def test_another_round(broken: int, left: int, error: str | None, goes_on: bool) -> None:
    tally = Tally()
    assert tally.goes_on(stage(rounds=2), 5, 4)
    tally.begin(np.arange(4), 5)
    tally.error = error
    assert tally.goes_on(stage(rounds=2), broken, left) is goes_on
    tally.begin(np.arange(3), broken)
    assert not tally.goes_on(stage(rounds=2), broken + 1, 2)


def test_sums() -> None:
    tally = Tally()
    tally.begin(np.arange(7), 0)
    tally.add(result(3, 2, 1, rejected={"tie at the top": 1}))
    tally.begin(np.arange(5), 2)
    tally.add(result(30, 20, 10, rejected={"tie at the top": 2, "outside the ball": 1}))
    row = tally.row(stage(restarts=2, rounds=3, share=0.5), "ran", None, 2, 10)
    assert (row.forwards, row.backwards, row.queries) == (33, 22, 11)
    assert row.rejected == {"outside the ball": 1, "tie at the top": 3}
    assert (row.entered, row.rounds, row.most_rounds, row.share, row.seconds) == (7, 2, 3, 0.5, 1.0)
    assert (row.budget.forwards, row.budget.backwards, row.budget.queries) == (3 * 2 * 5, 3 * 2 * 4, 0)
    assert tally.units == 2

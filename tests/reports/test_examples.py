"""Which examples are shown: both ends where the record names them, then one of every class in turn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from auditor.reports.examples import choose, fault, turns

from auditor.entry import Entry

Make = Callable[..., Entry]


def test_one_of_each_class_in_turn_the_weakest_first() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    assert turns(labels, [2, 0, 1]) == [4, 0, 3, 5, 1, 2]
    assert turns(labels, [])[:2] == [0, 3]


def test_a_class_that_the_table_lacks_comes_last() -> None:
    assert turns(np.array([7, 0]), [0]) == [1, 0]


def test_both_ends_come_first_and_nobody_twice(entry: Make) -> None:
    made = entry(n=200, classes=10, hardness={})
    hardness = made.record.hardness
    assert hardness is not None
    easiest, hardest, others = choose(made, made.evidence(), 20)
    assert [int(e.id) for e in easiest.examples] == hardness.easiest[:4]
    assert [int(e.id) for e in hardest.examples] == hardness.hardest[:4]
    assert easiest.examples[0].attack == "fmn"
    assert "× epsilon" in easiest.examples[0].distance.replace("\xa0", " ")
    assert len(others.examples) == 12
    assert len({e.source for e in others.examples}) == 10
    ids = [e.id for group in (easiest, hardest, others) for e in group.examples]
    assert len(ids) == len(set(ids)) == 20


def test_a_farthest_example_is_the_one_that_lies_beyond_epsilon(entry: Make) -> None:
    made = entry(n=200, classes=10, hardness={})
    _, hardest, _ = choose(made, made.evidence(), 20)
    outcomes = {outcome.id: outcome for outcome in made.record.outcomes}
    for example in hardest.examples:
        change = float(np.abs(example.x_adv - example.x).max())
        assert change == pytest.approx(outcomes[int(example.id)].nearest, rel=1e-4)
        assert change > (made.record.threat.epsilon or 0)


def test_evidence_without_the_nearest_shows_what_it_has(entry: Make) -> None:
    made = entry(n=60, hardness={})
    within = {name: rows for name, rows in made.evidence().items() if not name.startswith("near_")}
    (group,) = choose(made, within, 20)
    assert group.title == ""


def test_arrays_that_do_not_fit_are_said_to(entry: Make) -> None:
    evidence = entry(n=60, hardness={}).evidence()
    assert fault(evidence) == ""
    assert "don't fit" in fault(evidence | {"near_x": evidence["near_x"][:-1]})
    assert "don't fit" in fault(evidence | {"x": evidence["x"][:, :, :5]})

"""Pairs: the easiest first, matrices where they say more than a list, and what a cheap measure would have said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports.html import render
from auditor.reports.pairs import pairs

from auditor.entry import Entry
from auditor.hardness import Hardness, Pair

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
replace = msgspec.structs.replace


def hardness_of(made: Entry) -> Hardness:
    assert made.record.hardness is not None
    return made.record.hardness


def with_hardness(made: Entry, **changes: Any) -> Entry:
    return Entry(replace(made.record, hardness=replace(hardness_of(made), **changes)), made.folder)


def test_the_easiest_pair_is_the_one_that_most_runs_reach_and_then_the_nearest(entry: Make) -> None:
    made = entry(n=200, classes=5, hardness={})
    shown = pairs(made.record)
    assert shown is not None
    rates = [int(line.broken.split(" of ")[0]) / int(line.broken.split(" of ")[1]) for line in shown.numbers]
    assert rates == sorted(rates, reverse=True)
    first = max(hardness_of(made).pairs, key=lambda pair: (pair.broken / pair.n, -(pair.distance or 0)))
    assert (shown.numbers[0].source, shown.numbers[0].target) == (str(first.source), str(first.target))
    assert f"Easiest is class {first.source} to {first.target} ({first.broken} of {first.n} within" in shown.lead
    assert f"hardest is class {shown.numbers[-1].source} to {shown.numbers[-1].target}" in shown.lead


@pytest.mark.parametrize(
    ("classes", "targets", "matrices"),
    [(2, "all", 0), (4, "all", 2), (12, "all", 2), (13, "all", 0), (6, "nearest", 0)],
)
def test_matrices_are_for_a_few_classes_and_all_targets(entry: Make, classes: int, targets: str, matrices: int) -> None:
    made = entry(n=260, classes=classes, hardness={"targets": targets, "each": 2}, evidence=False)
    shown = pairs(made.record)
    assert shown is not None
    assert len(shown.matrices) == matrices
    listed = shown.numbers if matrices else shown.easiest
    assert len(listed) == len(hardness_of(made).pairs) if matrices else len(listed) <= 15


def test_where_there_is_no_matrix_both_ends_are_listed_and_nothing_twice(entry: Make) -> None:
    shown = pairs(entry(n=1500, classes=30, hardness={"targets": "nearest", "each": 3}, evidence=False).record)
    assert shown is not None
    assert (len(shown.easiest), len(shown.hardest)) == (15, 15)
    both = {(line.source, line.target) for line in (*shown.easiest, *shown.hardest)}
    assert len(both) == 30


def test_a_narrow_screen_has_three_targets_of_each_class(entry: Make, parse: Parse) -> None:
    made = entry(n=200, classes=5, names=["ant", "bee", "cat", "dog", "elk"], hardness={})
    shown = pairs(made.record)
    assert shown is not None
    assert [line.name for line in shown.targets] == ["ant", "bee", "cat", "dog", "elk"]
    assert all(line.easiest.count(" of ") == 3 for line in shown.targets)
    assert shown.targets[0].easiest in parse(render([made])).text


@pytest.mark.parametrize(
    ("correlation", "verdict"),
    [(0.71, "gives the order"), (0.5, "some of the order"), (0.1, "does not tell"), (-0.9, "does not tell")],
)
def test_what_the_cheap_measure_is_worth_is_said_in_words(entry: Make, correlation: float, verdict: str) -> None:
    made = with_hardness(entry(n=60, hardness={}), correlation=correlation)
    shown = pairs(made.record)
    assert shown is not None
    assert verdict in shown.prediction
    assert f"(Spearman's) with the hardness H is {str(f'{correlation:.2f}').replace('-', '−')} over 6 pairs" in (
        shown.prediction
    )


def test_without_a_correlation_nothing_is_said_of_it(entry: Make) -> None:
    shown = pairs(with_hardness(entry(n=60, hardness={}), correlation=None).record)
    assert shown is not None
    assert shown.prediction == ""


def test_a_pair_that_nobody_reached_is_beyond_reach(entry: Make) -> None:
    none = Pair(
        source=0, target=1, n=4, broken=0, interval=(0.0, 0.5), reached=0, distance=None, mean_distance=None,
        hardness=None, adversarial_distance=None,
    )  # fmt: skip
    shown = pairs(with_hardness(entry(n=60, hardness={}), pairs=[none]).record)
    assert shown is not None
    assert shown.lead == "No run got to the class that it went for, at any distance."
    assert shown.easiest[0].distance == "beyond reach"
    assert shown.easiest[0].hardness == "not computed"
    assert "fewer than 10 runs" in shown.note


def test_no_pairs_say_why(entry: Make, parse: Parse) -> None:
    made = with_hardness(entry(n=60, hardness={}), pairs=[], why_no_pairs="it would have cost too much")
    assert pairs(made.record) is None
    text = parse(render([made])).text
    assert "No sample was attacked towards single classes: it would have cost too much." in text
    assert "The most frequent confusions" in text
    assert pairs(entry(n=60).record) is None

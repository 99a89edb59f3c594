"""Whom a rule is about, and which of them are good."""

from __future__ import annotations

import pytest
from msgspec import structs
from records import outcomes, record

from auditor.bounds import Count
from auditor.errors import UsageError
from auditor.judgement import Drawn
from auditor.rule import Policy, Rule
from auditor.scope import bounded, count, label_of, parts, value

ROBUST = Rule(metric="robust_accuracy", at_least=0.5)


def test_a_class_is_found_by_name_or_number() -> None:
    names = ["cat", "7", "dog"]
    assert label_of("dog", names, 3) == 2
    assert label_of(0, names, 3) == 0
    assert label_of("7", names, 3) == 1, "a name wins over a number"
    assert label_of("2", [], 3) == 2
    for wanted in ("3", "-1", "٣", "9" * 5000, ""):
        with pytest.raises(UsageError, match="names a class of the model"):
            label_of(wanted, [], 3)
    with pytest.raises(UsageError, match="several are called 'cat'; give its number"):
        label_of("cat", ["cat", "cat"], 2)


def test_parts_are_classes_in_the_order_asked_for() -> None:
    found = record(outcomes("wbw", [2, 0, 2]), names=["ant", "bee", "cat"])
    rule = structs.replace(ROBUST, classes=["cat", "ant", 2])
    assert [(whom, [o.id for o in own]) for whom, own in parts(rule, Policy(), found)] == [
        ("cat", [0, 2]),
        ("ant", [1]),
    ]
    assert [whom for whom, _ in parts(structs.replace(ROBUST, each_class=True), Policy(), found)] == ["ant", "cat"]


def test_what_is_not_known_counts_at_most() -> None:
    found = record(outcomes("wwcbmue"), certified=True)
    assert count(ROBUST, found.outcomes, found, streamed=False) == Count(low=3, high=5, n=7, size=7)
    certified = Rule(metric="certified_accuracy", at_least=0.5)
    assert count(certified, found.outcomes, found, streamed=False) == Count(low=1, high=1, n=7, size=7)
    clean = Rule(metric="clean_accuracy", at_least=0.5)
    assert count(clean, found.outcomes, found, streamed=False) == Count(low=6, high=6, n=7, size=7)


def test_of_a_stream_only_the_drawn_are_looked_at() -> None:
    drawn = Drawn(ids=[0, 3], size=5, swept=["fgsm"], cost=0.4, settled=None)
    found = record(outcomes("wbbwu"), drawn=drawn)
    assert count(ROBUST, found.outcomes, found, streamed=True) == Count(low=2, high=2, n=2, size=5)
    assert count(ROBUST, found.outcomes, found, streamed=False) == Count(low=2, high=3, n=5, size=5)


@pytest.mark.parametrize(
    ("quantile", "far", "shown"), [(0.5, True, 0.2), (0.49, False, 0.1), (0.7, True, 0.2), (0.3, False, 0.1)]
)
def test_a_distance_is_below_the_threshold_where_too_few_are_far(quantile: float, far: bool, shown: float) -> None:
    """50 at 0.1 and 50 at 0.2: the value and the verdict say the same, at ties too."""
    found = [structs.replace(o, nearest=0.1 if o.id < 50 else 0.2, ranged=True) for o in outcomes("w" * 100)]
    made = record(found)
    rule = Rule(metric="distance", at_least=0.15, quantile=quantile)
    counted = count(rule, found, made, streamed=False)
    assert isinstance(counted, Count)
    assert value(rule, counted, found, made) == shown
    assert (counted.low / counted.n >= round(1 - quantile, 12)) == far


def test_the_bound_follows_the_scan() -> None:
    population = structs.replace(ROBUST, over="population")
    whole = record(outcomes("w"))
    stopped = record(outcomes("w"), drawn=Drawn(ids=[0], size=1, swept=[], cost=1.0, settled=None))
    assert bounded(ROBUST, whole).bound == bounded(ROBUST, stopped).bound == "certain"
    assert bounded(population, whole).bound == "exact"
    assert bounded(population, stopped).bound == "mixture"
    clean = Rule(metric="clean_accuracy", at_least=0.5, over="population")
    assert bounded(clean, stopped).bound == "exact", "clean labels are known of all"

"""Rates and intervals against published figures; unknown samples count for the bound and for nothing else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from records import outcomes, record
from scipy.special import ndtri
from scipy.stats import binomtest

from auditor.hardness import ClassHardness, Hardness
from auditor.metrics import CONFIDENCE, Z, by_class, by_weakness, class_name, measure, upper_bound, weakest, wilson


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_newcombes_table(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 7, 500])
def test_wilson_is_the_root_of_its_equation(n: int) -> None:
    for k in range(0, n + 1, max(n // 7, 1)):
        interval = wilson(k, n)
        assert interval is not None
        for p in interval:
            if 0 < p < 1:
                assert abs(k / n - p) == pytest.approx(1.959963985 * np.sqrt(p * (1 - p) / n), rel=1e-6)
        mirrored = wilson(n - k, n)
        assert mirrored == pytest.approx((1 - interval[1], 1 - interval[0]))


def test_wilson_against_scipy() -> None:
    cases = [(k, n) for n in (1, 2, 3, 10, 29, 263) for k in range(n + 1)]
    cases += [(k, n) for n in (10**4, 10**9, 10**12) for k in (0, 1, n // 3, n // 2, n - 1, n)]
    for k, n in cases:
        known = binomtest(k, n).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
        assert wilson(k, n) == pytest.approx((known.low, known.high), abs=1e-12), (k, n)


def test_wilson_is_to_the_last_bit_what_older_records_hold() -> None:
    # a replay compares intervals without tolerance; these are scipy 1.17's, which wrote the records before
    assert wilson(1, 29) == (0.006113214292762667, 0.17175521879320282)
    assert wilson(7, 13) == (0.29143795714506016, 0.767939321904617)
    assert wilson(500, 1000) == (0.4690696003681042, 0.5309303996318958)
    assert float(ndtri((1 + CONFIDENCE) / 2)) == Z


def test_all_or_none_reach_the_ends_exactly() -> None:
    for n in (1, 7, 49, 1000, 10**9):
        none, all_ = wilson(0, n), wilson(n, n)
        assert none is not None
        assert all_ is not None
        assert (none[0], all_[1]) == (0.0, 1.0)


def test_wilson_of_nothing() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3)])
def test_wilson_of_more_than_there_are(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{k} of {n} is no share"):
        wilson(k, n)


def test_measure() -> None:
    # 10 samples: 2 wrong when clean, 3 broken, 2 withstood, 1 certified, 1 unattacked, 1 error
    metrics = measure(outcomes("mmbbbwwcue"), certified=True)
    assert metrics.clean_accuracy == 0.8
    assert metrics.robust_accuracy == 0.5  # what is not known counts as robust: it is an upper bound
    assert metrics.robust_accuracy_interval == wilson(5, 10)
    assert metrics.certified_accuracy == 0.1
    assert metrics.attack_success_rate == pytest.approx(3 / 6)
    assert metrics.statuses == {
        "misclassified": 2,
        "broken": 3,
        "withstood": 2,
        "certified": 1,
        "unattacked": 1,
        "error": 1,
    }
    assert upper_bound(outcomes("mmbbbwwcue")) == 5


@pytest.mark.parametrize("letters", ["uuu", "eee", "muue"])
def test_nothing_attacked_is_no_robust_accuracy(letters: str) -> None:
    metrics = measure(outcomes(letters), certified=False)
    assert metrics.robust_accuracy is None
    assert metrics.robust_accuracy_interval is None
    assert metrics.attack_success_rate is None


def test_a_model_that_is_always_wrong_has_robust_accuracy_0() -> None:
    metrics = measure(outcomes("mmm"), certified=False)
    assert (metrics.clean_accuracy, metrics.robust_accuracy) == (0.0, 0.0)


def test_no_certifier_is_not_0_certified() -> None:
    assert measure(outcomes("wwb"), certified=False).certified_accuracy is None
    assert measure(outcomes("wwb"), certified=True).certified_accuracy == 0.0


def test_by_class() -> None:
    found = outcomes("wbbw", [2, 2, 0, 0], turned=0) + outcomes("b", [2], turned=1) + outcomes("b", [2], turned=1)
    rows = by_class(found, ("cat", "dog", "bird"))
    assert [(row.label, row.name, row.n) for row in rows] == [(0, "cat", 2), (2, "bird", 4)]
    assert [row.robust_accuracy for row in rows] == [0.5, 0.25]
    assert rows[1].interval == wilson(1, 4)
    assert rows[1].turns_into == 1  # two of three
    assert by_class(outcomes("w"), None)[0].turns_into is None


def test_a_draw_goes_to_the_lower_label() -> None:
    found = outcomes("b", [0], turned=2) + outcomes("b", [0], turned=1)
    assert by_class(found, None)[0].turns_into == 1


def test_weakest_class() -> None:
    found = outcomes("wwwbb" + "wbbbb" + "bb", [0] * 5 + [1] * 5 + [2] * 2, turned=9)
    row = weakest(record(found))
    assert row is not None
    assert row.label == 1  # class 2 is weaker, but two samples can't say so
    assert weakest(record(outcomes("wwwww"))) is None


def test_of_equally_weak_classes_the_nearest_is_the_weakest_and_comes_first() -> None:
    made = record(outcomes("bbbbb" * 3, [0] * 5 + [1] * 5 + [2] * 5, turned=9))
    far = [ClassHardness(label=label, n=5, distance=d) for label, d in enumerate((0.3, None, 0.2))]
    made = msgspec.structs.replace(made, hardness=Hardness(classes=far))
    assert [row.label for row in by_weakness(made)] == [2, 0, 1]
    row = weakest(made)
    assert row is not None
    assert row.label == 2


def test_class_names() -> None:
    assert class_name(1, ("cat", "dog")) == "dog"
    assert class_name(2, ("cat", "dog")) == "2"
    assert class_name(0, None) == "0"

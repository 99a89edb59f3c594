"""What errors cost, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from auditor.hardness import Runs
from auditor.record import Outcome, Status
from auditor.risk import Confusion, cost, protected, risk

STOP = [Confusion(label=0, into=1, cost=20.0), Confusion(label=0, cost=5.0)]


def outcome(number: int, label: int, clean: int, adversarial: int | None = None) -> Outcome:
    status = Status.MISCLASSIFIED if clean != label else Status.BROKEN if adversarial is not None else Status.WITHSTOOD
    return Outcome(id=number, label=label, clean_label=clean, status=status, adversarial_label=adversarial)


def runs(*rows: tuple[int, int, float | None]) -> Runs:
    ids, targets, distances = zip(*rows, strict=True)
    return Runs(ids=list(ids), targets=list(targets), distances=list(distances), saliency=[None] * len(rows))


@pytest.mark.parametrize(
    ("label", "answer", "price"), [(0, 0, 0.0), (0, 1, 20.0), (0, 2, 5.0), (1, 0, 1.0), (2, 1, 1.0)]
)
def test_the_closest_confusion_has_the_price(label: int, answer: int, price: float) -> None:
    assert cost(STOP, label, answer) == price
    assert cost(STOP[::-1], label, answer) == price


OUTCOMES = [
    outcome(0, 0, 0, 2),  # right, broken into 2: 5; a run gets into 1: 20
    outcome(1, 0, 0),  # stands; its run into 1 is too far
    outcome(2, 0, 1),  # wrong when clean, the costliest way: 20
    outcome(3, 1, 1, 0),  # 1
    outcome(4, 2, 0),  # wrong when clean: 1
]
RUNS = runs((0, 1, 0.05), (0, 2, 0.02), (1, 1, 0.5), (1, 2, None), (3, 0, 0.1), (3, 2, 0.2))


def test_risk_by_hand() -> None:
    found = risk(OUTCOMES, RUNS, 0.1, STOP)
    assert found.clean == pytest.approx((20 + 1) / 5)
    assert found.found == pytest.approx((5 + 0 + 20 + 1 + 1) / 5)
    # more than found: of class 0 the mean of 20 - 5 and 0, for two samples; of class 1 nothing, since 1 was found
    assert found.costliest == pytest.approx(found.found + 2 * 7.5 / 5)
    assert found.n == 3


def test_who_picks_is_never_cheaper_than_who_does_not() -> None:
    """The sample that cost most has no run of its own."""
    outcomes = [outcome(0, 0, 0, 1), *(outcome(i, 0, 0) for i in range(1, 10))]
    found = risk(outcomes, runs((3, 1, None), (4, 1, 0.5)), 0.1, STOP)
    assert (found.found, found.costliest) == (2.0, 2.0)


def test_without_runs_the_costliest_is_not_estimated() -> None:
    assert risk(OUTCOMES, Runs(), 0.1, STOP).costliest is None


def test_protected_by_hand() -> None:
    one = protected(STOP[0], OUTCOMES, RUNS, 0.1)
    assert (one.n, one.clean, one.broken, one.tried, one.got_there) == (3, 1, 1, 2, 1)
    assert one.precision == pytest.approx(2 / 3)
    anything = protected(STOP[1], OUTCOMES, RUNS, 0.1)
    assert (anything.clean, anything.broken, anything.tried, anything.got_there) == (1, 2, 2, 1)


def test_a_class_that_is_never_answered_has_no_precision() -> None:
    never: Sequence[Outcome] = [outcome(0, 0, 1)]
    assert protected(STOP[1], list(never), Runs(), 0.1).precision is None


def test_the_costliest_counts_in_whatever_order_the_runs_come() -> None:
    outcomes = [outcome(0, 0, 0)]
    for order in (((0, 2, 0.02), (0, 1, 0.05)), ((0, 1, 0.05), (0, 2, 0.02))):
        assert risk(outcomes, runs(*order), 0.1, STOP).costliest == 20

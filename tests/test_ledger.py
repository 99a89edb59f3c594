"""What is known of each sample: the same whoever found it, and ranked by how close it is to falling."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.ledger import Ledger, UnitResult
from auditor.samples import Samples

N = 6


def ledger(correct: str = "111111", spared: str = "000000") -> Ledger:
    samples = Samples(inputs=np.zeros((N, 2), np.float32), labels=np.zeros(N, np.int64), ids=np.arange(N))
    return Ledger.of(samples, bits(correct), bits(spared))


def bits(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


def unit(index: list[int], broken: str = "", *, margin: list[float] | None = None, **more: object) -> UnitResult:
    """A result for these samples, nothing broken and everything full unless told otherwise."""
    k = len(index)
    hit = bits(broken or "0" * k)
    fields = {
        "index": np.array(index),
        "broken": hit,
        "lost": np.zeros(k, bool),
        "full": np.ones(k, bool),
        "margin": np.array(margin or [np.inf] * k),
        "best": np.stack([np.full(2, i + 0.5, np.float32) for i in index]),
        "spent": np.tile([2, 1, 1], (k, 1)),
        "adversarial": np.full((int(hit.sum()), 2), 9, np.float32),
        "label": np.full(int(hit.sum()), 1),
        "distance": np.full(int(hit.sum()), 0.25),
    }
    return UnitResult(**(fields | more))  # type: ignore[arg-type]


def test_standing_are_the_correct_the_unbroken_and_the_unspared() -> None:
    book = ledger(correct="011111", spared="010000")
    book.apply(0, unit([2], "1"))
    assert book.standing.tolist() == [3, 4, 5]
    assert book.robust_accuracy == pytest.approx(4 / 6)  # spared samples are certified: they are not broken


def test_a_break_is_entered_with_stage_label_distance_and_point() -> None:
    book = ledger()
    book.apply(3, unit([1, 4], "01"))
    assert book.broken.tolist() == [False, False, False, False, True, False]
    assert (book.stage[4], book.label[4], book.distance[4]) == (3, 1, 0.25)
    assert book.adversarial[4].tolist() == [9, 9]
    assert book.stage[1] == -1
    assert np.isnan(book.distance[1])


def test_the_smallest_margin_and_its_point_are_kept() -> None:
    book = ledger()
    book.apply(0, unit([0, 1], margin=[0.5, 0.5]))
    book.apply(1, unit([0, 1], margin=[0.7, 0.3], best=np.full((2, 2), 7, np.float32)))
    assert book.margin[:2].tolist() == [0.5, 0.3]
    assert book.best[:2].tolist() == [[0.5, 0.5], [7, 7]]


def test_spending_adds_up() -> None:
    book = ledger()
    book.apply(0, unit([0, 1]))
    book.apply(1, unit([1]))
    assert book.spent[:3].tolist() == [[2, 1, 1], [4, 2, 2], [0, 0, 0]]


def test_only_an_attack_that_ran_to_its_end_was_withstood() -> None:
    book = ledger()
    book.apply(0, unit([0, 1, 2], full=bits("110"), lost=bits("010")))
    book.apply(0, unit([3], error="ValueError: boom"))
    assert book.full.tolist() == [True, False, False, False, False, False]
    assert book.lost.tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1.0, [0, 2, 3, 4, 5]),
        (0.4, [3, 5]),  # the two smallest of five, in the order of the samples
        (0.41, [2, 3, 5]),  # rounded up
        (0.001, [3]),
    ],
)
def test_a_share_are_those_closest_to_falling(share: float, expected: list[int]) -> None:
    book = ledger()
    book.apply(0, unit([0, 1, 2, 3, 4, 5], "010000", margin=[0.9, 0.0, 0.5, -0.1, np.inf, 0.2]))
    assert book.entrants(share).tolist() == expected


def test_equal_margins_go_by_position_and_an_infinite_one_comes_last() -> None:
    book = ledger()
    assert book.entrants(0.5).tolist() == [0, 1, 2]
    book.apply(0, unit([5], margin=[1e9]))
    assert book.entrants(0.5).tolist() == [0, 1, 5]


@pytest.mark.parametrize(
    ("near", "expected"),
    [
        (0.5, [0, 2, 3, 4]),  # at the threshold counts as below it
        (0.49, [2, 3, 4]),
        (0.01, [2, 3, 4]),
    ],
)
def test_near_are_those_below_a_part_of_their_clean_margin(near: float, expected: list[int]) -> None:
    book = ledger()
    book.clean[:] = [2.0, 0.2, 1.0, -0.1, np.nan, 4.0]
    book.apply(0, unit([0, 1, 2, 3, 4, 5], margin=[1.0, 0.15, -0.1, 0.3, 9.0, 2.5]))
    assert np.flatnonzero(book.fallen(np.arange(N), near)).tolist() == expected
    assert book.fallen(np.array([5, 0]), near).tolist() == [False, near == 0.5]


def test_without_a_margin_nobody_is_far() -> None:
    book = ledger()
    book.clean[:] = 1.0
    assert book.fallen(np.arange(N), 0.01).all()


def test_nobody_is_left() -> None:
    book = ledger(correct="000000")
    assert book.entrants(1.0).tolist() == []
    assert book.entrants(0.5).tolist() == []
    assert book.robust_accuracy == 0


def test_a_ledger_does_not_share_its_arrays() -> None:
    samples = Samples(inputs=np.zeros((1, 2), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    correct = np.ones(1, bool)
    book = Ledger.of(samples, correct)
    book.best[0], book.correct[0] = 1, False
    assert samples.inputs[0].tolist() == [0, 0]
    assert correct[0]

"""One status a sample, from what the ledger knows of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from records import attack_row

from auditor.certificates import Certified
from auditor.errors import SelfContradiction
from auditor.ledger import Ledger, UnitResult
from auditor.observe import Observation
from auditor.outcomes import evidence, settle
from auditor.record import Outcome, Spent, Status
from auditor.samples import Samples
from auditor.threat import Goal, ThreatModel

N = 8
MISCLASSIFIED, BROKEN, WITHSTOOD, CERTIFIED, UNATTACKED, LOST, RAISED, SAVED = range(N)


SUITE = [attack_row("first"), attack_row("second")]
SAMPLES = Samples(inputs=np.arange(2 * N, dtype=np.float32).reshape(N, 2), labels=np.full(N, 3), ids=10 * np.arange(N))
CLEAN = np.where(np.arange(N) == MISCLASSIFIED, 0, 3)
OBSERVATION = Observation(
    clean_labels=CLEAN,
    probed=N,
    repeat_difference=0.0,
    repeat_flips=0,
    companion_difference=0.0,
    companion_flips=0,
    scale=1.0,
)
NONE = np.zeros(N, bool)
RADII = np.full(N, 0.25)


def ledger() -> Ledger:
    """One sample for each fate."""
    book = Ledger.of(SAMPLES, CLEAN == 3)
    book.spent[[BROKEN, WITHSTOOD, RAISED, SAVED, LOST]] = 5, 4, 1
    book.met[[BROKEN, WITHSTOOD, RAISED, SAVED, LOST]] = True
    book.full[[WITHSTOOD, SAVED]] = True
    book.lost[[LOST]] = True
    book.broken[BROKEN] = True
    book.stage[BROKEN], book.label[BROKEN], book.distance[BROKEN] = 1, 7, 0.125
    book.adversarial[BROKEN] = np.array([0.5, 0.25], np.float32)
    return book


def settled(certified: np.ndarray = NONE, book: Ledger | None = None, goal: Goal = Goal()) -> list[Outcome]:  # noqa: B008
    proved = Certified(certified, certified, RADII * certified)
    return settle(SAMPLES, ThreatModel(goal=goal), OBSERVATION, book or ledger(), SUITE, proved)


@pytest.mark.parametrize(
    ("sample", "status"),
    [
        (MISCLASSIFIED, Status.MISCLASSIFIED),
        (BROKEN, Status.BROKEN),
        (WITHSTOOD, Status.WITHSTOOD),
        (UNATTACKED, Status.UNATTACKED),
        (LOST, Status.ERROR),
        (RAISED, Status.ERROR),  # it was attacked, and no attack ran its full budget
        (SAVED, Status.WITHSTOOD),  # one attack errored, another ran to its end
    ],
)
def test_status(sample: int, status: Status) -> None:
    assert settled()[sample].status is status


def test_outcomes_are_in_the_samples_order_with_their_ids() -> None:
    assert [outcome.id for outcome in settled()] == [10 * i for i in range(N)]


def test_a_broken_sample_says_by_what_how_far_and_into_what() -> None:
    outcome = settled(goal=Goal(7))[BROKEN]
    assert (outcome.attack, outcome.distance, outcome.adversarial_label, outcome.target) == ("second", 0.125, 7, 7)
    assert (outcome.label, outcome.clean_label) == (3, 3)
    assert outcome.spent == Spent(forwards=5, backwards=4, queries=1)


def test_others_say_none_of_it() -> None:
    for outcome in settled():
        if outcome.status is not Status.BROKEN:
            assert (outcome.attack, outcome.distance, outcome.adversarial_label) == (None, None, None)


def test_a_distance_that_is_no_number_is_none() -> None:
    book = ledger()
    book.distance[BROKEN] = np.inf
    assert settled(book=book)[BROKEN].distance is None


def test_a_lost_sample_did_not_withstand_even_after_a_full_attack() -> None:
    book = ledger()
    book.full[LOST] = True
    assert settled(book=book)[LOST].status is Status.ERROR


def test_a_proof_needs_no_attack_and_outlives_a_lost_target() -> None:
    certified = NONE.copy()
    certified[[CERTIFIED, LOST, RAISED, WITHSTOOD]] = True
    found = settled(certified)
    for sample in (CERTIFIED, LOST, RAISED, WITHSTOOD):
        assert found[sample].status is Status.CERTIFIED


def test_a_proof_about_a_sample_that_is_wrong_when_clean_counts_for_nothing() -> None:
    certified = NONE.copy()
    certified[MISCLASSIFIED] = True
    assert settled(certified)[MISCLASSIFIED].status is Status.MISCLASSIFIED


def test_certified_and_broken_at_once_stops_the_audit() -> None:
    certified = NONE.copy()
    certified[[BROKEN, WITHSTOOD]] = True
    with pytest.raises(SelfContradiction, match=rf"1 samples \(ids {10 * BROKEN}\) were certified and broken at once"):
        settled(certified)


def test_evidence_holds_what_a_replay_needs() -> None:
    proof = evidence(SAMPLES, ThreatModel(), ledger())
    assert list(proof) == ["id", "x", "x_adv", "label", "adversarial_label"]
    assert proof["id"].tolist() == [10 * BROKEN]
    np.testing.assert_array_equal(proof["x"], SAMPLES.inputs[[BROKEN]])
    np.testing.assert_array_equal(proof["x_adv"], [[0.5, 0.25]])
    assert (proof["label"].tolist(), proof["adversarial_label"].tolist()) == ([3], [7])


def test_with_it_goes_what_of_the_threat_is_an_array() -> None:
    weighted = ThreatModel(weights=np.array([1.0, 2.0]), frozen=np.array([True, False]))
    proof = evidence(SAMPLES, weighted, ledger())
    assert (proof["weights"].tolist(), proof["frozen"].tolist()) == ([1, 2], [True, False])
    boxed = replace(SAMPLES, lower=SAMPLES.inputs - 1, upper=SAMPLES.inputs + 2)
    proof = evidence(boxed, ThreatModel(boxes=True), ledger())
    np.testing.assert_array_equal(proof["lower"], boxed.inputs[[BROKEN]] - 1)
    np.testing.assert_array_equal(proof["upper"], boxed.inputs[[BROKEN]] + 2)


def test_no_evidence_keeps_its_shape() -> None:
    proof = evidence(SAMPLES, ThreatModel(), Ledger.of(SAMPLES, CLEAN == 3))
    assert proof["x_adv"].shape == (0, 2)
    assert proof["x"].shape == (0, 2)


def test_what_an_experiment_broke_is_entered_where_the_sample_stood_and_nowhere_else() -> None:
    book = ledger()
    book.spared[UNATTACKED] = True
    found = UnitResult(
        index=np.array([BROKEN, WITHSTOOD, UNATTACKED, SAVED]),
        broken=np.array([True, True, True, False]),
        lost=np.zeros(4, bool),
        full=np.ones(4, bool),
        margin=np.zeros(4),
        best=np.zeros((4, 2), np.float32),
        spent=np.ones((4, 3), np.int64),
        adversarial=np.array([[1, 1], [2, 2], [3, 3]], np.float32),
        label=np.array([4, 5, 6]),
        distance=np.array([0.1, 0.2, 0.3]),
    )
    spent = book.spent.copy()
    assert book.hand_in(9, found) == 1
    assert book.stage.tolist().count(9) == 1
    assert (book.stage[WITHSTOOD], book.label[WITHSTOOD], book.distance[WITHSTOOD]) == (9, 5, 0.2)
    assert book.adversarial[WITHSTOOD].tolist() == [2, 2]
    assert (book.stage[BROKEN], book.label[BROKEN]) == (1, 7)
    assert np.array_equal(book.spent, spent)
    assert not book.broken[UNATTACKED]

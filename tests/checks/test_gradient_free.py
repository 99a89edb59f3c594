"""What only gradient-free attacks broke: counted after the white-box attacks, and weighed against chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.noise import Noise
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.square import Square
from auditor.plugins.checks.gradient_free import GradientFree, GradientFreeGap
from bent import bent, nowhere
from records import attack_row

from auditor.bench import linear_bench
from auditor.check import Evidence
from auditor.record import AttackRow, FindingStatus
from auditor.testing import evidence

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
N = 200


def after(*attacks: AttackRow, standing: bool = True) -> Evidence:
    """What a suite of these stages left, on 200 samples."""
    found = evidence(linear_bench(n=N))
    found.ledger.broken[:] = not standing
    object.__setattr__(found, "attacks", list(attacks))
    return found


def square(broken: int, **more: Any) -> AttackRow:
    return attack_row("square", access="score", entered=100, broken=broken, **more)


WHITE = attack_row("pgd")


@pytest.mark.parametrize(("broken", "status"), [(0, CLEAR), (1, CLEAR), (2, RAISED), (10, RAISED)])
def test_more_than_one_sample_and_more_than_the_threshold(broken: int, status: FindingStatus) -> None:
    found = GradientFree().look(after(WHITE, square(broken)))
    assert (found.status, found.value) == (status, broken / N)


def test_what_square_alone_breaks_is_a_gap_where_gradients_do_not_find_it_with_more_effort() -> None:
    made = bent(linear_bench(n=24, distance=0.1).at(0.12), nowhere)
    seen = evidence(made, PGD(steps=5), Square(steps=300))
    assert seen.ledger.broken.sum() > 12
    found = GradientFreeGap().look(seen)
    assert found.status is RAISED
    assert found.value == seen.ledger.broken.mean()


def test_what_a_longer_white_box_search_finds_is_no_gap() -> None:
    """The same samples fall to Square alone, but only since PGD was stopped too early."""
    made = linear_bench(n=24, distance=0.1).at(0.12)
    seen = evidence(made, PGD(steps=1, rel_step=0.01), Square(steps=300))
    assert seen.ledger.broken.sum() > 12
    assert GradientFree().look(seen).status is RAISED
    found = GradientFreeGap().look(seen)
    assert (found.status, found.value) == (CLEAR, 0.0)


def test_a_small_gap_is_a_size_and_no_accusation() -> None:
    """What two samples of 24 show lies, with 95 % confidence, below what honest models show."""
    made = bent(linear_bench(n=24, distance=0.1).at(0.12), nowhere)
    seen = evidence(made, PGD(steps=5), Square(steps=300))
    seen.ledger.broken[np.flatnonzero(seen.ledger.broken)[1:]] = False
    found = GradientFreeGap().look(seen)
    assert (found.status, found.value) == (CLEAR, 1 / 24)


@pytest.mark.parametrize(
    "attacks",
    [
        (),
        (WHITE,),
        (square(50),),
        (square(50), WHITE),  # what came before the white-box attacks says nothing about them
        (attack_row("pgd", status="skipped"), square(50)),
        (attack_row("pgd", status="error"), square(50)),
        (WHITE, square(50, status="error")),
        (WHITE, attack_row("noise", access="decision", broken=50)),
    ],
)
def test_missing_evidence_is_inconclusive_never_clear(attacks: tuple[AttackRow, ...]) -> None:
    for check in (GradientFree(), GradientFreeGap()):
        assert check.look(after(*attacks)).status is INCONCLUSIVE


def test_a_score_attack_that_met_nobody() -> None:
    nobody = attack_row("square", access="score", entered=0)
    assert GradientFree().look(after(WHITE, nobody)).status is INCONCLUSIVE
    assert GradientFree().look(after(WHITE, nobody, standing=False)).status is CLEAR  # nothing was left to break


def test_only_the_large_gap_speaks_of_the_model() -> None:
    assert GradientFreeGap.masks
    assert not GradientFree.masks


def test_an_honest_model_is_clear() -> None:
    made = linear_bench(n=50, distance=0.1).at(0.09)
    found = evidence(made, Noise(), FGSM(), Square(steps=50))
    assert GradientFree().look(found).status is CLEAR
    assert GradientFreeGap().look(found).status is CLEAR


def test_the_search_for_distances_is_no_white_box_stage_that_square_has_to_follow() -> None:
    far = attack_row("bisection", phase="hardness")
    found = GradientFree().look(after(WHITE, square(10), far))
    assert (found.status, found.value) == (RAISED, 10 / N)
    assert GradientFree().look(after(square(10), far)).status is INCONCLUSIVE

"""What only gradient-free attacks broke: counted after the white-box attacks, and weighed against chance."""

from __future__ import annotations

from typing import Any

import pytest
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.noise import Noise
from auditor.plugins.attacks.square import Square
from auditor.plugins.checks.gradient_free import GradientFree, GradientFreeGap
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


@pytest.mark.parametrize(
    ("broken", "small", "large"),
    [(0, CLEAR, CLEAR), (1, CLEAR, CLEAR), (2, RAISED, CLEAR), (10, RAISED, CLEAR), (13, RAISED, RAISED)],
)
def test_the_gap(broken: int, small: FindingStatus, large: FindingStatus) -> None:
    """One sample is not evidence; 12 of 200 are, with 95 % confidence, more than 3 %."""
    found = after(WHITE, square(broken))
    assert GradientFree().look(found).status is small
    assert GradientFreeGap().look(found).status is large
    assert GradientFree().look(found).value == broken / N


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

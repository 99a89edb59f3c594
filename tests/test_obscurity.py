"""Masking and trust as read out of findings: a truth table."""

from __future__ import annotations

import pytest
from msgspec import structs
from records import attack_row, finding

from auditor.obscurity import REQUIRED, doubts, masking, raised, trust
from auditor.record import AttackRow, Finding, FindingStatus, Severity, Spent

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
MASKS = {"gradients", "gradient_free_gap", "randomised"}


def findings(**statuses: FindingStatus) -> list[Finding]:
    return [structs.replace(finding(name, status), masks=name in MASKS) for name, status in statuses.items()]


def test_what_is_required() -> None:
    assert REQUIRED == ("gradients", "gradient_free")


@pytest.mark.parametrize(
    ("statuses", "mask", "belief"),
    [
        ({"gradients": CLEAR, "gradient_free": CLEAR}, "none", "sound"),
        ({"gradients": CLEAR, "gradient_free": INCONCLUSIVE}, "unknown", "unknown"),
        ({"gradients": CLEAR}, "unknown", "unknown"),
        ({}, "unknown", "unknown"),
        ({"gradients": RAISED, "gradient_free": CLEAR}, "present", "doubtful"),
        ({"gradients": CLEAR, "gradient_free": CLEAR, "randomised": RAISED}, "present", "doubtful"),
        ({"gradients": CLEAR, "gradient_free": CLEAR, "fidelity": RAISED}, "none", "doubtful"),
        ({"gradients": CLEAR, "gradient_free": CLEAR, "fidelity": INCONCLUSIVE}, "none", "sound"),
        ({"gradients": INCONCLUSIVE, "gradient_free": CLEAR}, "unknown", "unknown"),
    ],
)
def test_masking_is_about_the_model_and_trust_about_the_number(
    statuses: dict[str, FindingStatus], mask: str, belief: str
) -> None:
    assert masking(findings(**statuses)) == mask
    assert trust(findings(**statuses), set(), []) == belief


def test_information_doubts_nothing() -> None:
    found = [*findings(gradients=CLEAR, gradient_free=CLEAR), finding("surrogates", RAISED, Severity.INFO)]
    assert trust(found, set(), []) == "sound"
    assert [f.id for f in raised(found)] == ["surrogates"]
    assert doubts(found) == []


@pytest.mark.parametrize(
    ("answered", "belief"),
    [
        (set(), "doubtful"),
        ({"gradient_free_gap"}, "doubtful"),
        ({"randomised"}, "doubtful"),
        ({"gradient_free_gap", "randomised"}, "sound"),
    ],
)
def test_a_number_is_sound_once_every_doubt_was_answered_and_the_model_masks_all_the_same(
    answered: set[str], belief: str
) -> None:
    found = findings(gradients=CLEAR, gradient_free=CLEAR, gradient_free_gap=RAISED, randomised=RAISED)
    assert trust(found, answered, []) == belief
    assert masking(found) == "present"


def test_what_was_required_may_have_been_answered_too() -> None:
    found = findings(gradients=RAISED, gradient_free=CLEAR)
    assert trust(found, {"gradients"}, []) == "sound"


def blind(*attacks: str, status: str = "ran") -> list[AttackRow]:
    budget = Spent(queries=1000)
    return [attack_row(name, access="score", status=status, budget=budget) for name in attacks]


@pytest.mark.parametrize(
    ("rows", "belief"),
    [
        (blind("square", "signhunter"), "sound"),
        (blind("square", "square"), "unknown"),
        (blind("square", "noise"), "unknown"),
        (blind("square"), "unknown"),
        (blind("square", "signhunter", status="error"), "unknown"),
        ([*blind("square"), attack_row("pgd")], "unknown"),
    ],
)
def test_without_gradients_a_sound_number_needs_two_unrelated_families(rows: list[AttackRow], belief: str) -> None:
    gone = finding("no_gradients", RAISED, Severity.INFO)
    assert trust([gone, *findings(gradient_free=INCONCLUSIVE)], set(), rows) == belief
    assert trust(findings(gradient_free=INCONCLUSIVE), set(), rows) == "unknown"


@pytest.mark.parametrize("changes", [{"budget": Spent(queries=100)}, {"share": 0.1}])
def test_a_glance_is_no_second_family(changes: dict[str, object]) -> None:
    gone = finding("no_gradients", RAISED, Severity.INFO)
    rows = [*blind("square"), structs.replace(blind("signhunter")[0], **changes)]
    assert trust([gone], set(), rows) == "unknown"

"""Masking and trust as read out of findings: a truth table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pytest
from records import finding

from auditor.check import Check, Evidence
from auditor.obscurity import REQUIRED, _look, masking, trust
from auditor.record import Finding, FindingStatus, Severity

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
MASKS = {"gradients", "gradient_free", "randomised"}


def findings(**statuses: FindingStatus) -> list[Finding]:
    return [finding(name, status) for name, status in statuses.items()]


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
    assert masking(findings(**statuses), MASKS) == mask
    assert trust(findings(**statuses), MASKS) == belief


def test_information_doubts_nothing() -> None:
    found = [*findings(gradients=CLEAR, gradient_free=CLEAR), finding("surrogates", RAISED, Severity.INFO)]
    assert trust(found, MASKS) == "sound"


class Clumsy(Check):
    name: ClassVar[str] = "clumsy"
    title: ClassVar[str] = "Clumsy"
    source: ClassVar[str] = ""
    severity: ClassVar[Severity] = Severity.WARNING

    def look(self, evidence: Evidence) -> Finding:
        raise ValueError("tripped")


def test_a_check_that_raises_is_inconclusive_never_clear() -> None:
    found = _look(Clumsy(), SimpleNamespace())  # type: ignore[arg-type]
    assert found.status is INCONCLUSIVE
    assert "ValueError: tripped" in found.explanation
    assert found.id == "clumsy"

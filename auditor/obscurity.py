"""Can the number be believed? Masking and trust, as they are read out of the findings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from auditor.access import Access
from auditor.record import AttackRow, Chapter, Fidelity, Finding, FindingStatus, Severity, Spent

REQUIRED = ("gradients", "gradient_free")
"""Findings without which masking is not ruled out: that gradients are there, and that nothing else does better."""
FAMILIES = 2
"""Unrelated gradient-free attacks that have to agree where there are no gradients."""
LEAST = 200
"""Queries a sample that each of them has to be given, on half of what stands at least."""


@dataclass(frozen=True)
class Belief:
    """findings: of every check, as they stand at the end. masking: none, present or unknown, about the model. trust:
    sound, doubtful or unknown, about the reported number. story: what was claimed, doubted, tried, and what fell.
    fidelity: of the twin, None where there is none. spent: forwards, backwards and queries of the checks'
    experiments."""

    findings: list[Finding]
    masking: str
    trust: str
    story: list[Chapter]
    fidelity: Fidelity | None
    spent: Spent


def raised(findings: Iterable[Finding]) -> list[Finding]:
    """Those that were raised."""
    return [finding for finding in findings if finding.status is FindingStatus.RAISED]


def doubts(findings: Iterable[Finding]) -> list[Finding]:
    """Those that doubt the number: raised, and more than information."""
    return [finding for finding in raised(findings) if finding.severity is not Severity.INFO]


def masking(findings: list[Finding]) -> str:
    """`present` where a finding that says so is raised; `none` only where the required ones are clear."""
    if any(finding.masks for finding in raised(findings)):
        return "present"
    clear = {finding.id for finding in findings if finding.status is FindingStatus.CLEAR}
    return "none" if clear.issuperset(REQUIRED) else "unknown"


def trust(findings: list[Finding], answered: set[str], attacks: list[AttackRow]) -> str:
    """`doubtful` where a doubt was not answered; `sound` where none was left and enough was tried to say so.

    answered: findings whose doubt was followed up to its end, after which nothing gradient-free or transferred did
    better than what had been tried. Enough is gradients and, after them, an attack without; or, where there are no
    gradients, two unrelated attacks.
    """
    if any(finding.id not in answered for finding in doubts(findings)):
        return "doubtful"
    clear = {f.id for f in findings if f.status is FindingStatus.CLEAR or f.id in answered}
    if clear.issuperset(REQUIRED):
        return "sound"
    blind = [row for row in attacks if row.status == "ran" and row.access != Access.GRADIENT]
    met = [row for row in blind if row.share >= 0.5 and row.near == 1]
    without = {row.attack for row in met if row.budget.queries >= LEAST} - {"noise"}
    gone = {f.id for f in raised(findings)}
    return "sound" if "no_gradients" in gone and len(without) >= FAMILIES else "unknown"

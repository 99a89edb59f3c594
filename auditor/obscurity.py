"""Can the number be believed? Runs the checks and reads masking and trust out of their findings."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.check import Check, Evidence
from auditor.host import Host
from auditor.ledger import Ledger
from auditor.observe import Observation
from auditor.record import AttackRow, Fidelity, Finding, FindingStatus, Severity
from auditor.search import Search

REQUIRED = ("gradients", "gradient_free")
"""Findings without which masking is not ruled out: that gradients are there, and that nothing else does better."""


@dataclass(frozen=True)
class Belief:
    """findings: of every check. masking: none, present or unknown, about the model. trust: sound, doubtful or unknown,
    about the reported number."""

    findings: list[Finding]
    masking: str
    trust: str


def inspect(
    host: Host,
    search: Search,
    ledger: Ledger,
    attacks: list[AttackRow],
    observation: Observation,
    fidelity: Fidelity | None,
    why_no_twin: str | None,
) -> Belief:
    """Run every check; one that raises is an inconclusive finding that names its error."""
    evidence = Evidence(
        target=search.target,
        twin=search.twin,
        why_no_twin=why_no_twin,
        samples=search.samples,
        threat=search.threat,
        region=search.region,
        ledger=ledger,
        attacks=attacks,
        observation=observation,
        fidelity=fidelity,
        device=search.execution.device,
        seed=search.seed,
    )
    checks = [kind() for _, kind in sorted(host.checks.items())]
    findings = [_look(check, evidence) for check in checks]
    masks = {check.name for check in checks if check.masks}
    return Belief(findings, masking(findings, masks), trust(findings, masks))


def masking(findings: list[Finding], masks: set[str]) -> str:
    """`present` where a masking check is raised; `none` only where the required ones are clear."""
    raised = {f.id for f in findings if f.status is FindingStatus.RAISED}
    clear = {f.id for f in findings if f.status is FindingStatus.CLEAR}
    if raised & masks:
        return "present"
    return "none" if clear.issuperset(REQUIRED) else "unknown"


def trust(findings: list[Finding], masks: set[str]) -> str:
    """`doubtful` where anything above information is raised; `sound` only where masking is ruled out."""
    doubts = [f for f in findings if f.status is FindingStatus.RAISED and f.severity is not Severity.INFO]
    if doubts:
        return "doubtful"
    return "sound" if masking(findings, masks) == "none" else "unknown"


def _look(check: Check, evidence: Evidence) -> Finding:
    try:
        return check.look(evidence)
    except Exception as error:
        return check.finding(
            FindingStatus.INCONCLUSIVE,
            f"The check ended with an error ({type(error).__name__}: {error}).",
            "Report it to the check's author.",
        )

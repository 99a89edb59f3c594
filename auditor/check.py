"""The check protocol: looks at what a scan saw and says whether its number can be believed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from auditor.ledger import Ledger
from auditor.observe import Observation
from auditor.record import AttackRow, Fidelity, Finding, FindingStatus, Severity
from auditor.samples import Samples
from auditor.target import Target
from auditor.threat import Region, ThreatModel
from auditor.twin import Twin


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a check may look at; it may also probe target and twin. why_no_twin: the reason where there is none."""

    target: Target
    twin: Twin | None
    why_no_twin: str | None
    samples: Samples
    threat: ThreatModel
    region: Region
    ledger: Ledger
    attacks: list[AttackRow]
    observation: Observation
    fidelity: Fidelity | None
    device: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Check(ABC):
    """One indicator. Its class says what it stands for; `look` says what it saw.

    name: the finding's id. title: one line. source: the paper or standard. masks: whether a raised finding says that
    the *model* hides from attacks (masking), or only that the *number* is in doubt.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    severity: ClassVar[Severity]
    masks: ClassVar[bool] = False

    @abstractmethod
    def look(self, evidence: Evidence) -> Finding:
        """The finding. Missing evidence is inconclusive, never clear."""

    def finding(
        self,
        status: FindingStatus,
        explanation: str,
        advice: str = "",
        *,
        value: float | None = None,
        threshold: float | None = None,
    ) -> Finding:
        """A finding of this check."""
        return Finding(
            id=self.name,
            status=status,
            severity=self.severity,
            title=self.title,
            value=value,
            threshold=threshold,
            source=self.source,
            explanation=explanation,
            advice=advice,
        )

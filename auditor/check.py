"""The check protocol: looks at what a scan saw and says whether its number can be believed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from auditor.lab import Lab
from auditor.ledger import Ledger
from auditor.limits import limit
from auditor.observe import Observation
from auditor.record import AttackRow, Fidelity, Finding, FindingStatus, Severity
from auditor.samples import Samples
from auditor.target import Target
from auditor.threat import Region, ThreatModel
from auditor.twin import Twin


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a check may look at. why_no_twin: the reason where there is none. attacks: the stages so far, those
    that answered to doubts among them. lab: for experiments of the check's own, which are counted and cost time."""

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
    lab: Lab


@dataclass(frozen=True, kw_only=True)
class Check(ABC):
    """One indicator. Its class says what it stands for; `look` says what it saw.

    Its docstring's first paragraph says why it matters. name: the finding's id. title: one line. raised_if: the rule in
    one sentence. advice: what a reader should do where it is raised. source: the paper or standard. technique: of MITRE
    ATLAS, which an attacker would use. masks: whether a raised finding says that the *model* hides from attacks
    (masking), or only that the *number* is in doubt. answers: what is tried where it is raised, names of
    `auditor/answers.toml`. again: whether it looks once more after the doubts were answered. deep: whether it runs with
    `--deep` only, since it costs much.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    severity: ClassVar[Severity]
    raised_if: ClassVar[str] = ""
    advice: ClassVar[str] = ""
    technique: ClassVar[str] = "AML.T0043"
    masks: ClassVar[bool] = False
    answers: ClassVar[tuple[str, ...]] = ()
    again: ClassVar[bool] = False
    deep: ClassVar[bool] = False

    @abstractmethod
    def look(self, evidence: Evidence) -> Finding:
        """The finding. Missing evidence is inconclusive, never clear."""

    @property
    def threshold(self) -> float:
        """This check's threshold in `auditor/limits.toml`. Raises KeyError where it has none."""
        return limit(self.name)

    def finding(
        self,
        status: FindingStatus,
        explanation: str,
        advice: str | None = None,
        *,
        value: float | None = None,
        threshold: float | None = None,
    ) -> Finding:
        """A finding of this check; its own advice where it is raised and none is given."""
        raised = status is FindingStatus.RAISED
        return Finding(
            id=self.name,
            status=status,
            severity=self.severity,
            title=self.title,
            value=value,
            threshold=threshold,
            source=self.source,
            explanation=explanation,
            advice=(self.advice if raised else "") if advice is None else advice,
            technique=self.technique,
            masks=self.masks,
        )

"""Records made by hand, for tests of what reads them: a letter for each sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditor.entry import Entry
from auditor.judgement import Gate, RuleRow, Verdict
from auditor.metrics import by_class, measure
from auditor.record import (
    SCHEMA,
    AttackRow,
    Fidelity,
    Finding,
    FindingStatus,
    ModelInfo,
    Outcome,
    Record,
    SamplesInfo,
    Severity,
    Status,
    ThreatInfo,
    Tool,
)

LETTERS = {status.value[0]: status for status in Status}
"""m misclassified, b broken, w withstood, c certified, u unattacked, e error."""


def outcomes(letters: str, labels: list[int] | None = None, *, turned: int = 1) -> list[Outcome]:
    """A sample for each letter, of label 0 unless told otherwise; broken ones get the label `turned`."""
    labels = labels or [0] * len(letters)
    return [
        Outcome(
            id=i,
            label=label,
            clean_label=label + 1 if letter == "m" else label,
            status=LETTERS[letter],
            attack="pgd" if letter == "b" else None,
            distance=0.25 if letter == "b" else None,
            adversarial_label=turned if letter == "b" else None,
        )
        for i, (letter, label) in enumerate(zip(letters, labels, strict=True))
    ]


def attack_row(name: str = "pgd", **changes: Any) -> AttackRow:
    """A stage that ran."""
    fields: dict[str, Any] = {
        "name": name,
        "attack": name,
        "status": "ran",
        "reason": None,
        "entered": 10,
        "broken": 0,
        "forwards": 0,
        "backwards": 0,
        "queries": 0,
        "seconds": 1.0,
        "rejected": {},
        "access": "gradient",
        "restarts": 1,
        "parameters": {},
    }
    return AttackRow(**(fields | changes))


def finding(id_: str, status: FindingStatus, severity: Severity = Severity.WARNING) -> Finding:
    """What a check saw, without words."""
    return Finding(
        id=id_,
        status=status,
        severity=severity,
        title=f"title of {id_}",
        value=None,
        threshold=None,
        source="",
        explanation="",
        advice="",
    )


def fidelity(agreement: float = 1.0) -> Fidelity:
    """A twin that agrees on this share of the labels."""
    return Fidelity(n=100, label_agreement=agreement, max_difference=0.0, scale=1.0, floor=0.95)


def threat_info(**changes: Any) -> ThreatInfo:
    """linf 8/255 on pixels."""
    fields: dict[str, Any] = {
        "name": "linf 8/255",
        "norm": "linf",
        "epsilon": 8 / 255,
        "epsilon_text": "8/255",
        "bounds": [0.0, 1.0],
        "boxes": False,
        "goal": "untargeted",
        "access": "gradient",
    }
    return ThreatInfo(**(fields | changes))


def record(found: list[Outcome], *, certified: bool = False, names: list[str] | None = None, **changes: Any) -> Record:
    """A complete record of these outcomes."""
    class_names = tuple(names) if names else None
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "complete": True,
        "plan": {"seed": 0},
        "plan_digest": "0" * 64,
        "execution": {"device": "cpu"},
        "environment": {"python": "3"},
        "tool": Tool(version="0", plugins=[]),
        "model": ModelInfo(
            path="model.onnx",
            sha256="0" * 64,
            name="model",
            classes=3,
            output="logits",
            runtime={},
            preprocess={},
            twin="exact",
        ),
        "fidelity": fidelity(),
        "threat": threat_info(),
        "samples": SamplesInfo(
            n=len(found), digest="0" * 64, labels="given", skipped={}, source="x.npz", shape=[4], pixels=True
        ),
        "metrics": measure(found, certified=certified),
        "by_class": by_class(found, class_names),
        "outcomes": found,
        "outcomes_digest": "0" * 64,
        "attacks": [attack_row()],
        "findings": [],
        "masking": "none",
        "trust": "sound",
        "gate": Gate(rules=[]),
        "verdict": None,
        "curve": [],
        "seconds": 1.0,
        "command": "advaudit scan model.onnx",
        "class_names": names,
    }
    return Record(**(fields | changes))


def rule_row(rule: str, status: Verdict, **changes: Any) -> RuleRow:
    """A rule that asked for 0.5 and got 0.25."""
    fields: dict[str, Any] = {"value": 0.25, "threshold": 0.5, "reason": "because"}
    return RuleRow(rule=rule, status=status, **(fields | changes))


def judged_entry(*rows: RuleRow, **changes: Any) -> Entry:
    """A record of three samples that was judged so, by the first of the rules."""
    fields: dict[str, Any] = {"gate": Gate(rules=list(rows)), "verdict": rows[0].status if rows else None}
    return Entry(record(outcomes("wwb"), **(fields | changes)), Path())

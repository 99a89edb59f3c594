"""Rules about an audit as a whole: fidelity, coverage, trust and masking. Loads no torch."""

from __future__ import annotations

from auditor.judgement import Verdict
from auditor.metrics import OPEN, chosen
from auditor.obscurity import raised
from auditor.record import Record
from auditor.rule import STATES, Rule

Judged = tuple[Verdict, float | None, str]
"""Status, value and reason."""


def judge_whole(rule: Rule, record: Record) -> Judged:
    """Judge a rule that is about no samples in particular."""
    if rule.metric in STATES:
        return _state(rule.metric, record)
    value, missing = _value(rule.metric, record)
    if value is None:
        return Verdict.INCONCLUSIVE, None, missing
    status = Verdict.FAILED if value < (rule.at_least or 0.0) else Verdict.PASSED
    return status, value, f"it is {value:.4f}"


def _value(metric: str, record: Record) -> tuple[float | None, str]:
    if metric == "label_agreement":
        return (record.fidelity.label_agreement if record.fidelity else None), "the model has no twin"
    looked = record.outcomes
    if record.drawn is not None:  # the others were left out on purpose
        looked = chosen(looked, record.drawn)
    known = sum(outcome.status not in OPEN for outcome in looked)
    return (known / len(looked) if looked else None), "no samples were to be attacked"


def _state(metric: str, record: Record) -> Judged:
    """`trust` is to be sound, `masking` none; the opposite fails, and what is not known is inconclusive."""
    found, wanted = (record.trust, "doubtful") if metric == "trust" else (record.masking, "present")
    if found == STATES[metric]:
        return Verdict.PASSED, None, f"it is {found}"
    if record.drawn is not None and record.drawn.settled is Verdict.FAILED and found == "unknown":
        return Verdict.INCONCLUSIVE, None, "it was not asked: the gate had failed before the checks"
    seen = raised(record.findings)
    why = f": {seen[0].title}" if seen and found == wanted else ""
    return (Verdict.FAILED if found == wanted else Verdict.INCONCLUSIVE), None, f"it is {found}{why}"

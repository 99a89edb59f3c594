"""The gate: rules on a record, each judged with its reason, and one verdict. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, structs

from auditor.errors import UsageError
from auditor.metrics import GOOD, OPEN, count, wilson
from auditor.record import Gate, Outcome, Record, RuleRow, Status, Verdict
from auditor.summary import summarise

METRICS = ("robust_accuracy", "clean_accuracy", "certified_accuracy", "label_agreement")
MINIMUM = 30
"""Samples under which a rule is not decided unless it says otherwise: one sample would move the rate by 3 points."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the policy: a metric and the least value that passes.

    over: `samples` judges exactly these, `population` judges the Wilson interval at 95 %. each_class: the rule holds
    for every class; classes: for these labels or names alone. minimum: samples (of each class) under which it is
    inconclusive.
    """

    metric: str
    at_least: float
    over: Literal["samples", "population"] = "samples"
    each_class: bool = False
    classes: list[int | str] = []
    minimum: int = MINIMUM

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UsageError(f"A gate's metric is one of {', '.join(METRICS)}, got {self.metric!r}.")
        if not 0 <= self.at_least <= 1:
            raise UsageError(f"A gate's threshold is a fraction between 0 and 1, got {self.at_least:g}.")

    @property
    def text(self) -> str:
        """The rule in words."""
        where = " of each class" if self.each_class else ""
        where = f" of {', '.join(map(str, self.classes))}" if self.classes else where
        scope = "" if self.over == "samples" else " in the population"
        return f"{self.metric.replace('_', ' ')}{where} at least {self.at_least:g}{scope}"


def judge(rules: Sequence[Rule], record: Record) -> tuple[list[RuleRow], Verdict | None]:
    """Every rule judged, and the verdict: failed if one failed, else inconclusive if one is, else passed.

    None where there are no rules: an audit without a policy has no verdict. Raises UsageError for a class that the
    record does not know.
    """
    rows = [row for rule in rules for row in _rows(rule, record)]
    statuses = [row.status for row in rows]
    if not rules:
        return rows, None
    for status in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        if status in statuses:
            return rows, status
    return rows, Verdict.PASSED if rows else Verdict.INCONCLUSIVE


def judged(record: Record, rules: Sequence[Rule]) -> Record:
    """The record with these rules' judgement, verdict and summary in place of any other."""
    rows, verdict = judge(rules, record)
    summary = summarise(record, record.names, verdict)
    return structs.replace(record, gate=Gate(rules=rows), verdict=verdict, summary=summary)


def _rows(rule: Rule, record: Record) -> list[RuleRow]:
    if rule.metric == "label_agreement":
        return [_fidelity(rule, record)]
    if not rule.each_class and not rule.classes:
        return [_judged(rule, record, record.outcomes, rule.text)]
    rows = []
    for label in _labels(rule, record):
        name = next(row.name for row in record.by_class if row.label == label)
        own = [outcome for outcome in record.outcomes if outcome.label == label]
        rows.append(_judged(rule, record, own, f"{rule.metric.replace('_', ' ')} of {name} at least {rule.at_least:g}"))
    absent = record.model.classes - len(record.by_class)
    if rule.each_class and absent > 0:
        reason = f"{absent} of the model's {record.model.classes} classes have no samples"
        rows.append(
            RuleRow(rule=rule.text, value=None, threshold=rule.at_least, status=Verdict.INCONCLUSIVE, reason=reason)
        )
    return rows


def _labels(rule: Rule, record: Record) -> list[int]:
    known = {row.label: row.name for row in record.by_class}
    if rule.each_class:
        return list(known)
    labels = []
    for wanted in rule.classes:
        found = [label for label, name in known.items() if wanted in (label, name)]
        if not found:
            raise UsageError(f"The gate names the class {wanted!r}, the samples hold {', '.join(known.values())}.")
        labels += found
    return labels


def _judged(rule: Rule, record: Record, outcomes: list[Outcome], text: str) -> RuleRow:
    n = len(outcomes)
    low, high = _span(rule.metric, outcomes, record)
    value = None if high is None else high / n if n else None

    def row(status: Verdict, reason: str) -> RuleRow:
        return RuleRow(rule=text, value=value, threshold=rule.at_least, status=status, reason=reason)

    if low is None or high is None or n == 0:
        return row(Verdict.INCONCLUSIVE, "it was not computed")
    if rule.over == "population":
        bounds_low, bounds_high = wilson(low, n), wilson(high, n)
        least, most = (bounds_low or (0, 1))[0], (bounds_high or (0, 1))[1]
        kind = "the 95 % interval reaches"
    else:
        least, most, kind = low / n, high / n, "it is"
    if most < rule.at_least:
        return row(Verdict.FAILED, f"{kind} at most {most:.4f} on {n} samples")
    if n < rule.minimum:
        return row(Verdict.INCONCLUSIVE, f"{n} samples are too few to say, the rule asks for {rule.minimum}")
    if least < rule.at_least:
        left = sum(outcome.status in OPEN for outcome in outcomes)
        why = f"{left} samples were not attacked or errored" if rule.over == "samples" else f"{n} samples are too few"
        return row(Verdict.INCONCLUSIVE, f"between {least:.4f} and {most:.4f}: {why}")
    if doubt := _doubt(rule.metric, record):
        return row(Verdict.INCONCLUSIVE, doubt)
    held = "no attack brought it below" if rule.metric == "robust_accuracy" else "it is"
    return row(Verdict.PASSED, f"{held} {least:.4f} on {n} samples")


def _span(metric: str, outcomes: list[Outcome], record: Record) -> tuple[int | None, int | None]:
    """How many samples are good for the metric: at least, and at most, given what is not known."""
    if metric == "clean_accuracy" and record.samples.labels == "predicted":
        return None, None  # labels that are the model's own answers say nothing of its accuracy
    if metric == "clean_accuracy":
        correct = sum(outcome.clean_label == outcome.label for outcome in outcomes)
        return correct, correct
    counts = count(outcomes)
    if metric == "certified_accuracy":
        computed = record.metrics.certified_accuracy is not None
        return (counts[Status.CERTIFIED],) * 2 if computed else (None, None)
    if record.metrics.robust_accuracy is None:
        return None, None
    good = sum(counts[status] for status in GOOD)
    return good, good + sum(counts[status] for status in OPEN)


def _doubt(metric: str, record: Record) -> str | None:
    """Why a robust accuracy that looks high enough still does not pass."""
    if metric != "robust_accuracy":
        return None
    if errored := [row.name for row in record.attacks if row.status == "error" and row.phase != "hardness"]:
        return f"the attack {errored[0]} ended with an error, so what it would have broken is not known"
    if not any(row.status == "ran" for row in record.attacks) and record.metrics.attack_success_rate is None:
        return "no attack ran"
    if record.blind and record.trust != "sound":
        return 'it was attacked without gradients only; `[search] access = "score"` judges what an outsider achieves'
    if record.fidelity is not None and record.fidelity.low:
        return f"the twin agrees with the model on only {record.fidelity.label_agreement:.1%} of the labels"
    if record.trust == "doubtful":
        raised = [finding.title for finding in record.findings if finding.status == "raised"]
        return f"the number is in doubt: {raised[0] if raised else 'see the findings'}"
    return None


def _fidelity(rule: Rule, record: Record) -> RuleRow:
    value = None if record.fidelity is None else record.fidelity.label_agreement
    if value is None:
        status, reason = Verdict.INCONCLUSIVE, "the model has no twin"
    elif value < rule.at_least:
        status, reason = Verdict.FAILED, f"it is {value:.4f}"
    else:
        status, reason = Verdict.PASSED, f"it is {value:.4f}"
    return RuleRow(rule=rule.text, value=value, threshold=rule.at_least, status=status, reason=reason)

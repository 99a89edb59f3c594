"""What the gate weighs of one rule, and the reason for its judgement in words. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from auditor.bounds import Count, Evidence
from auditor.judgement import RuleRow
from auditor.obscurity import raised
from auditor.record import Record
from auditor.regression import Pairs
from auditor.rule import ATTACKED, Rule


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """One rule on one part of the samples, before rules that share alpha are held against each other. open: samples
    nothing is known of. against: why it does not pass whatever the evidence says. short: fewer samples than the rule
    asks for. row: the row, all but its judgement."""

    rule: Rule
    row: RuleRow
    evidence: Evidence
    counted: Count | Pairs
    open: int = 0
    against: str = ""
    short: str = ""

    @property
    def chance(self) -> bool:
        """Whether its evidence is a matter of chance."""
        return self.rule.bound not in ("", "certain") or (
            self.rule.baseline is not None and self.rule.over == "population"
        )


class Shared(NamedTuple):
    """p-values for passing and failing, adjusted for how many rules speak of chance."""

    passing: float
    failing: float
    family: int


def said(case: Weighed, kind: str, end: float, p: float, family: int, alpha: float) -> str:
    """What the evidence shows, in words; end: of the interval, towards the threshold."""
    counted, failed = case.counted, kind == "at most"
    if isinstance(counted, Pairs):
        shown, where = f"{counted.difference[failed]:+.4f} on {counted.n} pairs", ""
    elif not case.chance:
        return f"{_held(case, kind)} {_end(case, end):.4f} on {counted.n} samples{_rest(case, kind)}"
    else:
        shown = f"{(counted.high if failed else counted.low) / counted.n:.4f} on {counted.n} samples"
        where = "in the population" if case.rule.over == "population" else f"of all {counted.size}"
    if not case.chance:
        return shown
    if family > 1 or case.rule.bound == "sprt" or not where:
        others = f" after Holm over {family} rules" if family > 1 else ""
        return f"{shown}; p = {p:.2g}{others}, alpha = {alpha:g}"
    return f"{shown}; {kind} {end:.4f} {where} at {1 - alpha:.4g} confidence"


def _held(case: Weighed, kind: str) -> str:
    if kind == "at most":
        return "it is at most"
    return "no attack brought it below" if case.rule.metric == "robust_accuracy" else "it is"


def _rest(case: Weighed, kind: str) -> str:
    """What nobody knows of, and could not change it."""
    return f", whatever becomes of {case.open} that were not attacked" if case.open and kind == "at least" else ""


def _end(case: Weighed, end: float) -> float:
    """The distance itself where that is asked for, else the share."""
    if case.rule.metric == "distance":
        return case.rule.at_least or 0.0 if case.row.value is None else case.row.value
    return end


def undecided(case: Weighed, more: int | None, shares: Shared, alpha: float) -> str:
    """What the evidence leaves open; more: samples that would decide it, None for none that would. Of several rules
    the interval of one says nothing of what they decide together, so the p-value is told instead."""
    low, high = case.evidence.low, case.evidence.high
    between = f"between {low:+.4f} and {high:+.4f}" if case.rule.baseline else f"between {low:.4f} and {high:.4f}"
    if not case.chance or (case.open and more == case.counted.n):
        return f"{between}: {case.open} samples were not attacked or errored"
    if shares.family > 1:
        p = min(shares.passing, shares.failing)
        between = f"p = {p:.2g} after Holm over {shares.family} rules, alpha = {alpha:g}"
    unknown = f", {case.open} of them not attacked or errored" if case.open else ""
    if more is None:
        return f"{between}: {case.counted.n} samples{unknown} don't decide it, nor would any number at this rate"
    return f"{between}: {case.counted.n} samples{unknown} are too few, about {more} would decide it at this rate"


def doubt(metric: str, record: Record) -> str:
    """Why a robust accuracy that looks high enough still does not pass; empty where nothing speaks against it."""
    if metric not in ATTACKED:
        return ""
    if errored := [row.name for row in record.attacks if row.status == "error" and row.phase != "hardness"]:
        return f"the attack {errored[0]} ended with an error, so what it would have broken is not known"
    if not any(row.status == "ran" for row in record.attacks) and record.metrics.attack_success_rate is None:
        return "no attack ran"
    if record.blind and record.trust != "sound":
        return 'it was attacked without gradients only; `[search] access = "score"` judges what an outsider achieves'
    if record.fidelity is not None and record.fidelity.low:
        return f"the twin agrees with the model on only {record.fidelity.label_agreement:.1%} of the labels"
    if record.trust == "doubtful":
        seen = raised(record.findings)
        return f"the number is in doubt: {seen[0].title if seen else 'see the findings'}"
    return ""

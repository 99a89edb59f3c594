"""The gate: rules on a record, each judged with its reason, and one verdict. Loads no torch.

A rule fails where the evidence is against it, passes where it is for it and nothing casts doubt on it, and is
inconclusive else. Rules that speak of chance share one alpha by Holm's method (Scand. J. Statist. 6 (1979)): in at most
alpha of all audits any of them passes that should not, and in at most alpha any fails that should not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from msgspec import structs

from auditor.bounds import Count, Evidence, needed, weigh
from auditor.metrics import OPEN
from auditor.paired import holm
from auditor.record import Gate, Outcome, Record, RuleRow, Verdict
from auditor.regression import Pairs, baseline, pair, pairs_needed, unequal, weigh_pairs
from auditor.rule import STREAMED, Policy, Rule
from auditor.scope import count, parts, share, streamed, value
from auditor.summary import summarise
from auditor.whole import judge_whole

ATTACKED = ("robust_accuracy", "distance")
"""Metrics that attacks bring about: an upper bound, which may be in doubt."""


@dataclass(frozen=True, kw_only=True)
class Case:
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


def judge(policy: Policy, record: Record) -> tuple[list[RuleRow], Verdict | None]:
    """Every rule for the record's threat judged, and the verdict: failed if one failed, else inconclusive if one is,
    else passed.

    None where there are no rules: an audit without a policy has no verdict. Raises UsageError for a class that the
    model hasn't, RecordError for a baseline that can't be compared.
    """
    rules = policy.for_threat(record.threat.name, record.threat.norm)
    if not rules:
        return [], None
    found = [made for rule, table in rules for made in _cases(rule, table, policy, record)]
    cases = [one for one in found if isinstance(one, Case)]
    shares = shared(cases)
    rows = [one if isinstance(one, RuleRow) else decided(one, shares[id(one)], policy.alpha) for one in found]
    statuses = [row.status for row in rows]
    for status in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        if status in statuses:
            return rows, status
    return rows, Verdict.PASSED if rows else Verdict.INCONCLUSIVE


def judged(record: Record, policy: Policy) -> Record:
    """The record with this policy's judgement, verdict and summary in place of any other."""
    rows, verdict = judge(policy, record)
    summary = summarise(record, record.names, verdict)
    elsewhere = len(policy.rules + policy.also) - len(policy.for_threat(record.threat.name, record.threat.norm))
    gate = Gate(rules=rows, policy=policy.path, alpha=policy.alpha if rows else None, elsewhere=elsewhere)
    return structs.replace(record, gate=gate, verdict=verdict, summary=summary)


def _cases(rule: Rule, table: int | None, policy: Policy, record: Record) -> list[Case | RuleRow]:
    """What is to be judged of a rule, a case for each of its classes; rows where there is nothing to weigh."""
    blank = RuleRow(
        rule=rule.text,
        value=None,
        threshold=-rule.margin if rule.baseline is not None else rule.at_least,
        status=Verdict.INCONCLUSIVE,
        reason="",
        metric=rule.metric,
        table=table,
    )
    if rule.metric not in ("robust_accuracy", "clean_accuracy", "certified_accuracy", "distance"):
        status, found, reason = judge_whole(rule, record)
        return [structs.replace(blank, status=status, value=found, reason=reason)]
    rule = streamed(rule, record)
    before = baseline(rule, policy, record) if rule.baseline is not None else None
    cases = [_case(rule, blank, whom, own, record, before, policy.alpha) for whom, own in parts(rule, policy, record)]
    absent = record.model.classes - len({outcome.label for outcome in record.outcomes})
    if rule.each_class and absent > 0:
        cases.append(
            structs.replace(
                blank,
                reason=f"{absent} of the model's {record.model.classes} classes have no samples",
                needed=absent * rule.minimum,
            )
        )
    return cases


def _case(
    rule: Rule, blank: RuleRow, whom: str, outcomes: list[Outcome], record: Record, before: Record | None, alpha: float
) -> Case | RuleRow:
    row = structs.replace(blank, rule=rule.of(whom), bound=rule.bound)
    if not outcomes:
        reason = f"{whom} has no samples" if whom else "it was not computed: there are no samples"
        return structs.replace(row, reason=reason, needed=rule.minimum)
    against = _doubt(rule.metric, record)
    unknown = sum(outcome.status in OPEN for outcome in outcomes) if rule.metric in ATTACKED else 0
    if before is not None:
        pairs = pair(rule, outcomes, record, before)
        evidence = weigh_pairs(rule, pairs)
        counted: Count | Pairs = pairs
        found: float | None = pairs.difference[1]
        against, unknown = against or unequal(record, before), pairs.unknown
    else:
        number = count(rule, outcomes, record, streamed=rule.bound in STREAMED)
        if isinstance(number, str):
            return structs.replace(row, reason=number)
        evidence = weigh(rule.bound, number, share(rule), alpha=alpha, margin=rule.margin)
        counted, found = number, value(rule, number, outcomes, record)
        if rule.bound in ("exact", "wilson") and rule.metric in ATTACKED and record.drawn is not None and unknown:
            return structs.replace(
                row, reason=f"{rule.bound} bounds are for all samples, and a sequential scan stopped"
            )
    return Case(
        rule=rule,
        row=structs.replace(row, value=found, n=counted.n, interval=(evidence.low, evidence.high)),
        evidence=evidence,
        counted=counted,
        open=unknown,
        against=against,
        short=_short(rule, counted.n, unknown, len(outcomes)),
    )


def _short(rule: Rule, n: int, unknown: int, of: int) -> str:
    if n < rule.minimum:
        return f"{n} samples are too few to say, the rule asks for {rule.minimum}"
    if 1 - unknown / of < rule.coverage:
        return f"{1 - unknown / of:.4f} of the samples were attacked to the end, the rule asks for {rule.coverage:g}"
    return ""


def shared(cases: list[Case]) -> dict[int, Shared]:
    """What each case's evidence is worth beside the others that speak of chance, by the case's identity."""
    found = {id(case): Shared(case.evidence.passing, case.evidence.failing, 1) for case in cases}
    chance = [case for case in cases if case.chance]
    passing, failing = holm([c.evidence.passing for c in chance]), holm([c.evidence.failing for c in chance])
    for case, one, other in zip(chance, passing, failing, strict=True):
        found[id(case)] = Shared(one, other, len(chance))
    return found


def decided(case: Case, shares: Shared, alpha: float) -> RuleRow:
    """A case as it is judged."""
    limit = alpha if case.chance else 0.0
    status, reason, more = Verdict.INCONCLUSIVE, "", None
    if shares.failing <= limit:
        status, reason = Verdict.FAILED, said(case, "at most", case.evidence.high, shares.failing, shares.family, alpha)
    elif case.short:
        reason, more = case.short, case.rule.minimum if case.counted.n < case.rule.minimum else None
    elif shares.passing > limit:
        more = _needed(case, alpha / shares.family)
        reason = _undecided(case, more)
    elif case.against:
        reason = case.against
    else:
        status, reason = Verdict.PASSED, said(case, "at least", case.evidence.low, shares.passing, shares.family, alpha)
    return structs.replace(case.row, status=status, reason=reason, needed=more)


def said(case: Case, kind: str, end: float, p: float, family: int, alpha: float) -> str:
    """What the evidence shows, in words; end: of the interval, towards the threshold."""
    counted, failed = case.counted, kind == "at most"
    if isinstance(counted, Pairs):
        shown, where = f"{counted.difference[failed]:+.4f} on {counted.n} pairs", ""
    elif not case.chance:
        return f"{_held(case, kind)} {_end(case, end):.4f} on {counted.n} samples"
    else:
        shown = f"{(counted.high if failed else counted.low) / counted.n:.4f} on {counted.n} samples"
        where = "in the population" if case.rule.over == "population" else f"of all {counted.size}"
    if not case.chance:
        return shown
    if family > 1 or case.rule.bound == "sprt" or not where:
        others = f" after Holm over {family} rules" if family > 1 else ""
        return f"{shown}; p = {p:.2g}{others}, alpha = {alpha:g}"
    return f"{shown}; {kind} {end:.4f} {where} at {1 - alpha:.4g} confidence"


def _held(case: Case, kind: str) -> str:
    if kind == "at most":
        return "it is at most"
    return "no attack brought it below" if case.rule.metric == "robust_accuracy" else "it is"


def _end(case: Case, end: float) -> float:
    """The distance itself where that is asked for, else the share."""
    if case.rule.metric == "distance":
        return case.rule.at_least or 0.0 if case.row.value is None else case.row.value
    return end


def _needed(case: Case, alpha: float) -> int | None:
    """Samples that would decide it: all of them where nothing is left to chance."""
    if isinstance(case.counted, Pairs):
        return pairs_needed(case.rule, case.counted, alpha)
    return needed(case.rule.bound, case.counted, share(case.rule), alpha=alpha, margin=case.rule.margin)


def _undecided(case: Case, more: int | None) -> str:
    low, high = case.evidence.low, case.evidence.high
    between = f"between {low:+.4f} and {high:+.4f}" if case.rule.baseline else f"between {low:.4f} and {high:.4f}"
    if not case.chance or (case.open and more == case.counted.n):
        return f"{between}: {case.open} samples were not attacked or errored"
    unknown = f", {case.open} of them not attacked or errored" if case.open else ""
    if more is None:
        return f"{between}: {case.counted.n} samples{unknown} don't decide it, nor would any number at this rate"
    return f"{between}: {case.counted.n} samples{unknown} are too few, about {more} would decide it at this rate"


def _doubt(metric: str, record: Record) -> str:
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
        raised = [finding.title for finding in record.findings if finding.status == "raised"]
        return f"the number is in doubt: {raised[0] if raised else 'see the findings'}"
    return ""

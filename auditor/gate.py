"""The gate: rules on a record, each judged with its reason, and one verdict. Loads no torch.

A rule fails where the evidence is against it, passes where it is for it and nothing casts doubt on it, and is
inconclusive else. Rules that speak of chance share one alpha by Holm's method (Scand. J. Statist. 6 (1979)): in at most
alpha of all records any of them passes that should not, and in at most alpha any fails that should not.
"""

from __future__ import annotations

from msgspec import structs

from auditor.bounds import Count, needed, weigh
from auditor.judgement import Gate, RuleRow, Verdict
from auditor.paired import holm
from auditor.rates import plural
from auditor.reasons import Shared, Weighed, doubt, said, undecided
from auditor.record import Outcome, Record
from auditor.regression import Pairs, baseline, pair, pairs_needed, unequal, weigh_pairs
from auditor.rule import ATTACKED, PAIRED, SHARES, STREAMED, Policy, Rule
from auditor.scope import bounded, count, parts, share, value
from auditor.summary import summarise
from auditor.whole import judge_whole


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
    cases = [one for one in found if isinstance(one, Weighed)]
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
    elsewhere = len(policy.every) - len(policy.for_threat(record.threat.name, record.threat.norm))
    gate = Gate(rules=rows, policy=policy.path, alpha=policy.alpha if rows else None, elsewhere=elsewhere)
    return structs.replace(record, gate=gate, verdict=verdict, summary=summary)


def _cases(rule: Rule, table: int | None, policy: Policy, record: Record) -> list[Weighed | RuleRow]:
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
    if rule.metric not in SHARES:
        status, found, reason = judge_whole(rule, record)
        return [structs.replace(blank, status=status, value=found, reason=reason)]
    rule = bounded(rule, record)
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
) -> Weighed | RuleRow:
    row = structs.replace(blank, rule=rule.of(whom), bound=rule.bound or PAIRED)
    if not outcomes:
        reason = f"{whom} has no samples" if whom else "it was not computed: there are no samples"
        return structs.replace(row, reason=reason, needed=rule.minimum)
    against = doubt(rule.metric, record)
    if before is not None:
        pairs = pair(rule, outcomes, record, before)
        evidence = weigh_pairs(rule, pairs)
        counted: Count | Pairs = pairs
        found: float | None = pairs.difference[1]
        against = against or (unequal(record, before) if rule.metric in ATTACKED else "")
        unknown = pairs.unknown
    else:
        number = count(rule, outcomes, record, streamed=rule.bound in STREAMED)
        if isinstance(number, str):
            return structs.replace(row, reason=number)
        unknown = number.high - number.low
        evidence = weigh(rule.bound, number, share(rule), alpha=alpha, margin=rule.margin)
        counted, found = number, value(rule, number, outcomes, record)
        partial = record.drawn is not None and record.drawn.partial
        if rule.bound in ("exact", "wilson") and rule.metric in ATTACKED and partial:
            return structs.replace(
                row, reason=f"{rule.bound} bounds are for all samples, and a sequential scan stopped"
            )
    return Weighed(
        rule=rule,
        row=structs.replace(row, value=found, n=counted.n, interval=(evidence.low, evidence.high)),
        evidence=evidence,
        counted=counted,
        open=unknown,
        against=against,
        short=_short(rule, counted.n, unknown),
    )


def _short(rule: Rule, n: int, unknown: int) -> str:
    if n < rule.minimum:
        return f"{plural(n, 'sample')} can't pass it, the rule asks for {rule.minimum}"
    if n and 1 - unknown / n < rule.coverage:
        return f"{1 - unknown / n:.4f} of the samples were attacked to the end, the rule asks for {rule.coverage:g}"
    return ""


def shared(cases: list[Weighed]) -> dict[int, Shared]:
    """What each case's evidence is worth beside the others that speak of chance, by the case's identity."""
    found = {id(case): Shared(case.evidence.passing, case.evidence.failing, 1) for case in cases}
    chance = [case for case in cases if case.chance]
    passing, failing = holm([c.evidence.passing for c in chance]), holm([c.evidence.failing for c in chance])
    for case, one, other in zip(chance, passing, failing, strict=True):
        found[id(case)] = Shared(one, other, len(chance))
    return found


def decided(case: Weighed, shares: Shared, alpha: float) -> RuleRow:
    """A case as it is judged."""
    limit = alpha if case.chance else 0.0
    status, reason, more = Verdict.INCONCLUSIVE, "", None
    if shares.failing <= limit:
        status, reason = Verdict.FAILED, said(case, "at most", case.evidence.high, shares.failing, shares.family, alpha)
    elif case.short:
        reason, more = case.short, case.rule.minimum if case.counted.n < case.rule.minimum else None
    elif shares.passing > limit:
        more = _needed(case, alpha / shares.family)
        reason = undecided(case, more, shares, alpha)
    elif case.against:
        reason = case.against
    else:
        status, reason = Verdict.PASSED, said(case, "at least", case.evidence.low, shares.passing, shares.family, alpha)
    return structs.replace(case.row, status=status, reason=reason, needed=more)


def _needed(case: Weighed, alpha: float) -> int | None:
    """Samples that would decide it: all of them where nothing is left to chance."""
    if isinstance(case.counted, Pairs):
        return pairs_needed(case.rule, case.counted, alpha)
    return needed(case.rule.bound, case.counted, share(case.rule), alpha=alpha, margin=case.rule.margin)

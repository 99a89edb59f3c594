"""The answer: the verdict in a sentence, robust accuracy between its bounds, what happened to whom, the gate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from markupsafe import Markup

from auditor.judgement import RuleRow, Verdict
from auditor.metrics import GOOD
from auditor.rates import MISSING
from auditor.record import Record, Status
from auditor.rule import PAIRED

from . import charts, svg, words
from .brief import Figure, brief
from .numbers import THIN, amount, at_most, count, interval, known, percent, real
from .text import shorten

ROBUST = "robust accuracy"
"""How rules about an upper bound begin."""
NAMED = 6
"""Attacks that the first screen names."""
SIGNS = {Verdict.PASSED: "good", Verdict.FAILED: "bad", Verdict.INCONCLUSIVE: "open"}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A line of the gate: its status with a sign, the rule, what came against what was asked, and why."""

    status: str
    sign: str
    mark: Markup
    rule: str
    value: str
    threshold: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StatusLine:
    """How many samples have one status, and what that means."""

    name: str
    swatch: Markup
    n: str
    share: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first screen. setting: what stands before the model, and with what it was attacked. sentence: the result in
    plain words. warnings: why it may not be final. legend: the statuses that occur. absent: those that do not, in a
    sentence. success: the share that fell."""

    setting: str
    sentence: str
    verdict: str
    sign: str
    mark: Markup
    meaning: str
    rules: list[Rule]
    warnings: list[str]
    figures: list[Figure]
    chart: Markup
    legend: list[StatusLine]
    absent: str
    success: str


def headline(record: Record) -> Headline:
    """The first screen of a record."""
    n, verdict = record.n, record.verdict
    sign = SIGNS[verdict] if verdict else "none"
    statuses = _statuses(record)
    return Headline(
        setting=_setting(record),
        sentence=_sentence(record),
        verdict=str(verdict) if verdict else "no verdict",
        sign=sign,
        mark=svg.mark(sign),
        meaning=words.VERDICTS[verdict] if verdict else words.NO_VERDICT,
        rules=[
            Rule(
                status=str(row.status),
                sign=SIGNS[row.status],
                mark=svg.mark(SIGNS[row.status]),
                rule=row.rule,
                value=_amount(row, row.value, n),
                threshold=_amount(row, row.threshold),
                reason=row.reason,
            )
            for row in record.gate.rules
        ],
        warnings=_warnings(record),
        figures=brief(record),
        chart=_chart(record),
        legend=[line for line in statuses if line.n != "0"],
        absent=_absent([line.name for line in statuses if line.n == "0"]),
        success=_success(record),
    )


def _amount(row: RuleRow, value: float | None, n: int = 0) -> str:
    """The value or the threshold of a rule: a distance, a difference in points, or a share; n: of so many samples."""
    if not known(value):
        return MISSING
    if row.metric == "distance":
        return amount(value)
    if row.bound == PAIRED:
        return f"{value * 100:+.4g} points"
    if not n:
        return f"{value * 100:g}{THIN}%"
    return at_most(value, row.n or n) if row.rule.startswith(ROBUST) else percent(value, row.n or n)


def _setting(record: Record) -> str:
    """What was attacked besides the file, and with what."""
    parts = []
    if record.model.defenses:
        parts.append(f"In front of the model: {', '.join(record.model.defenses)}.")
    source = shorten(PurePath(record.samples.source).name, 40)
    of = f" of {source}" if source else ""
    classes = f"{count(record.model.classes)} classes"
    total = record.samples.n
    parts.append(f"{count(total)} {'sample' if total == 1 else 'samples'}{of}, {classes}.")
    parts += drawn(record)
    played = [shorten(row.name, 24) for row in record.attacks if row.phase == "suite" and row.status == "ran"]
    if record.suite:
        stages = "1 stage" if len(played) == 1 else f"{len(played)} stages"
        parts.append(f"Attacked with the suite {shorten(record.suite)}, {stages}.")
    elif played:
        more = f" and {len(played) - NAMED} more" if len(played) > NAMED else ""
        parts.append(f"Attacked by {', '.join(played[:NAMED])}{more}.")
    return " ".join(parts)


def drawn(record: Record) -> list[str]:
    """What a sequential scan left out, and what that saved."""
    took = record.drawn
    if took is None:
        return []
    why = "which settled the gate" if took.settled else "which did not settle the gate"
    swept = (
        f"Cheap attacks ({', '.join(map(shorten, took.swept))}) swept over the samples first. " if took.swept else ""
    )
    full = f"{count(len(took.ids))} drawn in random order got the full budget, {why}"
    if not took.ids:
        full = "What they broke settled the gate, so none got the full budget"
    saved = f", at about {percent(took.cost, 100)} of the cost of attacking all" if known(took.cost) else ""
    return [f"{swept}{full}{saved}."]


def _sentence(record: Record) -> str:
    """The result as one would say it."""
    m, n = record.metrics, record.n
    wrong, broken = (m.statuses.get(status, 0) for status in (Status.MISCLASSIFIED, Status.BROKEN))
    attacked = broken + sum(m.statuses.get(status, 0) for status in GOOD)
    unknown = n - wrong - attacked
    if not known(m.robust_accuracy):
        return f"No attack judged any of the {count(n)} samples, so nothing can be said of its robustness."
    bound = f"robust accuracy is at most {percent(m.robust_accuracy, n, bound=True)}"
    if known(m.certified_accuracy) and m.certified_accuracy > 0:
        bound = (
            f"robust accuracy lies between {percent(m.certified_accuracy, n)} (proved) and "
            f"{percent(m.robust_accuracy, n, bound=True)} (not broken)"
        )
    if record.drawn is not None and record.drawn.swept and unknown:
        how = f"Attacks broke {count(broken)} of the {count(n - wrong)} samples that the model gets right"
        return f"{how} before the scan stopped, so {bound}."
    doubt = ", and even that is in doubt" if record.trust == "doubtful" else ""
    if not attacked:
        return f"The model gets all {count(wrong)} samples wrong without an attack, so {bound}."
    whom = f"{count(attacked)} samples that the model gets right"
    if attacked == 1:
        how = "Attacks broke the one sample" if broken else "No attack broke the one sample"
        how += " that the model gets right"
    elif broken == attacked:
        how = f"Attacks broke every one of the {whom}"
    elif broken:
        how = f"Attacks broke {count(broken)} of the {whom}"
    else:
        how = f"No attack broke any of the {whom}"
    return f"{how}, so {bound}{doubt}."


def _statuses(record: Record) -> list[StatusLine]:
    n = record.n
    lines = []
    for status, meaning in words.STATUSES.items():
        k = record.metrics.statuses.get(status, 0)
        share = percent(k / n, n) if n else MISSING
        lines.append(StatusLine(name=status, swatch=svg.swatch(status), n=count(k), share=share, meaning=meaning))
    return lines


def _absent(names: list[str]) -> str:
    """The statuses that no sample has, in a sentence; empty where there are none."""
    if not names:
        return ""
    text = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"No sample is {text}."


def _success(record: Record) -> str:
    m = record.metrics
    attacked = sum(m.statuses.get(status, 0) for status in (Status.BROKEN, *GOOD))
    if not known(m.attack_success_rate) and record.drawn is not None and record.drawn.swept:
        return "The scan stopped before it had tried everything on everyone, so there is no success rate."
    if not known(m.attack_success_rate):
        return "No sample was both classified correctly and attacked to the end, so there is no success rate."
    rate = percent(m.attack_success_rate, attacked)
    return f"Of the {count(attacked)} samples that it gets right, attacks broke {rate}: the attack success rate."


def _warnings(record: Record) -> list[str]:
    warnings = []
    if not record.complete:
        warnings.append("This scan did not finish; what follows is what it had found by then.")
    if record.samples.labels == "predicted":
        warnings.append(
            "The labels are the model's own predictions: this is the stability of its answers, not their accuracy."
        )
    unknown = sum(record.metrics.statuses.get(status, 0) for status in (Status.UNATTACKED, Status.ERROR))
    if unknown and known(record.metrics.robust_accuracy):
        what = "were not attacked or ended in an error"
        if record.drawn is not None and record.drawn.settled is not None:
            what = "did not get the full budget, since the gate was settled before"
        warnings.append(
            f"{count(unknown)} of {count(record.n)} samples {what}. Nothing is known of them, so the upper bound "
            "has to count them as robust."
        )
    elif unknown:
        warnings.append(
            f"{count(unknown)} of {count(record.n)} samples were not attacked or ended in an error, and no "
            "attack judged any other."
        )
    failed = [plugin.name for plugin in record.tool.plugins if plugin.error]
    if failed:
        warnings.append(f"Plugins that could not be used: {', '.join(failed)}.")
    return warnings


def _chart(record: Record) -> Markup:
    m, n = record.metrics, record.n
    parts = []
    for status in words.STATUSES:
        number = m.statuses.get(status, 0)
        share = number / n if n else 0.0
        parts.append(charts.Part(kind=status, share=share, title=f"{status}: {number} of {n} ({percent(share, n)})"))
    robust = real(m.robust_accuracy)
    span = m.robust_accuracy_interval if robust is not None else None
    label = "Samples by status: " + ", ".join(part.title for part in parts if part.share)
    if robust is not None:
        label += f". Robust accuracy {at_most(robust, n)}, 95{THIN}% interval {interval(span)}"
    return charts.bracket(parts, robust, span, real(m.certified_accuracy), real(m.clean_accuracy), n, label)

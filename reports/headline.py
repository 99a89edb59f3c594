"""The answer: the verdict in a sentence, robust accuracy between its bounds, what happened to whom, the gate."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.metrics import class_name, weakest
from auditor.rates import MISSING
from auditor.record import FindingStatus, Record, Severity, Status, Verdict

from . import svg, words
from .belief import trust_words
from .numbers import THIN, at_most, count, interval, known, percent, real
from .text import shorten
from .weakness import LEAST, no_weakest

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
class Figure:
    """One of the large numbers or words, with what it is called and how to read it. kind: how it is set."""

    name: str
    value: str
    note: str
    kind: str


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
    """The first screen. sentence: the record's own summary. warnings: why it may not be final."""

    sentence: str
    verdict: str
    sign: str
    mark: Markup
    meaning: str
    rules: list[Rule]
    warnings: list[str]
    figures: list[Figure]
    chart: Markup
    statuses: list[StatusLine]


def headline(record: Record) -> Headline:
    """The first screen of a record."""
    n, verdict = record.samples.n, record.verdict
    sign = SIGNS[verdict] if verdict else "none"
    return Headline(
        sentence=record.summary.replace(" %", f"{THIN}%")
        .replace("n = ", "n\xa0=\xa0")
        .replace("; clean ", "; clean\xa0")
        .replace(" → ", "\xa0→\xa0"),
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
                value=percent(row.value, n),
                threshold=f"{row.threshold * 100:g}{THIN}%" if known(row.threshold) else MISSING,
                reason=row.reason,
            )
            for row in record.gate.rules
        ],
        warnings=_warnings(record),
        figures=_figures(record),
        chart=_chart(record),
        statuses=[
            StatusLine(
                name=status,
                swatch=svg.swatch(status),
                n=count(record.metrics.statuses.get(status, 0)),
                share=percent(record.metrics.statuses.get(status, 0) / n, n) if n else MISSING,
                meaning=meaning,
            )
            for status, meaning in words.STATUSES.items()
        ],
    )


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
        warnings.append(
            f"{count(unknown)} of {count(record.samples.n)} samples were not attacked or ended in an error. "
            "Nothing is known of them, so the upper bound has to count them as robust."
        )
    elif unknown:
        warnings.append(
            f"{count(unknown)} of {count(record.samples.n)} samples were not attacked or ended in an error, and no "
            "attack judged any other."
        )
    failed = [plugin.name for plugin in record.tool.plugins if plugin.error]
    if failed:
        warnings.append(f"Plugins that could not be used: {', '.join(failed)}.")
    return warnings


def _figures(record: Record) -> list[Figure]:
    m, n = record.metrics, record.samples.n
    attacked = sum(m.statuses.get(s, 0) for s in (Status.BROKEN, Status.WITHSTOOD, Status.CERTIFIED))
    within = f"95{THIN}% interval {interval(m.robust_accuracy_interval, whole=True)}, n\xa0=\xa0{count(n)}."
    return [
        _figure(
            "Robust accuracy",
            at_most(m.robust_accuracy, n),
            f"{within} An upper bound: a stronger attack can only lower it.",
            f"No attack judged any of the {count(n)} samples.",
        ),
        _figure(
            "Clean accuracy", percent(m.clean_accuracy, n), "Without any attack, on the same samples.", "No samples."
        ),
        _figure(
            "Certified accuracy",
            f"≥{THIN}{percent(m.certified_accuracy, n)}" if known(m.certified_accuracy) else MISSING,
            "Proved robust: the lower bound.",
            "No certifier ran, so nothing is proved.",
        ),
        _figure(
            "Attack success rate",
            percent(m.attack_success_rate, attacked),
            f"Broken, of the {count(attacked)} samples that were right and attacked to the end.",
            "No sample was both classified correctly and attacked to the end.",
        ),
        _trust(record),
        _weakest(record),
    ]


def _figure(name: str, value: str, note: str, otherwise: str) -> Figure:
    missing = value == MISSING
    return Figure(name=name, value=value, note=otherwise if missing else note, kind="missing" if missing else "number")


def _trust(record: Record) -> Figure:
    raised = [f.title for f in record.findings if f.status is FindingStatus.RAISED and f.severity is not Severity.INFO]
    note = (
        "; ".join(raised) + "." if raised and record.trust == "doubtful" else trust_words(record).get(record.trust, "")
    )
    return Figure(name="Trust in the number", value=record.trust, note=note, kind=record.trust)


def _weakest(record: Record) -> Figure:
    row = weakest(record.by_class, LEAST)
    if row is None or row.turns_into is None:
        return Figure(name="Weakest class", value="none named", note=no_weakest(record), kind="missing")
    into = class_name(row.turns_into, tuple(record.class_names) if record.class_names else None)
    within = f"interval {interval(row.interval, whole=True)}, n\xa0=\xa0{count(row.n)}"
    return Figure(
        name="Weakest class",
        value=f"{shorten(row.name, 24)} → {shorten(into, 24)}",
        note=f"Robust accuracy {at_most(row.robust_accuracy, row.n)}, {within}.",
        kind="word",
    )


def _chart(record: Record) -> Markup:
    m, n = record.metrics, record.samples.n
    parts = []
    for status in words.STATUSES:
        number = m.statuses.get(status, 0)
        share = number / n if n else 0.0
        parts.append(svg.Part(kind=status, share=share, title=f"{status}: {number} of {n} ({percent(share, n)})"))
    robust = real(m.robust_accuracy)
    span = m.robust_accuracy_interval if robust is not None else None
    label = "Samples by status: " + ", ".join(part.title for part in parts if part.share)
    if robust is not None:
        label += f". Robust accuracy {at_most(robust, n)}, 95{THIN}% interval {interval(span)}"
    return svg.bracket(parts, robust, span, real(m.certified_accuracy), real(m.clean_accuracy), n, label)

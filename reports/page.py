"""The page: one audit after another, each as the sections that its templates show."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.record import Entry, Record

from . import svg, words
from .belief import Belief, belief
from .curves import Curve, curve
from .effort import Effort, effort
from .gallery import BUDGET, Gallery, gallery
from .headline import SIGNS, Headline, headline
from .numbers import at_most, count, interval, percent, real
from .provenance import Provenance, provenance
from .text import shorten
from .weakness import Weakness, weakness


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One record as it is shown. key: prefix of its anchors in the page."""

    key: str
    name: str
    threat: str
    headline: Headline
    belief: Belief
    weakness: Weakness
    gallery: Gallery
    effort: Effort
    curve: Curve | None
    provenance: Provenance


@dataclass(frozen=True, kw_only=True)
class SummaryLine:
    """One record in the table at the top of a page of several."""

    key: str
    name: str
    threat: str
    n: str
    clean: str
    robust: str
    interval: str
    chart: Markup
    trust: str
    verdict: str
    sign: str
    mark: Markup


@dataclass(frozen=True, kw_only=True)
class Page:
    """title: what the browser's tab says. summary: a line for each audit, where there are several."""

    title: str
    audits: list[Audit]
    summary: list[SummaryLine]
    version: str


def build(entries: list[Entry]) -> Page:
    """The page of these records, in their order."""
    budget = BUDGET // max(len(entries), 1)
    audits = [audit(entry, f"a{number}", budget) for number, entry in enumerate(entries, 1)]
    several = len(audits) != 1
    return Page(
        title=f"Robustness of {len(audits)} audits" if several else f"{audits[0].name}: robustness report",
        audits=audits,
        summary=[_line(entry.record, a) for entry, a in zip(entries, audits, strict=True)] if several else [],
        version=entries[0].record.tool.version if entries else "",
    )


def audit(entry: Entry, key: str = "a1", budget: int = BUDGET) -> Audit:
    """One record's sections. budget: characters that its pictures may take."""
    record = entry.record
    return Audit(
        key=key,
        name=shorten(record.model.name or record.model.path, 120),
        threat=words.describe(record.threat, blind=record.blind),
        headline=headline(record),
        belief=belief(record),
        weakness=weakness(record),
        gallery=gallery(entry, budget),
        effort=effort(record),
        curve=curve(record),
        provenance=provenance(record),
    )


def _line(record: Record, shown: Audit) -> SummaryLine:
    m, n = record.metrics, record.samples.n
    robust, bound = real(m.robust_accuracy), at_most(m.robust_accuracy, n)
    title = f"{shown.name}: robust accuracy {bound}, clean {percent(m.clean_accuracy, n)}"
    sign = SIGNS[record.verdict] if record.verdict else "none"
    return SummaryLine(
        key=shown.key,
        name=shown.name,
        threat=record.threat.name,
        n=count(n),
        clean=percent(m.clean_accuracy, n),
        robust=bound,
        interval=interval(m.robust_accuracy_interval),
        chart=svg.share_bar(robust, m.robust_accuracy_interval, real(m.clean_accuracy), title),
        trust=record.trust,
        verdict=str(record.verdict) if record.verdict else "no verdict",
        sign=sign,
        mark=svg.mark(sign),
    )

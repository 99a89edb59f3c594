"""The page: one audit after another, each as the sections that its templates show."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.entry import Entry
from auditor.record import Record

from . import words
from .belief import Belief, belief
from .effort import Effort, effort
from .gallery import BUDGET, Gallery, gallery
from .headline import Headline, headline
from .next_steps import StepLine, next_steps
from .numbers import THIN
from .provenance import Provenance, provenance
from .summary import Summary, summary
from .text import shorten
from .weakness import Weakness, weakness


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One record as it is shown. key: prefix of its anchors in the page. summary: the record's own sentence."""

    key: str
    name: str
    threat: str
    summary: str
    headline: Headline
    belief: Belief
    weakness: Weakness
    gallery: Gallery
    effort: Effort
    steps: list[StepLine]
    provenance: Provenance


@dataclass(frozen=True, kw_only=True)
class Page:
    """title: what the browser's tab says. description: the verdict in the record's own words. summary: the audits
    beside each other, where there are several."""

    title: str
    description: str
    audits: list[Audit]
    summary: Summary | None
    version: str


def build(entries: list[Entry]) -> Page:
    """The page of these records, in their order."""
    budget = BUDGET // max(len(entries), 1)
    called = _names(entries)
    titles = [
        f"{name}, {entry.record.threat.name}" if called.count(name) > 1 else name
        for entry, name in zip(entries, called, strict=True)
    ]
    audits = [
        audit(e, f"a{number}", budget, name) for number, (e, name) in enumerate(zip(entries, titles, strict=True), 1)
    ]
    several = len(audits) != 1
    records = [entry.record for entry in entries]
    return Page(
        title=f"Robustness of {len(audits)} audits" if several else f"{audits[0].name}: robustness report",
        description=audits[0].summary if len(audits) == 1 else "",
        audits=audits,
        summary=summary(records, [a.key for a in audits], called) if len(audits) > 1 else None,
        version=records[0].tool.version if records else "",
    )


def audit(entry: Entry, key: str = "a1", budget: int = BUDGET, name: str = "") -> Audit:
    """One record's sections. budget: characters that its pictures may take. name: its heading, the model's name if
    empty."""
    record = entry.record
    return Audit(
        key=key,
        name=name or _name(record),
        threat=words.describe(record.threat, blind=record.blind),
        summary=_summary(record),
        headline=headline(record),
        belief=belief(record),
        weakness=weakness(record),
        gallery=gallery(entry, budget),
        effort=effort(record),
        steps=next_steps(record),
        provenance=provenance(record),
    )


def _name(record: Record) -> str:
    return shorten(record.model.name or record.model.path, 120)


def _names(entries: list[Entry]) -> list[str]:
    """What each audit is called: by its model, with a number where another has the same model and threat."""
    called = [(_name(entry.record), entry.record.threat.name) for entry in entries]
    return [
        f"{name} ({number})" if called.count((name, threat)) > 1 else name
        for number, (name, threat) in enumerate(called, 1)
    ]


def _summary(record: Record) -> str:
    return (
        record.summary.replace(" %", f"{THIN}%")
        .replace("n = ", "n\xa0=\xa0")
        .replace("; clean ", "; clean\xa0")
        .replace(" → ", "\xa0→\xa0")
    )

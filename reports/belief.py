"""Can the number be believed? Masking and trust in words, how the number came about, and what each check saw."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.answers import WORDS as ANSWERS
from auditor.judgement import Verdict
from auditor.obscurity import REQUIRED, doubts, raised
from auditor.record import Finding, FindingStatus, Record, Severity

from . import svg, words
from .fidelity import Twin, twin
from .numbers import amount, known, passes
from .story import Story, story

ORDER = (FindingStatus.RAISED, FindingStatus.INCONCLUSIVE, FindingStatus.CLEAR)
WEIGHT = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A word of the record with its sentence. sign: `good`, `bad` or `open`."""

    name: str
    word: str
    sign: str
    mark: Markup
    meaning: str


@dataclass(frozen=True, kw_only=True)
class FindingLine:
    """One check's finding. measured: value against threshold in words, empty where the check is no number. technique:
    of MITRE ATLAS. answers: what was tried because of it. cost: of the check's own experiments; empty where none."""

    id: str
    status: str
    sign: str
    mark: Markup
    severity: str
    severity_meaning: str
    title: str
    measured: str
    explanation: str
    advice: str
    source: str
    technique: str
    answers: str
    cost: str


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """Findings that were not raised, of one status, behind one line. open: whether they are checks that can't be made,
    and not those that are clear."""

    title: str
    open: bool
    findings: list[FindingLine]


@dataclass(frozen=True, kw_only=True)
class Belief:
    """statements: trust and masking. findings: those that were raised; quiet: the others."""

    statements: list[Statement]
    story: Story
    findings: list[FindingLine]
    quiet: list[Quiet]
    twin: Twin


def belief(record: Record) -> Belief:
    """Everything that bears on whether the reported number can be believed."""
    return Belief(
        statements=[
            _statement("Trust in the number", record.trust, trust_words(record), good="sound", bad="doubtful"),
            _statement("Masking by the model", record.masking, words.MASKING, good="none", bad="present"),
        ],
        story=story(record),
        findings=[_finding(f, answered=record.trust == "sound") for f in sorted(raised(record.findings), key=_rank)],
        quiet=_quiet(record.findings),
        twin=twin(record),
    )


def trust_words(record: Record) -> dict[str, str]:
    """What each word for trust means for this record; one that is unknown says what is missing."""
    missing = [f.title for f in record.findings if f.id in REQUIRED and f.status is FindingStatus.INCONCLUSIVE]
    unknown = words.TRUST["unknown"]
    if record.drawn is not None and record.drawn.settled is Verdict.FAILED:
        return words.TRUST | {"unknown": "Not asked: what is broken needs no trust, and the scan stopped there."}
    if missing:
        unknown += " Not known: " + "; ".join(f"whether {title[0].lower()}{title[1:]}" for title in missing) + "."
    sound = words.ANSWERED if doubts(record.findings) else words.TRUST["sound"]
    if record.blind:
        sound += " It is what unrelated attacks without gradients agree on."
    return words.TRUST | {"sound": sound, "unknown": unknown}


def _statement(name: str, word: str, meanings: dict[str, str], *, good: str, bad: str) -> Statement:
    sign = "good" if word == good else "bad" if word == bad else "open"
    return Statement(name=name, word=word, sign=sign, mark=svg.mark(sign), meaning=meanings.get(word, ""))


QUIET = {
    FindingStatus.INCONCLUSIVE: ("{n} check could not be made here", "{n} checks could not be made here"),
    FindingStatus.CLEAR: ("{n} check is clear", "{n} checks are clear"),
}


def _quiet(findings: list[Finding]) -> list[Quiet]:
    """The findings that were not raised, by status."""
    groups = []
    for status, (one, many) in QUIET.items():
        found = [_finding(f) for f in sorted(findings, key=_rank) if f.status is status]
        if found:
            groups.append(
                Quiet(
                    title=(one if len(found) == 1 else many).format(n=len(found)),
                    open=status is FindingStatus.INCONCLUSIVE,
                    findings=found,
                )
            )
    return groups


def _rank(finding: Finding) -> tuple[int, int, str]:
    return ORDER.index(finding.status), WEIGHT.index(finding.severity), finding.id


def _finding(finding: Finding, *, answered: bool = False) -> FindingLine:
    sign = {FindingStatus.CLEAR: "good", FindingStatus.RAISED: "bad"}.get(finding.status, "open")
    if finding.status is FindingStatus.RAISED and finding.severity is Severity.INFO:
        sign = "none"
    if finding.status is FindingStatus.RAISED and finding.answers and answered:
        sign = "open"
    return FindingLine(
        id=finding.id,
        status=f"{words.FINDINGS[finding.status]}{', answered' if sign == 'open' and answered else ''}",
        sign=sign,
        mark=svg.mark(sign),
        severity=str(finding.severity),
        severity_meaning=words.SEVERITIES[finding.severity],
        title=finding.title,
        measured=_measured(finding),
        explanation=finding.explanation,
        advice=finding.advice,
        source=finding.source,
        technique=finding.technique,
        answers=", ".join(ANSWERS.get(name, name) for name in finding.answers),
        cost=passes(finding.spent),
    )


def _measured(finding: Finding) -> str:
    if not known(finding.value):
        return ""
    value = f"Measured {amount(finding.value)}"
    return f"{value}, threshold {amount(finding.threshold)}" if known(finding.threshold) else value

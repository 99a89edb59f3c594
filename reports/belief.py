"""Can the number be believed? Masking and trust in words, what each check saw, how true the twin is."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from auditor.answers import WORDS as ANSWERS
from auditor.obscurity import REQUIRED, doubts, raised
from auditor.rates import MISSING
from auditor.record import Fidelity, Finding, FindingStatus, Record, Severity

from . import svg, words
from .numbers import amount, count, known, passes, percent
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
class FidelityLine:
    """The twin against the file on one set of inputs."""

    inputs: str
    n: str
    agreement: str
    difference: str


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """An operator whose backward pass in the twin is not its derivative."""

    operator: str
    name: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """Findings that were not raised, of one status, behind one line: checks that are clear, or that can't be made."""

    title: str
    findings: list[FindingLine]


@dataclass(frozen=True, kw_only=True)
class Belief:
    """statements: trust and masking. findings: those that were raised; quiet: the others. twin: what stood in for the
    model where gradients were needed; advice: what to do where nothing could."""

    statements: list[Statement]
    story: Story
    findings: list[FindingLine]
    quiet: list[Quiet]
    twin: str
    advice: str
    stand_ins: list[StandIn]
    fidelity: list[FidelityLine]
    fidelity_note: str


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
        twin=_twin(record),
        advice=words.NO_TWIN if record.model.twin == "none" and record.threat.access == "gradient" else "",
        stand_ins=[_stand_in(text) for text in record.model.surrogates],
        fidelity=_fidelity(record.fidelity),
        fidelity_note=_fidelity_note(record),
    )


def trust_words(record: Record) -> dict[str, str]:
    """What each word for trust means for this record; one that is unknown says what is missing."""
    missing = [f.title for f in record.findings if f.id in REQUIRED and f.status is FindingStatus.INCONCLUSIVE]
    unknown = words.TRUST["unknown"]
    if missing:
        unknown += " Not known: " + "; ".join(f"{title[0].lower()}{title[1:]}" for title in missing) + "."
    sound = words.ANSWERED if doubts(record.findings) else words.TRUST["sound"]
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
            groups.append(Quiet(title=(one if len(found) == 1 else many).format(n=len(found)), findings=found))
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


def _twin(record: Record) -> str:
    model = record.model
    text = f"Attacks searched on {words.TWINS.get(model.twin, model.twin)}; the file itself judged every candidate."
    if record.threat.access != "gradient":
        return f"The audit grants {record.threat.access} access only, so attacks got no gradients of the file."
    if model.twin == "none":
        text = f"The file has {words.TWINS['none']}"
        text += f": {model.twin_reason.rstrip('.')}." if model.twin_reason else "."
    if model.surrogates:
        text += " Where a derivative is zero or does not exist, attacks followed these stand-ins, backwards only:"
    return text


def _stand_in(text: str) -> StandIn:
    operator, _, name = text.partition(": ")
    return StandIn(operator=operator, name=name, meaning=words.surrogate(name))


def _fidelity(measured: Fidelity | None) -> list[FidelityLine]:
    if measured is None:
        return []
    lines = [_line("Clean samples", measured.n, measured.label_agreement, measured.max_difference)]
    if measured.adversarial_n:
        lines.append(
            _line(
                "Verified adversarial examples",
                measured.adversarial_n,
                measured.adversarial_label_agreement,
                measured.adversarial_max_difference,
            )
        )
    return lines


def _line(inputs: str, n: int, agreement: float | None, difference: float | None) -> FidelityLine:
    return FidelityLine(inputs=inputs, n=count(n), agreement=percent(agreement, n), difference=amount(difference))


def _fidelity_note(record: Record) -> str:
    measured = record.fidelity
    if measured is None:
        return f"Fidelity is {MISSING}: there is no twin to compare."
    where = "below it" if measured.low else "not below it"
    text = (
        f"The largest score seen is {amount(measured.scale)}. Under {percent(measured.floor, 1)} agreement on clean "
        f"samples white-box results are doubtful; this twin is {where}."
    )
    if measured.adversarial_n and (measured.adversarial_label_agreement or 0) < 1:
        text += " Adversarial examples lie close to a decision boundary, where small differences turn labels."
    return text

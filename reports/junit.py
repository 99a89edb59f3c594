"""JUnit XML for build servers (Jenkins, GitLab, Azure Pipelines): a suite for each record, a case for each rule.

Takes milliseconds. A rule that failed is a failure. One that is inconclusive is an error: to these servers a skipped
case is a green one, and what can't be decided must not pass. A record without any rule has one skipped case.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any
from xml.etree import ElementTree as ET

from auditor.entry import Entry
from auditor.hookspecs import hookimpl
from auditor.judgement import RuleRow, Verdict
from auditor.obscurity import doubts
from auditor.record import Finding, Record

from .judgements import NO_RULE, judgements, line, numbered, sentence, titles

FILENAME = "junit.xml"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
FAILURE, ERROR, SKIPPED = "failure", "error", "skipped"
OUTCOMES = {Verdict.FAILED: FAILURE, Verdict.INCONCLUSIVE: ERROR}
"""The element that says how a rule was judged; none where it passed."""


def render(entries: list[Entry]) -> str:
    """The records as one document that holds to junit-10.xsd of Jenkins's xUnit plugin. The same records give the same
    text."""
    root = ET.Element("testsuites", name="advaudit")
    for title, entry in zip(titles(entries), entries, strict=True):
        _suite(root, title, entry.record)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", _seconds(sum(_spent(entry.record) for entry in entries)))
    ET.indent(root)
    return f"{DECLARATION}{ET.tostring(root, encoding='unicode')}\n"


def _suite(root: ET.Element, title: str, record: Record) -> None:
    """A record: what was measured as properties, its rules as cases, and what casts doubt as output."""
    suite = ET.SubElement(root, "testsuite", name=title)
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(record):
        ET.SubElement(properties, "property", name=name, value=value)
    _cases(suite, title, record)
    counts = {kind: len(suite.findall(f"testcase/{kind}")) for kind in (FAILURE, ERROR, SKIPPED)}
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(counts[FAILURE]))
    suite.set("errors", str(counts[ERROR]))
    suite.set("skipped", str(counts[SKIPPED]))
    suite.set("time", _seconds(_spent(record)))
    if told := [_doubt(finding) for finding in doubts(record.findings)]:
        ET.SubElement(suite, "system-out").text = "\n".join(told)


def _cases(suite: ET.Element, title: str, record: Record) -> None:
    """A case for each rule. The class name is the suite's, since GitLab takes two cases of one class and name for the
    same one; the first case has the time of the whole scan, for servers that add up cases."""
    rows = judgements(record)
    if not rows:
        case = ET.SubElement(suite, "testcase", classname=title, name=NO_RULE, time=_seconds(_spent(record)))
        ET.SubElement(case, SKIPPED).text = NO_RULE  # older schemas of Jenkins know no message here
        return
    for place, (name, row) in enumerate(zip(numbered(line(row.rule) for row in rows), rows, strict=True)):
        spent = 0.0 if place else _spent(record)
        case = ET.SubElement(suite, "testcase", classname=title, name=name, time=_seconds(spent))
        _judged(case, row)


def _judged(case: ET.Element, row: RuleRow) -> None:
    if kind := OUTCOMES.get(row.status):
        told = ET.SubElement(case, kind, type=row.status.value, message=line(row.reason))
        told.text = sentence(row)


def _properties(record: Record) -> Iterable[tuple[str, str]]:
    """What was measured, numbers in full; what was not computed is left out."""
    m = record.metrics
    low, high = m.robust_accuracy_interval or (None, None)
    told = {
        "robust_accuracy": m.robust_accuracy,
        "robust_low": low,
        "robust_high": high,
        "n": record.n,
        "clean_accuracy": m.clean_accuracy,
        "certified_accuracy": m.certified_accuracy,
        "trust": record.trust,
        "masking": record.masking,
        "model": record.model.path,
        "plan_digest": record.plan_digest,
    }
    return [(name, line(str(value))) for name, value in told.items() if value is not None]


def _doubt(finding: Finding) -> str:
    """A finding in one line."""
    return line(f"{finding.severity.value} {finding.id}: {finding.title}. {finding.explanation} {finding.advice}")


def _spent(record: Record) -> float:
    return record.seconds if isfinite(record.seconds) and record.seconds > 0 else 0.0


def _seconds(value: float) -> str:
    """Seconds as surefire writes them, never with an exponent."""
    return f"{value:.3f}"


@hookimpl
def register_reporters(register: Any) -> None:
    register("junit", render, FILENAME)

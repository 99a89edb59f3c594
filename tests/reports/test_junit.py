"""JUnit XML: nothing passes that did not, no name breaks the file, and it holds to what Jenkins's schema says.

`check` states junit-10.xsd of Jenkins's xUnit plugin (its elements, attributes and forms) in assertions of our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from auditor.reports.junit import render
from records import finding, outcomes, record, threat_info

from auditor.entry import Entry
from auditor.gate import judged
from auditor.judgement import Gate, RuleRow, Verdict
from auditor.record import FindingStatus, Record, Severity
from auditor.rule import Policy, Rule

Make = Callable[..., Entry]
HOSTILE = [
    "a]]>b<c>&\"'",
    "\x00\x08\x0b\x1b[2J\x7f\ufffe\uffff",
    "\ud800",
    "\u202egnp",
    "<!-- &x; --><![CDATA[",
    "two\nlines\ttab",
]
TEXT = {"failure", "error", "skipped", "system-out", "system-err"}
INSIDE = {
    "testsuites": {"testsuite"},
    "testsuite": {"testsuite", "properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "property": set(),
    "testcase": TEXT,
}
REQUIRED = {
    "testsuite": {"name", "tests", "failures", "errors"},
    "property": {"name", "value"},
    "testcase": {"name"},
}
ALLOWED = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {
        "name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp", "hostname", "id", "package",
        "file", "log", "url",
    },
    "property": {"name", "value"},
    "testcase": {"name", "time", "classname", "group"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"type", "message"},
}  # fmt: skip
SUREFIRE = re.compile(r"[0-9]*(\.[0-9]*)?")


def check(text: str) -> ET.Element:
    """The document, if it is one by the schema, and its counts are those of its cases."""
    root = ET.fromstring(text.encode())
    assert root.tag in ("testsuites", "testsuite")
    for element in root.iter():
        assert element.tag in INSIDE or element.tag in TEXT, element.tag
        assert {child.tag for child in element} <= INSIDE.get(element.tag, set())
        assert REQUIRED.get(element.tag, set()) <= set(element.attrib) <= ALLOWED.get(element.tag, set())
        if element.tag not in TEXT:
            assert not (element.text or "").strip()
        assert not (element.tail or "").strip()
        if element.tag in ("testsuites", "testsuite"):
            assert SUREFIRE.fullmatch(element.get("time", ""))
            for name in ("failure", "error"):
                assert element.get(f"{name}s") == str(len(element.findall(f".//testcase/{name}")))
            assert element.get("tests") == str(len(element.findall(".//testcase")))
        if element.tag == "testsuite":
            assert element.get("skipped") == str(len(element.findall("testcase/skipped")))
    return root


def row(rule: str, status: Verdict, reason: str = "because") -> RuleRow:
    return RuleRow(rule=rule, value=0.25, threshold=0.5, status=status, reason=reason)


def made(*rows: RuleRow, **changes: Any) -> Entry:
    """A record with these rules; without any it has no verdict."""
    fields: dict[str, Any] = {"gate": Gate(rules=list(rows)), "verdict": rows[0].status if rows else None}
    return Entry(record(outcomes("wwb"), **(fields | changes)), Path())


def cases(text: str) -> list[tuple[str | None, list[str]]]:
    """The name of each case, and the elements in it."""
    return [(case.get("name"), [child.tag for child in case]) for case in check(text).iter("testcase")]


def test_each_rule_is_a_case_that_passes_only_where_the_rule_did() -> None:
    rules = [row("a", Verdict.PASSED), row("b", Verdict.FAILED), row("c", Verdict.INCONCLUSIVE)]
    text = render([made(*rules)])
    assert cases(text) == [("a", []), ("b", ["failure"]), ("c", ["error"])]
    root = check(text)
    assert dict(root.attrib) == {"name": "advaudit", "tests": "3", "failures": "1", "errors": "1", "time": "1.000"}
    (failure,) = root.iter("failure")
    assert failure.attrib == {"type": "failed", "message": "because"}
    assert failure.text == "b: failed, because (value 0.25, asked 0.5)"
    (error,) = root.iter("error")
    assert error.get("type") == "inconclusive"


@pytest.mark.parametrize(
    ("letters", "rule", "inside"),
    [
        ("w" * 40, Rule(metric="robust_accuracy", at_least=0.5), []),
        ("b" * 40, Rule(metric="robust_accuracy", at_least=0.5), ["failure"]),
        ("w" * 5, Rule(metric="robust_accuracy", at_least=0.5), ["error"]),
        ("u" * 40, Rule(metric="robust_accuracy", at_least=0.5), ["error"]),
        ("w" * 40, Rule(metric="certified_accuracy", at_least=0.5), ["error"]),
    ],
)
def test_what_the_gate_judges_is_what_the_server_sees(letters: str, rule: Rule, inside: list[str]) -> None:
    found = judged(record(outcomes(letters)), Policy(rules=[rule]))
    assert (found.verdict == Verdict.PASSED) == (not inside)
    assert cases(render([Entry(found, Path())])) == [(rule.text, inside)]


def test_an_undecided_rule_tells_between_what_it_lies_and_what_would_decide_it() -> None:
    rules = [
        msgspec.structs.replace(row(name, status), interval=(0.125, 0.75), needed=240)
        for name, status in (("a", Verdict.INCONCLUSIVE), ("b", Verdict.FAILED))
    ]
    root = check(render([made(*rules)]))
    assert [error.text for error in root.iter("error")] == [
        "a: inconclusive, because (value 0.25, asked 0.5, low 0.125, high 0.75, needed 240)"
    ]
    assert [failure.text for failure in root.iter("failure")] == ["b: failed, because (value 0.25, asked 0.5)"]


def test_no_rule_is_skipped_and_not_passed() -> None:
    text = render([made()])
    assert cases(text) == [("no rule was given", ["skipped"])]
    assert check(text)[0].get("skipped") == "1"


def test_rules_that_hold_for_no_class_do_not_pass() -> None:
    found = judged(
        record([], model=msgspec.structs.replace(record([]).model, classes=0)),
        Policy(rules=[Rule(metric="robust_accuracy", at_least=0.5, each_class=True)]),
    )
    assert found.gate.rules == []
    assert cases(render([Entry(found, Path())])) == [("the gate", ["error"])]


def test_a_scan_that_has_not_ended_does_not_pass() -> None:
    assert cases(render([made(row("a", Verdict.PASSED), complete=False)])) == [("a", []), ("the scan", ["error"])]
    assert cases(render([made(complete=False)])) == [("the scan", ["error"])]


def test_the_numbers_stand_in_properties(entry: Make) -> None:
    found = entry()
    told = {p.get("name"): p.get("value") for p in check(render([found])).iter("property")}
    m = found.record.metrics
    assert m.robust_accuracy_interval is not None
    low, high = m.robust_accuracy_interval
    assert [float(told[name] or "") for name in ("robust_accuracy", "robust_low", "robust_high", "clean_accuracy")] == [
        m.robust_accuracy, low, high, m.clean_accuracy,
    ]  # fmt: skip
    assert told["n"] == "120"
    assert (told["trust"], told["masking"], told["plan_digest"]) == ("doubtful", "present", found.record.plan_digest)
    assert "certified_accuracy" not in told


def test_findings_that_cast_doubt_are_told() -> None:
    findings = [
        finding("seen", FindingStatus.RAISED),
        finding("worst", FindingStatus.RAISED, Severity.CRITICAL),
        finding("idle", FindingStatus.RAISED, Severity.INFO),
        finding("quiet", FindingStatus.CLEAR),
        finding("open", FindingStatus.INCONCLUSIVE),
    ]
    (out,) = check(render([made(findings=findings)])).iter("system-out")
    assert out.text == "warning seen: title of seen.\ncritical worst: title of worst."
    assert not list(check(render([made(findings=findings[2:])])).iter("system-out"))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(83.2, "83.200"), (1e7, "10000000.000"), (float("nan"), "0.000"), (-1.0, "0.000")]
)
def test_the_time_is_told_once(seconds: float, shown: str) -> None:
    root = check(render([made(row("a", Verdict.PASSED), row("b", Verdict.PASSED), seconds=seconds)]))
    assert [case.get("time") for case in root.iter("testcase")] == [shown, "0.000"]
    assert root.get("time") == root[0].get("time") == shown


def hostile(word: str) -> Entry:
    """A record with this word wherever a stranger's text can come from."""
    base = record([])
    return made(
        row(word, Verdict.FAILED, word),
        row(word, Verdict.INCONCLUSIVE, word),
        model=msgspec.structs.replace(base.model, name=word, path=word),
        threat=threat_info(name=word),
        findings=[msgspec.structs.replace(finding(word, FindingStatus.RAISED), title=word, explanation=word)],
        trust=word,
        masking=word,
        plan_digest=word,
    )


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_words_stay_words(word: str) -> None:
    text = render([hostile(word)])
    root = check(text)
    shape = [element.tag for element in check(render([hostile("harmless")])).iter()]
    assert [element.tag for element in root.iter()] == shape
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]", text)
    names = [case.get("name") for case in root.iter("testcase")]
    assert names[1] == f"{names[0]} (2)"
    if word == HOSTILE[0]:
        assert names[0] == word
    if word == HOSTILE[1]:
        assert names[0] == "\\u0000\\u0008\\u000b\\u001b[2J\\u007f\\ufffe\\uffff"


def test_several_records_are_suites_of_their_own() -> None:
    one, other = made(row("a", Verdict.PASSED)), made(row("a", Verdict.FAILED), threat=threat_info(name="l2 0.5"))
    root = check(render([one, other, one]))
    assert [suite.get("name") for suite in root] == ["model linf 8/255", "model l2 0.5", "model linf 8/255 (2)"]
    # GitLab takes cases of one class and name for one: no two may have both
    pairs = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(pairs)) == len(pairs)
    assert (root.get("tests"), root.get("failures"), root.get("time")) == ("3", "1", "3.000")


def test_the_same_records_give_the_same_text(entry: Make) -> None:
    found = [entry(), entry(seed=1)]
    assert render(found) == render(found)
    again = [Entry(msgspec.json.decode(msgspec.json.encode(one.record), type=Record), Path("x")) for one in found]
    assert render(again) == render(found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' errors="1"', ""),
        (' errors="1"', ' errors="0"'),
        ("<failure", "<fault"),
        (' time="1.000">\n    <prop', ' time="1e3">\n    <prop'),
        ("<property name", "<property nom"),
        ('classname="', 'class="'),
    ],
)
def test_the_check_notices_what_the_schema_forbids(old: str, new: str) -> None:
    text = render([made(row("b", Verdict.FAILED), row("c", Verdict.INCONCLUSIVE))])
    assert old in text
    with pytest.raises((AssertionError, ET.ParseError)):
        check(text.replace(old, new))

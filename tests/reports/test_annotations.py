"""Annotations: one command a rule at its line, those that matter most, and no word that ends one or begins another."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from auditor.reports.annotations import command, render
from records import judged_entry as made
from records import outcomes, record, threat_info
from records import rule_row as row

from auditor.config import read_config
from auditor.entry import Entry
from auditor.gate import judged
from auditor.judgement import Gate, Verdict

FORM = re.compile(r"::(error|warning|notice)(?: ((?:\w+=[^,:]*)(?:,\w+=[^,:]*)*))?::(.*)")
"""As the runner takes a line apart: a name, properties, a message."""
HOSTILE = [
    "a%b", "a\rb\nc", "::error::x", "a,line=9", "a::b", "%0A::warning::x", "##[error]x", "\x00\x1b[2J\u202e", "\ud800",
]  # fmt: skip


def unescaped(text: str, table: dict[str, str]) -> str:
    """What the runner makes of an escaped value (its StringUtil: `%25` last)."""
    for escaped, shown in table.items():
        text = text.replace(escaped, shown)
    return text


DATA = {"%0D": "\r", "%0A": "\n", "%25": "%"}
PROPERTY = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}


def read(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The commands, as the runner understands them."""
    found = []
    for told in text.splitlines():
        match = FORM.fullmatch(told)
        assert match, told
        assert "##[" not in told
        pairs = [pair.split("=", 1) for pair in (match[2] or "").split(",") if pair]
        found.append((match[1], {k: unescaped(v, PROPERTY) for k, v in pairs}, unescaped(match[3], DATA)))
    return found


def test_each_rule_is_told_at_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ci").mkdir()
    policy = Path("ci/policy.toml")
    policy.write_text(
        '[[gate]]\nmetric = "clean_accuracy"\nat_least = 0.5\n\n'
        '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.5\n\n'
        '[[gate]]\nmetric = "certified_accuracy"\nat_least = 0.5\n',
        encoding="utf-8",
    )
    found = judged(record(outcomes("b" * 40), config="audit.toml"), read_config(policy).rules(policy, 0.9))
    told = read(render([Entry(found, Path())]))
    at = [(kind, p["file"], p["line"], p["title"]) for kind, p, _ in told]
    assert at == [
        ("error", "ci/policy.toml", "5", "Failed: robust accuracy at least 0.5"),
        ("error", "model.onnx", "1", "Failed: robust accuracy at least 0.9"),  # of the command line
        ("warning", "ci/policy.toml", "9", "Inconclusive: certified accuracy at least 0.5"),
        ("notice", "ci/policy.toml", "1", "Passed: clean accuracy at least 0.5"),
    ]
    assert told[0][2] == "model linf 8/255: it is at most 0.0000 on 40 samples"


def test_the_form_is_that_of_the_toolkit() -> None:
    assert command("error", "50% a: b, c\r\nd", file="a,b:c%", line="1", title="") == (
        "::error file=a%2Cb%3Ac%25,line=1::50%25 a: b, c%0D%0Ad"
    )
    assert command("notice", "x") == "::notice::x"


def test_the_worst_come_first() -> None:
    rows = [
        row("near", Verdict.FAILED, value=0.4),
        row("passed", Verdict.PASSED, value=0.6),
        row("open", Verdict.INCONCLUSIVE),
        row("far", Verdict.FAILED, value=0.0),
        row("farther still", Verdict.FAILED, value=0.01, threshold=1.0),
    ]
    assert [p["title"].split(": ")[1] for _, p, _ in read(render([made(*rows)]))] == [
        "far", "farther still", "near", "open", "passed",
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "lines", "last"), [(10, 10, "rule 0"), (11, 10, "2 more rules failed")])
def test_no_more_than_github_shows(n: int, lines: int, last: str) -> None:
    told = read(render([made(*(row(f"rule {i}", Verdict.FAILED, value=0.4 - 0.01 * i) for i in range(n)))]))
    assert len(told) == lines
    assert told[0][1]["title"] == f"Failed: rule {n - 1}"
    assert told[-1][1]["title"].endswith(last)


def test_kinds_are_cut_apart() -> None:
    rows = [row(f"{status} {i}", status) for status in Verdict for i in range(1000)]
    told = read(render([made(*rows), made(row("last", Verdict.PASSED))]))
    kinds = [kind for kind, _, _ in told]
    assert [kinds.count(kind) for kind in ("error", "warning", "notice")] == [10, 10, 10]
    assert kinds == sorted(kinds, key=["error", "warning", "notice"].index)
    assert [told[place][2] for place in (9, 19, 29)] == [
        "991 more rules failed; the report has them all.",
        "991 more rules are inconclusive; the report has them all.",
        "992 more rules passed; the report has them all.",
    ]


def test_what_says_nothing_is_no_pass() -> None:
    assert read(render([made()])) == [("notice", {"title": "No rule was given"}, "advaudit: no rule was given")]
    assert [kind for kind, _, _ in read(render([made(row("a", Verdict.PASSED), complete=False)]))] == [
        "warning", "notice",
    ]  # fmt: skip
    assert [kind for kind, _, _ in read(render([made(verdict=Verdict.INCONCLUSIVE)]))] == ["warning"]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_words_stay_words(word: str) -> None:
    base = record([])
    entry = made(
        row(word, Verdict.FAILED, reason=word),
        gate=Gate(rules=[row(word, Verdict.FAILED, reason=word)], policy=word),
        model=msgspec.structs.replace(base.model, name=word),
        threat=threat_info(name=word),
    )
    text = render([entry])
    assert len(text.splitlines()) == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    ((kind, properties, message),) = read(text)
    assert kind == "error"
    assert properties.keys() == {"file", "line", "title"}
    assert properties["line"] == "1"
    if word in ("a%b", "a,line=9", "a::b"):
        assert properties["file"] == word
        assert properties["title"] == f"Failed: {word}"
        assert message == f"{word} {word}: {word}"


def test_long_words_are_cut() -> None:
    ((_, properties, message),) = read(render([made(row("r" * 5000, Verdict.FAILED, reason="y" * 5000))]))
    assert len(properties["title"]) <= 200
    assert len(message) <= 1000

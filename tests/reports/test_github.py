"""The job summary: verdict first, short, never more than GitHub takes, and no word is markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from auditor.reports import github
from auditor.reports.github import LARGEST, ROOM, render
from records import finding, outcomes, record, threat_info
from records import judged_entry as made
from records import rule_row as row

from auditor.entry import Entry
from auditor.gate import judged
from auditor.judgement import Drawn, Gate, Verdict
from auditor.record import FindingStatus, Record, Step
from auditor.rule import Policy, Rule
from benchmarks.synthetic import Case, synthetic

Make = Callable[..., Entry]


def spaced(text: str) -> str:
    return text.replace("\u202f", " ").replace("\xa0", " ").replace("\u2060", "")


def test_verdict_rules_numbers_classes_doubts_and_what_next_in_this_order(entry: Make) -> None:
    one = entry(n=600, classes=10, names=[f"class {i}" for i in range(10)], hardness={}, evidence=False)
    text = spaced(render([one]))
    lines = text.splitlines()
    assert lines[0] == "## Failed: robust.onnx linf 8/255"
    assert one.record.summary in text
    parts = [
        "| failed | robust accuracy at least 0.5 |", f"| ≤ {(one.record.metrics.robust_accuracy or 0) * 100:.1f} % |",
        "| class 0 |", "5 more classes are left out here.", "- Doubt: **Title of gradient\\_free**.",
        "Next: **Harden the weakest class first.** It loses the most.", "```sh\nadvaudit harden robust.onnx\n```",
    ]  # fmt: skip
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert len(lines) <= 36


def test_every_table_has_as_many_cells_in_each_row(entry: Make) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", render([entry(names=["a|b", "c\nd", "`e`"])]), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_what_failed_is_told_first_and_what_is_cut_is_counted() -> None:
    rows = [row(f"passed {i}", Verdict.PASSED) for i in range(8)]
    rows += [row(f"open {i}", Verdict.INCONCLUSIVE) for i in range(4)]
    rows += [row("near", Verdict.FAILED, value=0.4), row("far", Verdict.FAILED, value=0.1)]
    text = render([made(*rows)])
    told = re.findall(r"^\| (\w+) \| ([\w ]+) \|", text, re.MULTILINE)
    assert told[1:5] == [("failed", "far"), ("failed", "near"), ("inconclusive", "open 0"), ("inconclusive", "open 1")]
    assert "4 more rules are left out here: 4 passed." in text


def test_it_stays_below_what_github_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROOM < LARGEST == 1024**2
    big = synthetic(Case(samples=20_000, classes=1000, pictures=None))
    names = [f"a rather long name of a class, number {label} 名" * 3 for label in range(1000)]
    rows = [
        row(f"robust accuracy of {name} at least 0.5", Verdict.FAILED, reason="it is at most 0.1 on 20 samples " * 40)
        for name in names
    ]
    big = msgspec.structs.replace(
        big,
        class_names=names,
        by_class=[msgspec.structs.replace(own, name=name) for own, name in zip(big.by_class, names, strict=True)],
        gate=Gate(rules=rows),
        verdict=Verdict.FAILED,
    )
    text = render([Entry(big, Path())])
    assert len(text.encode()) < 10_000
    assert len(text.splitlines()) < 50
    assert "990 more rules are left out here: 990 failed." in text
    assert "995 more classes are left out here." in text
    room = 3 * len(text.encode()) + 100
    monkeypatch.setattr(github, "ROOM", room)
    several = render([Entry(big, Path())] * 5)
    assert several.count("990 more rules") == 3
    assert "2 more audits have no room here; the report has them all." in several
    assert len(several.encode()) < room + 1000


def test_several_are_counted_and_the_worst_comes_first() -> None:
    entries = [
        made(row("a", Verdict.PASSED)),
        made(threat=threat_info(name="l2")),
        made(row("c", Verdict.FAILED), threat=threat_info(name="l1")),
    ]
    heads = [line for line in render(entries).splitlines() if line.startswith("#")]
    assert heads == [
        "# Failed: 1 failed, 1 passed, 1 without a rule", "## Failed: model l1", "## Passed: model linf 8/255",
        "## No verdict: model l2",
    ]  # fmt: skip
    assert render([]).startswith("# No verdict: no audits")


def test_what_is_no_pass_is_not_called_one() -> None:
    assert "No rule was given, so there is nothing to pass or fail." in render([made()])
    assert "the record is not complete" in render([made(row("a", Verdict.PASSED), complete=False)])
    assert render([made(row("a", Verdict.INCONCLUSIVE))]).startswith("## Inconclusive: ")
    found = judged(record(outcomes("w" * 5)), Policy(rules=[Rule(metric="robust_accuracy", at_least=0.5)]))
    assert "| inconclusive | robust accuracy at least 0.5 | 5 samples can't pass it" in render([Entry(found, Path())])


def test_a_sequential_scan_says_how_much_it_looked_at() -> None:
    drawn = Drawn(ids=[0, 2], size=3, swept=["fgsm"], cost=0.5, settled=Verdict.FAILED)
    assert "2 drawn in random order got the full budget, which settled the gate" in render([made(drawn=drawn)])
    open_ = render([made(drawn=msgspec.structs.replace(drawn, settled=None))])
    assert "which did not settle the gate, at about 50" in open_
    assert "random order" not in render([made()])


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("<img src=x>|`a`", "&lt;img src=x&gt;\\|\\`a\\`"),
        ("[a](https://example.org)", "\\[a\\](https&#58;//example.org)"),
        ("@team #12", "&#64;team \\#12"),
        ("two\n## lines", "two \\#\\# lines"),
        ("a\u202eb", "a\\\\u202eb"),
    ],
)
def test_hostile_words_stay_words(word: str, shown: str) -> None:
    base = record([])
    found = record(
        outcomes("wwb", [0, 1, 2], turned=0),
        names=[word, word, word],
        model=msgspec.structs.replace(base.model, name=word),
        threat=threat_info(name=word),
        gate=Gate(rules=[row(word, Verdict.FAILED, reason=word)]),
        verdict=Verdict.FAILED,
        summary=word,
        findings=[
            msgspec.structs.replace(finding("x", FindingStatus.RAISED), title=word, explanation=word),
        ],
        trust=word,
        masking=word,
        next_steps=[Step(what=word, why=word)],
    )
    text = render([Entry(found, Path())])
    assert text.count(shown) >= 12
    assert word not in text.replace(shown, "")
    assert len(re.findall(r"^#", text, re.MULTILINE)) == 1


def test_a_command_is_whole_or_left_out() -> None:
    def told(command: str) -> str:
        return render([made(next_steps=[Step(what="Scan.", why="To see.", command=command)])])

    assert "````sh\nrun ```\n````" in told("run ```")
    assert "sh\n" not in told("run " + "x" * 1000)


def test_the_same_records_give_the_same_text(entry: Make) -> None:
    found = [entry(hardness={}), entry(seed=1)]
    again = [Entry(msgspec.json.decode(msgspec.json.encode(one.record), type=Record), Path("x")) for one in found]
    assert render(again) == render(found)

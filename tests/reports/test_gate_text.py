"""The verdict as text: what the command tells, a line for each rule."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from auditor.reports.gate_text import render
from records import outcomes, record, threat_info

from auditor.entry import Entry
from auditor.gate import judged
from auditor.judgement import Gate, RuleRow, Verdict
from auditor.record import Record
from auditor.rule import Policy, Rule
from auditor.verdict import tell


def found(letters: str = "b" * 40) -> Record:
    rules = [Rule(metric="robust_accuracy", at_least=0.5), Rule(metric="clean_accuracy", at_least=0.5)]
    return judged(record(outcomes(letters)), Policy(rules=rules))


def test_it_is_what_the_command_tells() -> None:
    text = render([Entry(found(), Path())])
    assert text == "".join(f"{line}\n" for line in tell(found()))
    assert text.splitlines()[0] == ("FAILED       robust accuracy at least 0.5: it is at most 0.0000 on 40 samples")
    assert text.splitlines()[1].startswith("PASSED       clean accuracy")
    assert len(text.splitlines()) == 3


def test_several_have_their_names() -> None:
    other = msgspec.structs.replace(found("w" * 40), threat=threat_info(name="l2"))
    blocks = render([Entry(found(), Path()), Entry(other, Path())]).split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == ["model linf 8/255", "model l2"]
    assert render([]) == ""


def test_a_scan_that_did_not_end_says_so() -> None:
    assert "not complete" in render([Entry(msgspec.structs.replace(found(), complete=False), Path())])


@pytest.mark.parametrize("word", ["two\nlines", "\x1b[31mred\x07", "\u202egnp", "\ud800", "::error::x", "##[x]"])
def test_hostile_words_stay_words(word: str) -> None:
    row = RuleRow(rule=word, value=None, threshold=None, status=Verdict.FAILED, reason=word)
    text = render([Entry(record(outcomes("w"), gate=Gate(rules=[row]), verdict=Verdict.FAILED, summary=word), Path())])
    assert len(text.splitlines()) == 2
    assert not any(line.startswith("::") for line in text.splitlines())
    assert "##[" not in text
    assert text.replace("\n", "").isprintable()
    text.encode()

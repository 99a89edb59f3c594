"""The line of a rule: that of its table, and 1 wherever that can't be said."""

from __future__ import annotations

from pathlib import Path

import pytest
from auditor.reports.policy_lines import gate_lines, places
from records import outcomes, record

from auditor.judgement import Gate, RuleRow, Verdict


def row(table: int | None) -> RuleRow:
    return RuleRow(
        rule="a", value=0.25, threshold=0.5, status=Verdict.FAILED, reason="", metric="robust_accuracy", table=table
    )


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("[[gate]]\n", [1]),
        ("# [[gate]]\n\n  [[ 'gate' ]] # here\nx = 1\n[[\"gate\"]]\n[gate.more]\n", [3, 5]),
        ("[[gate]]\r\n\r\n[[gate]]\r\n", [1, 3]),
        ("x = 1\n", []),
        ("gate = 3\n", []),
        ("gate = [{metric = 'robust_accuracy'}]\n", []),
        ("[[gate]]\n[search]\nsuite = '''\n[[gate]]\n'''\n", []),
        ("[[gate", []),
        ("a = " + "[" * 5000, []),
        ("[[gate]]\n#" + "x" * (1 << 20), []),
    ],
)
def test_the_lines_of_tables(tmp_path: Path, text: str, lines: list[int]) -> None:
    (tmp_path / "p.toml").write_bytes(text.encode())
    assert gate_lines(str(tmp_path / "p.toml")) == lines


def test_nothing_but_a_file_of_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_bytes(b"\xff\xfe[[gate]]")
    for path in (str(tmp_path / "p.toml"), str(tmp_path), str(tmp_path / "none"), "/dev/zero", "x\x00y", ""):
        assert gate_lines(path) == []


def test_a_rule_stands_at_its_table_or_at_the_top(tmp_path: Path) -> None:
    policy = str(tmp_path / "p.toml")
    Path(policy).write_text("\n[[gate]]\n\n[[gate]]\n", encoding="utf-8")
    place = places(record(outcomes("w"), gate=Gate(rules=[], policy=policy), config="audit.toml"))
    assert [place(row(table)) for table in (1, 2, 3, 0, -1)] == [(policy, n) for n in (2, 4, 1, 1, 1)]
    assert place(row(None)) == ("model.onnx", 1), "a rule of the command line stands in no file of rules"


def test_without_a_policy_it_is_the_plan_or_the_model() -> None:
    assert places(record(outcomes("w"), config="audit.toml"))(row(1)) == ("audit.toml", 1)
    assert places(record(outcomes("w")))(row(1)) == ("model.onnx", 1)

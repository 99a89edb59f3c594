from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from records import outcomes, record, threat_info

from auditor.cli import main
from auditor.errors import UsageError
from auditor.folder import write_record
from auditor.gate import judged
from auditor.judgement import Verdict
from auditor.rule import Policy, Rule
from auditor.verdict import exit_code, require_rules, tell, worst


@pytest.mark.parametrize(
    ("verdict", "code"), [(None, 0), (Verdict.PASSED, 0), (Verdict.FAILED, 1), (Verdict.INCONCLUSIVE, 3)]
)
def test_exit_codes(verdict: Verdict | None, code: int) -> None:
    assert exit_code(verdict) == code


def test_the_worst_of_several() -> None:
    passed, failed, inconclusive = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE
    assert worst([passed, inconclusive, failed]) is failed
    assert worst([passed, inconclusive, None]) is inconclusive
    assert worst([passed, None]) is passed
    assert worst([None, None]) is None
    assert worst([]) is None


def test_the_rules_and_then_the_sentence() -> None:
    rule = Rule(metric="robust_accuracy", at_least=0.9)
    found = judged(record(outcomes("w" * 50 + "b" * 50)), Policy(rules=[rule]))
    lines = list(tell(found))
    assert lines[0].startswith("FAILED       robust accuracy at least 0.9: it is at most 0.5000 on 100 samples")
    assert lines[-1] == found.summary


def test_without_a_verdict_it_says_why() -> None:
    assert next(tell(record(outcomes("w")))) == "No rule was given, so there is no verdict."
    other = judged(record(outcomes("w")), Policy(rules=[Rule(metric="trust", threat="l2")]))
    assert next(tell(other)) == "No rule is for the threat linf 8/255, so there is no verdict."
    nothing = judged(record([]), Policy(rules=[Rule(metric="robust_accuracy", at_least=0.1, each_class=True)]))
    assert exit_code(nothing.verdict) == 3
    assert not any("no verdict" in line for line in tell(nothing))


HOSTILE = ["::error file=x::pwn\n::warning::injected", "\x1b]0;title\x07 ##[error]x"]
"""Names of classes that would be obeyed: by GitHub at the start of a line and anywhere in it, by a terminal."""


def test_words_of_the_model_are_told_and_not_obeyed(tmp_path: Path) -> None:
    found = record(outcomes("w" * 30 + "b" * 30, [0] * 30 + [1] * 30, turned=0), names=[*HOSTILE, "third"])
    found = msgspec.structs.replace(found, threat=threat_info(name="::error::threat"))
    rule = Rule(metric="robust_accuracy", at_least=0.9, each_class=True)
    other = Rule(metric="trust", threat="l2")
    unasked = msgspec.structs.replace(judged(found, Policy(rules=[other])), summary="::error::summary")
    for lines in (list(tell(judged(found, Policy(rules=[rule])))), list(tell(unasked))):
        _harmless(lines)
    (tmp_path / "p.toml").write_text('[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.9\neach_class = true\n')
    write_record(tmp_path, found)
    done = CliRunner().invoke(main, ["gate", str(tmp_path / "audit.json"), "--config", str(tmp_path / "p.toml")])
    assert done.exit_code == 1, done.output
    lines = done.output.splitlines()
    assert len(lines) == 4
    _harmless(lines)
    assert "FAILED       robust accuracy of \\u001b]0;title\\u0007 ## [error]x at least 0.9" in done.output


def _harmless(lines: list[str]) -> None:
    for line in lines:
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


def test_a_gate_that_is_required_has_a_rule_for_every_threat() -> None:
    threats = [("mine", "linf"), ("l2 0.5", "l2")]
    here, there = (Rule(metric="trust", threat=norm) for norm in ("linf", "l2"))
    require_rules(Policy(rules=[here, there]), threats)
    require_rules(Policy(also=[Rule(metric="robust_accuracy", at_least=0.4)]), threats)
    with pytest.raises(UsageError, match=r"^No rule was given, so it could neither pass nor fail: give .*\[\[gate\]\]"):
        require_rules(Policy(), threats)
    with pytest.raises(UsageError, match=r"^No rule is for the threat l2 0\.5, "):
        require_rules(Policy(rules=[here]), threats)


@pytest.mark.parametrize(("required", "code"), [((), 0), (("--require-gate",), 2)])
@pytest.mark.parametrize("policy", ["", '[[gate]]\nmetric = "trust"\nthreat = "linf"\n'], ids=["no rule", "elsewhere"])
def test_without_a_rule_nothing_is_green(tmp_path: Path, policy: str, required: tuple[str, ...], code: int) -> None:
    """Of two records one is judged at best."""
    (tmp_path / "p.toml").write_text(policy)
    for name, norm in (("one", "linf"), ("other", "l2")):
        (tmp_path / name).mkdir()
        write_record(tmp_path / name, record(outcomes("w" * 40), threat=threat_info(name=name, norm=norm)))
    records = [str(tmp_path / name / "audit.json") for name in ("one", "other")]
    done = CliRunner().invoke(main, ["gate", *records, "--config", str(tmp_path / "p.toml"), *required])
    assert done.exit_code == code, done.output
    assert ("Error: No rule " in done.output) == bool(required)

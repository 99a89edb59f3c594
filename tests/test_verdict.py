from __future__ import annotations

import pytest
from records import outcomes, record

from auditor.gate import judged
from auditor.record import Verdict
from auditor.rule import Policy, Rule
from auditor.verdict import exit_code, tell, worst


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

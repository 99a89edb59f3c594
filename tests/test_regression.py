"""Rules against a baseline, with records on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from records import outcomes, record, threat_info
from scipy.stats import norm

from auditor.entry import digest_outcomes
from auditor.errors import RecordError
from auditor.folder import write_arrays, write_record
from auditor.gate import judge
from auditor.judgement import Verdict
from auditor.noninferiority import normal
from auditor.record import EVIDENCE, Record
from auditor.rule import Policy, Rule

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE
SUITE: dict[str, Any] = {"seed": 0, "suite": ["pgd"]}


def made(letters: str, **changes: Any) -> Record:
    return record(outcomes(letters), **{"plan": SUITE} | changes)


def asked(folder: Path, before: Record, after: Record, **options: Any) -> tuple[Any, Verdict | None]:
    """The rule's row and the verdict, the baseline being in `folder`."""
    evidence: dict[str, Any] = {}
    write_arrays(folder / EVIDENCE, evidence)
    write_record(folder, structs.replace(before, outcomes_digest=digest_outcomes(before.outcomes, evidence)))
    rule = Rule(**{"metric": "robust_accuracy", "baseline": folder.name} | options)
    (row,), verdict = judge(Policy(rules=[rule], path=str(folder.parent / "audit.toml")), after)
    return row, verdict


@pytest.mark.parametrize(
    ("before", "after", "margin", "verdict", "value"),
    [
        ("w" * 60 + "b" * 40, "w" * 60 + "b" * 40, 0.0, PASSED, 0.0),
        ("w" * 60 + "b" * 40, "w" * 58 + "b" * 42, 0.02, PASSED, -0.02),
        ("w" * 60 + "b" * 40, "w" * 57 + "b" * 43, 0.02, FAILED, -0.03),
        ("w" * 60 + "b" * 40, "b" * 40 + "w" * 60, 0.02, PASSED, 0.0),
        ("w" * 60 + "b" * 40, "w" * 57 + "u" * 3 + "b" * 40, 0.02, INCONCLUSIVE, 0.0),
        ("u" * 3 + "w" * 57 + "b" * 40, "b" * 3 + "w" * 57 + "b" * 40, 0.02, INCONCLUSIVE, 0.0),
        ("w" * 60 + "b" * 40, "w" * 50 + "u" * 3 + "b" * 47, 0.02, FAILED, -0.07),
    ],
)
def test_of_these_samples(
    tmp_path: Path, before: str, after: str, margin: float, verdict: Verdict, value: float
) -> None:
    row, found = asked(tmp_path, made(before), made(after), margin=margin)
    assert (found, row.value, row.threshold) == (verdict, pytest.approx(value), -margin)


def test_not_significant_is_not_passed(tmp_path: Path) -> None:
    """Of 40 pairs two lost and none gained is far from significant (McNemar p = 0.5), and no evidence of no loss."""
    row, verdict = asked(tmp_path, made("w" * 40), made("w" * 38 + "bb"), over="population", margin=0.02)
    assert verdict is INCONCLUSIVE
    assert row.needed is None or row.needed > 40
    before, after = made("w" * 1000), made("w" * 998 + "bb")
    assert asked(tmp_path, before, after, over="population", margin=0.02)[1] is PASSED
    assert asked(tmp_path, before, made("w" * 900 + "b" * 100), over="population", margin=0.02)[1] is FAILED


def test_what_would_decide_it_does(tmp_path: Path) -> None:
    row, verdict = asked(tmp_path, made("w" * 100), made("w" * 99 + "b"), over="population", margin=0.02)
    assert verdict is INCONCLUSIVE
    assert row.needed is not None
    more = made("w" * row.needed)
    lost = round(row.needed / 100)
    assert asked(tmp_path, more, made("w" * (row.needed - lost) + "b" * lost), over="population")[1] is PASSED
    few, lost = int(row.needed * 0.8), round(row.needed * 0.8 / 100)
    after = made("w" * (few - lost) + "b" * lost)
    assert asked(tmp_path, made("w" * few), after, over="population")[1] is INCONCLUSIVE


def test_the_score_test_by_hand() -> None:
    """At a difference of 0 the variance is that of McNemar's test; a margin that all pairs keep is sure."""
    assert normal(10, 20, 100, 0.0) == pytest.approx(norm.sf((10 - 20) / 30**0.5), rel=1e-9)
    assert normal(0, 0, 100, 0.0) == 0.5
    # with no flips the likeliest share lost under the hypothesis is the margin itself: z = sqrt(n m / (1 - m))
    assert normal(0, 0, 200, 0.02) == pytest.approx(norm.sf((200 * 0.02 / 0.98) ** 0.5), rel=1e-9)


def test_another_suite_than_the_baselines_does_not_pass(tmp_path: Path) -> None:
    weaker = made("w" * 60, plan=SUITE | {"suite": ["noise"]})
    row, verdict = asked(tmp_path, made("w" * 60), weaker)
    assert verdict is INCONCLUSIVE
    assert "another suite" in row.reason


def test_a_doubtful_number_does_not_pass(tmp_path: Path) -> None:
    assert asked(tmp_path, made("w" * 60), made("w" * 60, trust="doubtful"))[1] is INCONCLUSIVE


def test_other_samples_are_refused(tmp_path: Path) -> None:
    after = made("w" * 60)
    other = structs.replace(after, samples=structs.replace(after.samples, digest="1" * 64))
    with pytest.raises(RecordError, match="compared on the same samples"):
        asked(tmp_path, made("w" * 60), other)


def test_another_threat_is_refused(tmp_path: Path) -> None:
    other = made("w" * 60, threat=threat_info(epsilon=0.1, epsilon_text="0.1"))
    with pytest.raises(RecordError, match="differ in epsilon"):
        asked(tmp_path, made("w" * 60), other)


def test_no_baseline_is_refused(tmp_path: Path) -> None:
    rule = Rule(metric="robust_accuracy", baseline="nowhere")
    with pytest.raises(RecordError, match="nowhere"):
        judge(Policy(rules=[rule], path=str(tmp_path / "audit.toml")), made("w" * 60))

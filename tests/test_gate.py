"""The gate: a table of cases, each with the verdict that a CI job may rely on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from records import attack_row, fidelity, finding, outcomes, record, threat_info

from auditor.errors import UsageError
from auditor.gate import Rule, judge, judged
from auditor.metrics import wilson
from auditor.record import FindingStatus, Record, Verdict
from auditor.verdict import exit_code

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def robust(at_least: float, **options: Any) -> Rule:
    return Rule(metric="robust_accuracy", at_least=at_least, **options)


CASES: dict[str, tuple[Rule, Record, Verdict, str]] = {
    "enough": (robust(0.5), record(outcomes("w" * 60 + "b" * 40)), PASSED, "no attack brought it below 0.6000 on 100"),
    "exactly enough": (robust(0.6), record(outcomes("w" * 60 + "b" * 40)), PASSED, "0.6000"),
    "one too few": (robust(0.6), record(outcomes("w" * 59 + "b" * 41)), FAILED, "at most 0.5900"),
    "wrong when clean counts": (robust(0.6), record(outcomes("w" * 59 + "m" * 41)), FAILED, "at most 0.5900"),
    "certified counts": (robust(0.6), record(outcomes("c" * 60 + "b" * 40), certified=True), PASSED, "0.6000"),
    "nothing attacked": (robust(0.0), record(outcomes("u" * 100)), INCONCLUSIVE, "not computed"),
    "all errored": (robust(0.5), record(outcomes("e" * 100)), INCONCLUSIVE, "not computed"),
    "no samples": (robust(0.5), record([]), INCONCLUSIVE, "not computed"),
    "unattacked could flip it": (
        robust(0.6),
        record(outcomes("w" * 59 + "u" + "b" * 40)),
        INCONCLUSIVE,
        "between 0.5900 and 0.6000: 1 samples were not attacked or errored",
    ),
    "errors could flip it": (robust(0.6), record(outcomes("w" * 50 + "e" * 50)), INCONCLUSIVE, "50 samples"),
    "unattacked can't save it": (robust(0.6), record(outcomes("w" * 50 + "u" * 9 + "b" * 41)), FAILED, "at most 0.59"),
    "unattacked don't matter": (robust(0.5), record(outcomes("w" * 50 + "u" * 9 + "b" * 41)), PASSED, "0.5000"),
    "too few samples": (robust(0.5), record(outcomes("w" * 29)), INCONCLUSIVE, "29 samples are too few"),
    "just enough samples": (robust(0.5), record(outcomes("w" * 30)), PASSED, "1.0000"),
    "own minimum": (robust(0.5, minimum=5), record(outcomes("w" * 5)), PASSED, "1.0000"),
    "too few samples still fail": (robust(0.5), record(outcomes("b" * 29)), FAILED, "at most 0.0000"),
    "a stage errored": (
        robust(0.5),
        record(outcomes("w" * 100), attacks=[attack_row(), attack_row("square", status="error", reason="boom")]),
        INCONCLUSIVE,
        "the attack square ended with an error",
    ),
    "a failure stands whatever errored": (
        robust(0.5),
        record(outcomes("b" * 100), attacks=[attack_row(status="error")]),
        FAILED,
        "at most 0.0000",
    ),
    "the twin is another model": (
        robust(0.5),
        record(outcomes("w" * 100), fidelity=fidelity(0.94)),
        INCONCLUSIVE,
        "agrees with the model on only 94.0%",
    ),
    "gradient-free and trusted": (robust(0.5), record(outcomes("w" * 100), fidelity=None), PASSED, "1.0000"),
    "neither sound nor doubtful": (robust(0.5), record(outcomes("w" * 100), trust="unknown"), PASSED, "1.0000"),
    "proven without any attack": (
        robust(0.5),
        record(outcomes("c" * 100), certified=True, attacks=[attack_row(status="skipped")]),
        PASSED,
        "1.0000",
    ),
    "in doubt": (
        robust(0.5),
        record(
            outcomes("w" * 100),
            trust="doubtful",
            findings=[finding("gradients", FindingStatus.RAISED)],
            masking="present",
        ),
        INCONCLUSIVE,
        "the number is in doubt: title of gradients",
    ),
    "clean accuracy": (
        Rule(metric="clean_accuracy", at_least=0.9),
        record(outcomes("b" * 90 + "m" * 10), trust="doubtful"),
        PASSED,
        "0.9000",
    ),
    "clean accuracy too low": (
        Rule(metric="clean_accuracy", at_least=0.9),
        record(outcomes("w" * 89 + "m" * 11)),
        FAILED,
        "at most 0.8900",
    ),
    "certified accuracy": (
        Rule(metric="certified_accuracy", at_least=0.4),
        record(outcomes("c" * 40 + "w" * 60), certified=True),
        PASSED,
        "0.4000",
    ),
    "withstood is not certified": (
        Rule(metric="certified_accuracy", at_least=0.5),
        record(outcomes("c" * 40 + "w" * 60), certified=True),
        FAILED,
        "at most 0.4000",
    ),
    "no certifier ran": (
        Rule(metric="certified_accuracy", at_least=0.0),
        record(outcomes("w" * 100)),
        INCONCLUSIVE,
        "not computed",
    ),
    "agreement": (Rule(metric="label_agreement", at_least=0.99), record(outcomes("w")), PASSED, "1.0000"),
    "agreement too low": (
        Rule(metric="label_agreement", at_least=0.99),
        record(outcomes("w"), fidelity=fidelity(0.98)),
        FAILED,
        "0.9800",
    ),
    "no twin to agree": (
        Rule(metric="label_agreement", at_least=0.0),
        record(outcomes("w"), fidelity=None),
        INCONCLUSIVE,
        "no twin",
    ),
    "population passes": (robust(0.5, over="population"), record(outcomes("w" * 70 + "b" * 30)), PASSED, "0.6042"),
    "population is undecided": (
        robust(0.65, over="population"),
        record(outcomes("w" * 70 + "b" * 30)),
        INCONCLUSIVE,
        "100 samples are too few",
    ),
    "population fails": (
        robust(0.8, over="population"),
        record(outcomes("w" * 70 + "b" * 30)),
        FAILED,
        "the 95 % interval reaches at most 0.7811",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    rule, found, verdict, reason = CASES[name]
    (row,), decided = judge([rule], found)
    assert decided is verdict, row.reason
    assert row.status is verdict
    assert reason in row.reason
    assert exit_code(decided) == {PASSED: 0, FAILED: 1, INCONCLUSIVE: 3}[verdict]


def test_the_population_figures_are_wilsons() -> None:
    interval = wilson(70, 100)
    assert interval is not None
    assert [f"{bound:.4f}" for bound in interval] == ["0.6042", "0.7811"]


def test_no_rule_no_verdict() -> None:
    assert judge([], record(outcomes("u"))) == ([], None)
    assert exit_code(None) == 0


def test_a_policy_without_any_row_is_not_passed() -> None:
    assert judge([robust(0.1, each_class=True)], record([]))[1] is INCONCLUSIVE


def test_failed_before_inconclusive_before_passed() -> None:
    found = record(outcomes("w" * 50 + "b" * 50))
    passes, fails = robust(0.5), robust(0.6)
    undecided = Rule(metric="certified_accuracy", at_least=0.1)
    assert judge([passes, undecided, fails], found)[1] is FAILED
    assert judge([passes, undecided], found)[1] is INCONCLUSIVE
    assert judge([passes], found)[1] is PASSED


LABELS = [0] * 40 + [1] * 40
BY_CLASS = record(outcomes("w" * 40 + "w" * 10 + "b" * 30, LABELS), names=["cat", "dog", "bird"])


def test_each_class() -> None:
    rows, verdict = judge([robust(0.5, each_class=True)], BY_CLASS)
    assert verdict is FAILED
    assert [(row.rule, row.value, row.status) for row in rows] == [
        ("robust accuracy of cat at least 0.5", 1.0, PASSED),
        ("robust accuracy of dog at least 0.5", 0.25, FAILED),
        ("robust accuracy of each class at least 0.5", None, INCONCLUSIVE),
    ]
    assert rows[2].reason == "1 of the model's 3 classes have no samples"


@pytest.mark.parametrize("wanted", [0, "cat"])
def test_classes_by_name_or_label(wanted: int | str) -> None:
    rows, verdict = judge([robust(0.5, classes=[wanted])], BY_CLASS)
    assert verdict is PASSED
    assert len(rows) == 1


def test_the_minimum_holds_for_each_class() -> None:
    rows, verdict = judge([robust(0.1, each_class=True, minimum=41)], BY_CLASS)
    assert verdict is INCONCLUSIVE
    assert [row.status for row in rows] == [INCONCLUSIVE] * 3


@pytest.mark.parametrize("wanted", ["bird", "horse", 7])
def test_a_class_without_samples_is_named(wanted: int | str) -> None:
    with pytest.raises(UsageError, match=f"names the class {wanted!r}, the samples hold cat, dog"):
        judge([robust(0.5, classes=[wanted])], BY_CLASS)


@pytest.mark.parametrize(
    "options", [{"metric": "accuracy", "at_least": 0.5}, {"metric": "clean_accuracy", "at_least": 50}]
)
def test_a_rule_that_makes_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Rule(**options)
    with pytest.raises(UsageError):
        msgspec.convert(options, Rule)


def test_a_rule_in_words() -> None:
    assert robust(0.5).text == "robust accuracy at least 0.5"
    assert robust(0.5, over="population", each_class=True).text.endswith("of each class at least 0.5 in the population")
    assert robust(0.5, classes=["cat", 3]).text == "robust accuracy of cat, 3 at least 0.5"


def test_a_judged_record_says_its_verdict() -> None:
    found = judged(BY_CLASS, [robust(0.9)])
    assert found.verdict is FAILED
    assert [row.status for row in found.gate.rules] == [FAILED]
    assert found.summary.endswith("gate: failed")
    assert judged(found, []).verdict is None


def test_a_model_that_was_attacked_without_gradients_does_not_pass_for_want_of_them() -> None:
    without = msgspec.structs.replace(
        record(outcomes("w" * 100)).model, twin="none", twin_reason="The twin has no operator X"
    )
    rules = [Rule(metric="robust_accuracy", at_least=0.5)]
    rows, verdict = judge(rules, record(outcomes("w" * 100), model=without, fidelity=None, trust="unknown"))
    assert verdict is Verdict.INCONCLUSIVE
    assert "without gradients only" in rows[0].reason
    outsider = record(outcomes("w" * 100), model=without, fidelity=None, threat=threat_info(access="score"))
    assert judge(rules, outsider)[1] is Verdict.PASSED


def test_a_model_that_nobody_followed_gradients_on_does_not_pass_though_it_has_a_twin() -> None:
    """Random points alone, or attacks that were all skipped, say nothing of an attacker with gradients."""
    rules = [Rule(metric="robust_accuracy", at_least=0.5)]
    noise = [attack_row("noise", access="decision"), attack_row("pgd", status="skipped")]
    thin = record(outcomes("w" * 100), attacks=noise, trust="unknown")
    assert judge(rules, thin)[1] is Verdict.INCONCLUSIVE
    assert judge(rules, msgspec.structs.replace(thin, trust="sound"))[1] is Verdict.PASSED
    assert judge(rules, msgspec.structs.replace(thin, attacks=[*noise, attack_row("pgd")]))[1] is Verdict.PASSED
    spatial = msgspec.structs.replace(thin, threat=threat_info(norm="spatial"))
    assert judge(rules, spatial)[1] is Verdict.PASSED  # its attack tries the whole set

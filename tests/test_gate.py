"""The gate: a table of cases, each with the verdict that a CI job may rely on."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from records import attack_row, fidelity, finding, outcomes, record, threat_info

from auditor import gate
from auditor.errors import UsageError
from auditor.judgement import Drawn, RuleRow, Verdict
from auditor.record import FindingStatus, Outcome, Record, SamplesInfo
from auditor.rule import Policy, Rule
from auditor.verdict import exit_code

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def robust(at_least: float, **options: Any) -> Rule:
    return Rule(metric="robust_accuracy", at_least=at_least, **options)


def judge(rules: list[Rule], found: Record, **options: Any) -> tuple[list[RuleRow], Verdict | None]:
    return gate.judge(Policy(rules=rules, **options), found)


def far(distances: list[float]) -> list[Outcome]:
    """A sample for each distance of a nearest example, epsilon being 8/255."""
    made = outcomes("w" * len(distances))
    return [structs.replace(o, nearest=d, ranged=True) for o, d in zip(made, distances, strict=True)]


def predicted(n: int) -> SamplesInfo:
    return structs.replace(record(outcomes("w" * n)).samples, labels="predicted")


def sequential(letters: str, size: int) -> Record:
    """A record of a scan that drew these samples, and left the others of `size`."""
    found = outcomes(letters + "u" * (size - len(letters)))
    drawn = Drawn(ids=list(range(len(letters))), size=size, swept=[], cost=len(letters) / size, settled=None)
    return record(found, drawn=drawn)


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
    "too few samples": (robust(0.5), record(outcomes("w" * 29)), INCONCLUSIVE, "29 samples can't pass it"),
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
        "no certifier ran",
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
    "population passes": (
        robust(0.5, over="population"),
        record(outcomes("w" * 70 + "b" * 30)),
        PASSED,
        "0.7000 on 100 samples; at least 0.6158 in the population at 0.95 confidence",
    ),
    "population by Wilson": (
        robust(0.5, over="population", bound="wilson"),
        record(outcomes("w" * 70 + "b" * 30)),
        PASSED,
        "at least 0.6202 in the population",
    ),
    "population by the mixture": (
        robust(0.5, over="population", bound="mixture"),
        record(outcomes("w" * 70 + "b" * 30)),
        PASSED,
        "at least 0.5428 in the population",
    ),
    "population by Wald": (
        robust(0.5, over="population", bound="sprt", margin=0.05),
        record(outcomes("w" * 70 + "b" * 30)),
        PASSED,
        "p = 0.00033, alpha = 0.05",
    ),
    "population is undecided": (
        robust(0.65, over="population"),
        record(outcomes("w" * 70 + "b" * 30)),
        INCONCLUSIVE,
        "between 0.6158 and 0.7751: 100 samples are too few, about 288 would decide it at this rate",
    ),
    "no number decides at the threshold": (
        robust(0.7, over="population"),
        record(outcomes("w" * 70 + "b" * 30)),
        INCONCLUSIVE,
        "nor would any number at this rate",
    ),
    "unattacked in the population": (
        robust(0.5, over="population"),
        record(outcomes("w" * 50 + "u" * 30 + "b" * 20)),
        INCONCLUSIVE,
        "30 samples were not attacked or errored",
    ),
    "population fails": (
        robust(0.8, over="population"),
        record(outcomes("w" * 70 + "b" * 30)),
        FAILED,
        "0.7000 on 100 samples; at most 0.7751 in the population",
    ),
    "coverage": (Rule(metric="coverage", at_least=0.9), record(outcomes("w" * 90 + "u" * 10)), PASSED, "0.9000"),
    "coverage too low": (
        Rule(metric="coverage", at_least=0.9),
        record(outcomes("w" * 89 + "e" * 11)),
        FAILED,
        "0.8900",
    ),
    "a rule's own coverage": (
        robust(0.5, coverage=0.95),
        record(outcomes("w" * 90 + "u" * 10)),
        INCONCLUSIVE,
        "0.9000 of the samples were attacked to the end, the rule asks for 0.95",
    ),
    "low coverage still fails": (robust(0.5, coverage=1.0), record(outcomes("b" * 90 + "u" * 10)), FAILED, "0.1000"),
    "trust": (Rule(metric="trust"), record(outcomes("w")), PASSED, "it is sound"),
    "no trust": (Rule(metric="trust"), record(outcomes("w"), trust="doubtful"), FAILED, "it is doubtful"),
    "trust unknown": (Rule(metric="trust"), record(outcomes("w"), trust="unknown"), INCONCLUSIVE, "it is unknown"),
    "masking": (Rule(metric="masking"), record(outcomes("w")), PASSED, "it is none"),
    "masked": (
        Rule(metric="masking"),
        record(outcomes("w"), masking="present", findings=[finding("gradients", FindingStatus.RAISED)]),
        FAILED,
        "it is present: title of gradients",
    ),
    "masking unknown": (Rule(metric="masking"), record(outcomes("w"), masking="unknown"), INCONCLUSIVE, "unknown"),
    "far enough": (Rule(metric="distance", at_least=0.2), record(far([0.1] * 19 + [0.2] * 21)), PASSED, "0.2000 on 40"),
    "too near": (Rule(metric="distance", at_least=0.2), record(far([0.1] * 21 + [0.2] * 19)), FAILED, "0.1000 on 40"),
    "at a quantile": (
        Rule(metric="distance", at_least=0.2, quantile=0.1),
        record(far([0.1] * 5 + [0.3] * 35)),
        FAILED,
        "0.1000 on 40",
    ),
    "distances of the population": (
        Rule(metric="distance", at_least=0.2, over="population"),
        record(far([0.1] * 10 + [0.2] * 30)),
        PASSED,
        "0.7500 on 40 samples; at least 0.6129 in the population",
    ),
    "no distances": (Rule(metric="distance", at_least=0.2), record(outcomes("w" * 40)), INCONCLUSIVE, "no distances"),
    "predicted labels": (
        Rule(metric="clean_accuracy", at_least=0.5),
        record(outcomes("w" * 40), samples=predicted(40)),
        INCONCLUSIVE,
        "the model's own answers",
    ),
    "drawn until it was settled": (robust(0.5, over="population"), sequential("w" * 40, 1000), PASSED, "40 samples"),
    "of the file, from those drawn": (robust(0.5, bound="drawn"), sequential("w" * 40, 1000), PASSED, "of all 1000"),
    "of these samples, when a scan stopped": (
        robust(0.5),
        sequential("w" * 40, 1000),
        INCONCLUSIVE,
        "between 0.0400 and 1.0000: 960 samples were not attacked",
    ),
    "breaks of a scan that stopped": (robust(0.9), sequential("w" * 20 + "b" * 120, 1000), FAILED, "at most 0.8800"),
    "a bound for a fixed number": (
        robust(0.5, over="population", bound="exact"),
        sequential("w" * 40, 1000),
        INCONCLUSIVE,
        "exact bounds are for all samples",
    ),
    "clean accuracy of a scan that stopped": (
        Rule(metric="clean_accuracy", at_least=0.9, over="population"),
        sequential("w" * 40, 1000),
        PASSED,
        "1.0000 on 1000 samples",
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


def test_a_class_without_samples_is_undecided() -> None:
    (row,), verdict = judge([robust(0.5, classes=["bird"])], BY_CLASS)
    assert (verdict, row.reason, row.needed) == (INCONCLUSIVE, "bird has no samples", 30)


@pytest.mark.parametrize("wanted", ["horse", 7])
def test_a_class_that_the_model_has_not_is_named(wanted: int | str) -> None:
    with pytest.raises(UsageError, match=rf"names a class of the model \(cat, dog, bird\), got '{wanted}'"):
        judge([robust(0.5, classes=[wanted])], BY_CLASS)


def test_a_judged_record_says_its_verdict() -> None:
    found = gate.judged(BY_CLASS, Policy(rules=[robust(0.9)]))
    assert found.verdict is FAILED
    assert [row.status for row in found.gate.rules] == [FAILED]
    assert found.summary.endswith("gate: failed")
    assert gate.judged(found, Policy()).verdict is None


def test_a_model_that_was_attacked_without_gradients_does_not_pass_for_want_of_them() -> None:
    without = structs.replace(record(outcomes("w" * 100)).model, twin="none", twin_reason="The twin has no operator X")
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
    assert judge(rules, structs.replace(thin, trust="sound"))[1] is Verdict.PASSED
    assert judge(rules, structs.replace(thin, attacks=[*noise, attack_row("pgd")]))[1] is Verdict.PASSED
    spatial = structs.replace(thin, threat=threat_info(norm="spatial"))
    assert judge(rules, spatial)[1] is Verdict.PASSED  # its attack tries the whole set


def test_protected_classes() -> None:
    rows, verdict = judge([robust(0.5, protected=True)], BY_CLASS, protected=["dog"])
    assert [(row.rule, row.status) for row in rows] == [("robust accuracy of dog at least 0.5", FAILED)]
    assert verdict is FAILED
    with pytest.raises(UsageError, match=r"needs \[\[protect\]\] tables"):
        judge([robust(0.5, protected=True)], BY_CLASS)


def test_rules_for_one_threat() -> None:
    rules = [robust(0.9, threat="l2"), robust(0.5, threat="linf"), robust(0.4, threat="linf 8/255")]
    rows, verdict = judge(rules, record(outcomes("w" * 60 + "b" * 40)))
    assert [(row.table, row.status) for row in rows] == [(2, PASSED), (3, PASSED)]
    assert verdict is PASSED
    policy = Policy(rules=rules)
    with pytest.raises(UsageError, match=r"was audited \(linf 8/255\), got 'l2'"):
        policy.check_threats([("linf 8/255", "linf")])
    policy.check_threats([("linf 8/255", "linf"), ("far", "l2")])


def test_only_rules_for_another_threat_give_no_verdict() -> None:
    assert judge([robust(0.9, threat="l2")], record(outcomes("w" * 60))) == ([], None)


def test_rules_that_speak_of_chance_share_alpha() -> None:
    """60 of 100 against 0.5 has p = 0.0284 (binomial): enough alone, not for the second of two such rules."""
    found = record(outcomes("w" * 60 + "b" * 40))
    alone = robust(0.5, over="population")
    assert judge([alone], found)[1] is PASSED
    rows, verdict = judge([alone, robust(0.5, over="population", minimum=31)], found)
    assert verdict is INCONCLUSIVE
    assert [row.status for row in rows] == [INCONCLUSIVE] * 2
    assert rows[0].needed == 110  # 66 of 110 is the first that alpha / 2 takes (binomial)
    rows, verdict = judge([alone, robust(0.3, over="population")], found)  # one sure rule leaves the other all alpha
    assert verdict is PASSED
    assert rows[0].reason == "0.6000 on 100 samples; p = 0.028 after Holm over 2 rules, alpha = 0.05"
    assert judge([alone, robust(0.5)], found)[1] is PASSED  # certain rules share nothing
    assert judge([alone], found, alpha=0.01)[1] is INCONCLUSIVE


def test_rows_know_their_table_and_how_they_were_judged() -> None:
    (row,), _ = judge([robust(0.5, over="population")], record(outcomes("w" * 70 + "b" * 30)))
    assert (row.table, row.metric, row.bound, row.n) == (1, "robust_accuracy", "exact", 100)
    assert row.interval == pytest.approx((0.6158, 0.7751), abs=1e-4)
    (row,), _ = gate.judge(Policy(also=[robust(0.5)]), record(outcomes("w" * 70)))
    assert row.table is None


def test_a_thousand_classes_are_judged_at_once() -> None:
    labels = [label for label in range(1000) for _ in range(3)]
    model = structs.replace(record(outcomes("w")).model, classes=1000)
    found = record(outcomes("w" * 3000, labels), model=model)
    rows, verdict = judge([robust(0.1, each_class=True, over="population", minimum=1)], found)
    assert len(rows) == 1000
    assert verdict is INCONCLUSIVE  # three of three against 0.1 is 0.001, and alpha is shared by a thousand

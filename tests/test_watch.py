"""When the watch calls a scan settled: at the first rule that fails, or once none is open; never before."""

from __future__ import annotations

from typing import Any

import numpy as np
from records import attack_row, outcomes, record

from auditor.judgement import Drawn, Verdict
from auditor.ledger import Ledger
from auditor.record import Outcome
from auditor.rule import Policy, Rule
from auditor.samples import Samples
from auditor.watch import Watch, seen

N = 100


def watch(letters: str, *rules: Rule) -> Watch:
    """Over a scan of these outcomes, of which only those that are told as drawn are known."""
    samples = Samples(inputs=np.zeros((N, 2), np.float32), labels=np.zeros(N, np.int64), ids=np.arange(N))
    ledger = Ledger.of(samples, np.ones(N, bool))
    ledger.full[:] = True
    ledger.broken[:] = [letter == "b" for letter in letters]

    def settle(known: Ledger, rows: Any) -> list[Outcome]:
        told = zip(known.broken, known.full, strict=True)
        return outcomes("".join("b" if broken else "w" if full else "u" for broken, full in told))

    return Watch(policy=Policy(rules=list(rules)), blank=record(outcomes("u" * N)), ledger=ledger, settle=settle)


def drawn(n: int, *swept: str) -> Drawn:
    return Drawn(ids=list(range(n)), size=N, swept=list(swept), cost=None, settled=None)


def robust(at_least: float, **options: Any) -> Rule:
    return Rule(metric="robust_accuracy", at_least=at_least, **options)


ROWS = [attack_row()]
POPULATION = robust(0.5, over="population")


def test_a_rule_that_fails_settles_it_whatever_the_others_say() -> None:
    one = watch("b" * 20 + "w" * 80, robust(0.9), robust(0.3, over="population", minimum=99))
    assert one.look(drawn(20, "fgsm"), ROWS) is Verdict.FAILED
    assert one.look(drawn(0, "fgsm"), ROWS) is Verdict.FAILED, "the other rule is open: nobody was drawn"
    assert one.sweeps


def test_it_is_open_while_a_rule_is() -> None:
    one = watch("w" * 100, POPULATION, robust(0.9, over="population"))
    assert one.look(drawn(32), ROWS) is None, "32 of 32 settle 0.5, not 0.9"
    assert one.look(drawn(90), ROWS) is Verdict.PASSED
    assert not one.sweeps


def test_nothing_drawn_settles_nothing() -> None:
    assert watch("w" * 100, POPULATION).look(drawn(0), []) is None
    assert watch("w" * 100, robust(0.0)).look(drawn(0, "fgsm"), ROWS) is None


def test_a_stage_that_errored_keeps_a_scan_from_passing_not_from_failing() -> None:
    rows = [attack_row(status="error", reason="lost")]
    assert watch("w" * 100, POPULATION).look(drawn(60), rows) is None
    assert watch("b" * 100, POPULATION).look(drawn(60), rows) is Verdict.FAILED


def test_who_was_swept_alone_had_no_full_budget() -> None:
    one = watch("w" * 100, robust(0.3))
    assert one.look(drawn(29, "fgsm"), ROWS) is None, "29 of 100 withstood everything, the others a cheap attack"
    assert one.look(drawn(31, "fgsm"), ROWS) is Verdict.PASSED
    left = seen(one.ledger, drawn(29, "fgsm"))
    assert left.full.sum() == 29
    assert len(left.standing) == 29
    assert left.robust_accuracy == 1.0
    assert seen(one.ledger, drawn(29)).worth_a_look.sum() == 29

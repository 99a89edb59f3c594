"""The page of a scan that stopped once its gate was settled: of whom its numbers are, and what was left out."""

from __future__ import annotations

from pathlib import Path

from auditor.reports import github, markdown
from auditor.reports.brief import brief
from auditor.reports.headline import headline
from auditor.reports.html import render
from msgspec import structs
from records import outcomes, record

from auditor.entry import Entry
from auditor.gate import judged
from auditor.judgement import Drawn, Verdict
from auditor.metrics import by_class, measure
from auditor.record import Record
from auditor.rule import Policy, Rule


def stopped(letters: str, drawn: int, *, swept: list[str], settled: Verdict, rule: Rule) -> Record:
    """A scan of these samples, of which it drew the first."""
    told = Drawn(ids=list(range(drawn)), size=len(letters), swept=swept, cost=0.1, settled=settled)
    found = outcomes(letters)
    metrics = measure(found, certified=False, drawn=told)
    rows = by_class(found, None, drawn=told)
    return judged(record(found, drawn=told, metrics=metrics, by_class=rows), Policy(rules=[rule]))


def plain(text: str) -> str:
    return text.translate({0x202F: " ", 0xA0: " ", 0x2060: None})


def test_the_numbers_are_of_those_that_were_drawn() -> None:
    rule = Rule(metric="robust_accuracy", at_least=0.5, over="population")
    made = stopped("w" * 40 + "b" * 8 + "u" * 452, 48, swept=[], settled=Verdict.PASSED, rule=rule)
    told = headline(made)
    assert "500 samples" in told.setting
    assert "48 drawn in random order got the full budget, which settled the gate, at about 10.0 %" in plain(
        told.setting
    )
    assert plain(told.sentence) == (
        "Attacks broke 8 of the 48 samples that the model gets right, so robust accuracy is at most 83 %."
    )
    assert not told.warnings
    assert [(line.name, line.n) for line in told.legend] == [("withstood", "40"), ("broken", "8")]
    (robust, *_) = brief(made)
    assert "n = 48 of 500, valid wherever it stopped" in plain(robust.note)
    assert "n = 48 drawn of 500" in made.summary
    page = render([Entry(made, Path())])
    assert "48 drawn in random order" in page
    text = markdown.render([Entry(made, Path())])
    assert "48" in text
    assert "48 drawn in random order got the full budget" in github.render([Entry(made, Path())])


def test_a_sweep_that_was_stopped_claims_no_success_rate() -> None:
    rule = Rule(metric="robust_accuracy", at_least=0.9)
    made = stopped("b" * 60 + "m" * 10 + "u" * 430, 0, swept=["fgsm"], settled=Verdict.FAILED, rule=rule)
    told = headline(made)
    assert made.metrics.attack_success_rate is None
    assert "Cheap attacks (fgsm) swept over the samples first." in told.setting
    assert "What they broke settled the gate, so none got the full budget" in told.setting
    assert plain(told.sentence) == (
        "Attacks broke 60 of the 490 samples that the model gets right before the scan stopped, so robust accuracy is "
        "at most 86.0 %."
    )
    assert "did not get the full budget, since the gate was settled before" in told.warnings[0]
    assert "no success rate" in told.success
    assert told.verdict == "failed"


def test_values_of_rules_are_told_in_their_units() -> None:
    rule = Rule(metric="distance", at_least=0.5)
    far = [structs.replace(outcome, nearest=0.25, ranged=True) for outcome in outcomes("w" * 40)]
    (row,) = headline(judged(record(far), Policy(rules=[rule]))).rules
    assert (row.value, row.threshold, row.status) == ("0.25", "0.5", "failed")

"""The first screen: five questions, answered with the record's numbers, or with why there is no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports.brief import brief
from auditor.reports.headline import headline
from auditor.reports.html import render

from auditor.entry import Entry
from auditor.hardness import Hardness
from auditor.metrics import weakest
from auditor.record import Outcome, Status

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
replace = msgspec.structs.replace


def answers(made: Entry) -> dict[str, tuple[str, str]]:
    clear = str.maketrans({"\u202f": " ", "\xa0": " ", "\u2060": ""})
    return {figure.name: (figure.value.translate(clear), figure.note.translate(clear)) for figure in brief(made.record)}


def test_the_five_questions_are_answered(entry: Make) -> None:
    made = entry(n=450, names=["ant", "bee", "cat"], hardness={})
    record, told = made.record, answers(made)
    row = weakest(record)
    assert row is not None
    assert record.hardness is not None
    into = ["ant", "bee", "cat"][row.turns_into or 0]
    assert told["Weakest class"][0] == f"{row.name} → {into}"
    assert f"≤ {(row.robust_accuracy or 0) * 100:.1f} %" in told["Weakest class"][1]
    assert f"into {into} most often" in told["Weakest class"][1]
    own = next(found for found in record.hardness.classes if found.label == row.label)
    assert f"an example of another class within ≤ {own.distance:.3g} (" in told["Weakest class"][1]
    assert "Few samples" not in told["Weakest class"][1]
    assert "Few samples" in answers(entry(n=45, hardness={}))["Weakest class"][1]
    assert f"clean {(row.clean_accuracy or 0) * 100:.1f} %" in told["Weakest class"][1]
    assert told["Median distance"][0] == f"≤ {record.metrics.median_distance:.3g}"
    trust = "Title of gradient_free. 1 check is clear, 1 can't be made here."
    assert told["Trust in the number"] == ("doubtful", trust)
    assert told["What to do next"] == ("Harden the weakest class first.", "It loses the most.")
    assert told["Robust accuracy"][1].startswith("95 % interval ")


def test_each_answer_leads_to_its_section(entry: Make, parse: Parse) -> None:
    for made in (entry(n=60), entry(n=60, hardness={})):
        page = parse(render([made]))
        assert {f"a1-{figure.section}" for figure in brief(made.record)} <= set(page.values("id"))


def test_no_distance_says_why(entry: Make) -> None:
    made = entry(n=60)
    assert answers(made)["Median distance"] == ("not computed", "Nothing was looked for beyond epsilon.")
    made = Entry(replace(made.record, hardness=Hardness(why_not="every sample has its own box")), made.folder)
    assert answers(made)["Median distance"] == ("not computed", "Every sample has its own box.")


def test_a_median_beyond_reach_is_no_number(entry: Make) -> None:
    made = entry(n=60, hardness={})
    far = replace(made.record, metrics=replace(made.record.metrics, median_distance=None))
    assert answers(Entry(far, made.folder))["Median distance"][0] == "beyond reach"


def outcomes(statuses: str) -> list[Outcome]:
    kinds = {"m": Status.MISCLASSIFIED, "b": Status.BROKEN, "w": Status.WITHSTOOD, "c": Status.CERTIFIED}
    return [
        Outcome(
            id=i, label=0, clean_label=int(k == "m"), status=kinds[k], adversarial_label=1 if k == "b" else None,
            distance=0.01 if k == "b" else None,
        )
        for i, k in enumerate(statuses)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ("bbww", "Attacks broke 2 of the 4 samples that the model gets right, so robust accuracy is at most 50 %."),
        (
            "bb",
            "Attacks broke every one of the 2 samples that the model gets right, so robust accuracy is at most 0 %.",
        ),
        ("ww", "No attack broke any of the 2 samples that the model gets right, so robust accuracy is at most 100 %."),
        ("b", "Attacks broke the one sample that the model gets right, so robust accuracy is at most 0 %."),
        ("mm", "The model gets all 2 samples wrong without an attack, so robust accuracy is at most 0 %."),
    ],
)
def test_the_result_is_one_plain_sentence(entry: Make, statuses: str, sentence: str) -> None:
    made = entry(outcomes=outcomes(statuses), classes=2, evidence=False, trust="sound")
    assert headline(made.record).sentence.replace("\u202f", " ") == sentence


def test_doubt_and_proof_are_in_the_sentence(entry: Make) -> None:
    made = entry(outcomes=outcomes("bbww"), classes=2, evidence=False)
    assert headline(made.record).sentence.endswith("50\u202f%, and even that is in doubt.")
    proved = replace(made.record, metrics=replace(made.record.metrics, certified_accuracy=0.25), trust="sound")
    assert headline(proved).sentence.endswith("lies between 25\u202f% (proved) and 50\u202f% (not broken).")


def test_what_stands_before_the_model_and_the_suite_are_named(entry: Make) -> None:
    made = entry(n=30)
    setting = "In front of the model: BitDepth(bits=4). 30 samples of samples.npz, 3 classes. "
    assert headline(made.record).setting == setting + "Attacked by fgsm, apgd dlr ×3."
    named = replace(made.record, suite="standard", model=replace(made.record.model, defenses=[]))
    assert (
        headline(named).setting == "30 samples of samples.npz, 3 classes. Attacked with the suite standard, 2 stages."
    )

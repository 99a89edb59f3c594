"""What to do next: that each step comes where it should, in order, with the record's own numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from records import finding, outcomes, record

from auditor.advice import MOST, again, next_steps
from auditor.hardness import Hardness, Protected
from auditor.record import FLAT, FindingStatus, Record, Severity

AGAIN = " --out advaudit-out/model-again"


def told(made: Record, **changes: Any) -> list[str]:
    return [step.what for step in next_steps(msgspec.structs.replace(made, **changes))]


def test_what_was_not_judged_comes_first() -> None:
    steps = told(record(outcomes("wwwwbuue")))
    assert "3 of 8 were not attacked or ended in an error" in steps[0]


def test_a_doubt_comes_with_its_advice() -> None:
    doubt = finding("x", FindingStatus.RAISED, Severity.WARNING)
    doubt = msgspec.structs.replace(doubt, advice="Do this.")
    steps = told(record(outcomes("wwbb")), findings=[doubt], trust="doubtful")
    assert steps[0] == "Do this."
    assert "Do not quote the number" in steps[1]


def test_a_sound_number_is_not_doubted() -> None:
    assert not any("quote" in step for step in told(record(outcomes("wwbb")), trust="sound", suite="standard"))


def test_a_quick_suite_is_not_the_last_word() -> None:
    made = record(outcomes("wwbb"))
    assert any("`standard`" in step for step in told(made, suite="quick", trust="sound"))
    assert not any("`standard`" in step for step in told(made, suite="standard", trust="sound"))


def test_the_weakest_class_is_named_with_what_it_becomes_where_it_is_behind() -> None:
    weak = record(outcomes("b" * 20 + "w" * 20, [0] * 20 + [1] * 20))
    assert any(step.startswith("Train on 0 against 1") for step in told(weak, trust="sound"))
    even = record(outcomes(("b" * 10 + "w" * 10) * 2, [0] * 20 + [1] * 20))
    assert not any(step.startswith("Train on") and "against" in step for step in told(even, trust="sound"))


def test_natural_errors_come_before_adversarial_training() -> None:
    assert "Mend the clean accuracy first." in told(record(outcomes("mmmwwwwb")), trust="sound")
    assert "Mend the clean accuracy first." not in told(record(outcomes("mbbbwwww")), trust="sound")


def test_protected_confusions_that_happen_are_named() -> None:
    made = Protected(label=0, into=1, cost=7, n=5, clean=0, broken=0, tried=4, got_there=2, precision=1.0)
    steps = told(record(outcomes("wwwwb")), hardness=Hardness(protected=[made]), trust="sound")
    assert any("Protect 0: attackers turn it into 1, which costs 7 times" in step for step in steps)
    safe = msgspec.structs.replace(made, got_there=0)
    assert not any("Protect" in s for s in told(record(outcomes("wwww")), hardness=Hardness(protected=[safe])))


def test_a_wide_interval_asks_for_more_samples() -> None:
    assert any("samples instead of 8" in step for step in told(record(outcomes("wwwwbbbb")), trust="sound"))
    assert not any("instead of" in step for step in told(record(outcomes("w" * 900 + "b" * 100)), trust="sound"))


def test_no_more_than_a_reader_takes_in() -> None:
    doubts = [finding(str(i), FindingStatus.RAISED, Severity.WARNING) for i in range(5)]
    assert len(told(record(outcomes("bmmu")), findings=doubts, trust="doubtful", masking="present")) <= MOST


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("advaudit scan m.onnx --suite quick --out x --resume", "advaudit scan m.onnx --suite thorough" + AGAIN),
        (
            "advaudit scan m.onnx --suite=quick --epsilon 0.1",
            "advaudit scan m.onnx --epsilon 0.1 --suite thorough" + AGAIN,
        ),
        ("advaudit scan 'a b.onnx' --attack pgd --attack fgsm", "advaudit scan 'a b.onnx' --suite thorough" + AGAIN),
        ("advaudit scan m.onnx --data thorough", "advaudit scan m.onnx --data thorough --suite thorough" + AGAIN),
        ("python x.py", ""),
        ("advaudit scan 'm", ""),
    ],
)
def test_the_command_to_scan_again(command: str, expected: str) -> None:
    made = msgspec.structs.replace(record(outcomes("wb")), command=command)
    assert again(made, "--suite", "thorough") == expected


def test_a_forest_is_not_asked_for_a_twin() -> None:
    made = record(outcomes("wwbb"))
    lacking = msgspec.structs.replace(made.model, twin="none", twin_reason="No operator Foo.")
    assert any("differentiable twin" in step for step in told(made, model=lacking))
    forest = msgspec.structs.replace(lacking, twin_reason=f"The file can be followed, but {FLAT} (a forest).")
    assert not any("differentiable twin" in step for step in told(made, model=forest))


def test_a_model_that_falls_as_a_whole_is_not_mended_class_by_class() -> None:
    steps = told(record(outcomes("b" * 22 + "bbbbwwww", [0] * 22 + [1] * 8)), trust="sound")
    whole, single = (next(i for i, step in enumerate(steps) if step.startswith(t)) for t in ("Train adv", "Train on 0"))
    assert whole < single


def test_a_class_of_few_samples_is_not_advised_about() -> None:
    few = record(outcomes("b" * 12 + "w" * 40, [0] * 12 + [1] * 40))
    assert not any(step.startswith("Train on 0") for step in told(few, trust="sound"))


def test_a_protected_class_that_nothing_went_for_is_not_called_safe() -> None:
    made = Protected(label=0, into=1, cost=7, n=5, clean=0, broken=0, tried=0, got_there=0, precision=1.0)
    steps = told(record(outcomes("wwwww")), hardness=Hardness(protected=[made], n=3), trust="sound")
    assert any(step.startswith("Find out whether 0 is protected") for step in steps)

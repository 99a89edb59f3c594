"""The sentence that the terminal, the report and the record share."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from records import outcomes, record, threat_info

from auditor.gate import judged
from auditor.judgement import Verdict
from auditor.record import Chapter, Record
from auditor.rule import Policy
from auditor.summary import percent, summarise


def sentence(found: Record, verdict: Verdict | None = None) -> str:
    names = tuple(found.class_names) if found.class_names else None
    return summarise(found, names, verdict)


def test_the_sentence() -> None:
    found = record(outcomes("w" * 412 + "b" * 518 + "m" * 70, turned=2), names=["cat", "dog", "bird"])
    assert sentence(found) == (
        "Robust accuracy ≤ 41.2 % (linf 8/255, n = 1000, 38–44); clean 93.0 %; weakest: cat → bird"
    )
    assert sentence(found, Verdict.FAILED).endswith("; gate: failed")


def test_it_is_an_upper_bound_and_says_what_is_not_known() -> None:
    text = sentence(record(outcomes("w" * 50 + "u" * 30 + "e" * 20)))
    assert text.startswith("Robust accuracy ≤ 100.0 %")
    assert "; 50 samples not attacked or errored" in text


def test_nothing_attacked_is_no_number() -> None:
    text = sentence(record(outcomes("u" * 10)))
    assert text == "Robust accuracy not computed (linf 8/255, n = 10): no attack judged any sample; clean 100 %"


def test_doubts_are_part_of_it() -> None:
    assert sentence(record(outcomes("w" * 10), trust="doubtful")).endswith("; in doubt")
    without = replace(record(outcomes("w" * 10)).model, twin="none")
    blind = record(outcomes("w" * 10), model=without)
    assert sentence(blind).endswith("; attacked without gradients")
    outsider = record(outcomes("w" * 10), model=without, threat=threat_info(access="score"))
    assert "without gradients" not in sentence(outsider)


def test_what_the_suite_alone_claimed_and_what_masks_are_part_of_it() -> None:
    claimed = [Chapter(kind="claimed", text="", robust_accuracy=0.9)]
    told = sentence(record(outcomes("b" * 9 + "w"), story=claimed, masking="present"))
    assert told.endswith("; the suite alone claimed 90 %; masking present, trust sound")
    same = sentence(record(outcomes("b" + "w" * 9), story=claimed))
    assert "claimed" not in same
    assert "masking" not in same
    unplayed = [Chapter(kind="claimed", text="", robust_accuracy=None)]
    assert "claimed" not in sentence(record(outcomes("b" * 9 + "w"), story=unplayed))


def test_nothing_broken_names_no_class() -> None:
    assert "weakest" not in sentence(record(outcomes("w" * 10)))


def test_the_threat_is_named() -> None:
    assert "(per-sample boxes, n = 1" in sentence(record(outcomes("w"), threat=threat_info(name="per-sample boxes")))


@pytest.mark.parametrize(
    ("value", "n", "text"),
    [(0.4123, 100, "41.2 %"), (0.4123, 99, "41 %"), (1.0, 5, "100 %"), (None, 5, "not computed")],
)
def test_no_more_digits_than_samples_justify(value: float | None, n: int, text: str) -> None:
    assert percent(value, n) == text


def test_the_record_keeps_it() -> None:
    assert judged(record(outcomes("w" * 10)), Policy()).summary == sentence(record(outcomes("w" * 10)))

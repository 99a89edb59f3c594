"""Which records may be compared: every refusal with its reason, and what is named though it is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from records import attack_row, outcomes, record, threat_info

from auditor.entry import Entry
from auditor.errors import RecordError, UsageError
from auditor.folder import write_record
from auditor.judgement import Drawn, Verdict
from auditor.pairing import (
    LONGEST,
    check_comparable,
    names,
    notes,
    pairs,
    read_entries,
    same_distance,
    threat_differences,
)
from auditor.record import Record, Tool

CALLED = ("a.onnx", "b.onnx")
LETTERS = "wwbbm"


def plain(**changes: Any) -> Record:
    return record(outcomes(LETTERS), **changes)


def test_the_same_samples_are_comparable() -> None:
    check_comparable(plain(), record(outcomes("bwwcm")), CALLED)


def test_other_samples_are_refused() -> None:
    other = plain()
    other = replace(other, samples=replace(other.samples, digest="1" * 64))
    with pytest.raises(RecordError, match=r"same samples; those of a\.onnx \(n = 5\) and b\.onnx .* scan both with"):
        check_comparable(plain(), other, CALLED)


def test_predicted_labels_that_differ_have_their_own_advice() -> None:
    sides = [replace(plain(), samples=replace(plain().samples, labels="predicted", digest=d * 64)) for d in "01"]
    with pytest.raises(RecordError, match="where labels are predicted, each model has its own"):
        check_comparable(sides[0], sides[1], CALLED)


def test_other_labels_or_ids_are_refused() -> None:
    moved = record([replace(o, id=o.id + 1) for o in outcomes(LETTERS)])
    for other in (record(outcomes(LETTERS, [0, 0, 0, 0, 1])), moved):
        with pytest.raises(RecordError, match=r"same ids and labels; the outcomes of a\.onnx and b\.onnx have others"):
            check_comparable(plain(), other, CALLED)


def test_another_kind_of_labels_is_refused() -> None:
    other = plain()
    other = replace(other, samples=replace(other.samples, labels="predicted"))
    with pytest.raises(RecordError, match=r"those of a.onnx are given, those of b.onnx predicted: scan both with"):
        check_comparable(plain(), other, CALLED)


@pytest.mark.parametrize("whole", [0, 1])
def test_incomplete_records_are_refused(whole: int) -> None:
    sides = [plain(), plain()]
    sides[1 - whole] = plain(complete=False)
    with pytest.raises(RecordError, match=rf"complete records, {CALLED[1 - whole]} is not; go on .* \(--resume\)"):
        check_comparable(sides[0], sides[1], CALLED)


@pytest.mark.parametrize("whole", [0, 1])
def test_scans_that_stopped_are_refused(whole: int) -> None:
    """What they know is no fair choice of pairs: all that fell to cheap attacks, and a part of the others."""
    sides = [plain(), plain()]
    drawn = Drawn(ids=[0], size=len(sides[0].outcomes), swept=[], cost=0.5, settled=Verdict.PASSED)
    sides[1 - whole] = plain(drawn=drawn)
    with pytest.raises(RecordError, match=rf"{CALLED[1 - whole]} stopped once its gate was settled"):
        check_comparable(sides[0], sides[1], CALLED)
    everybody = [outcome.id for outcome in sides[0].outcomes]
    sides[1 - whole] = plain(drawn=replace(drawn, ids=everybody, settled=None))
    check_comparable(sides[0], sides[1], CALLED)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm": "l2"}, "norm: linf for a.onnx, l2 for b.onnx"),
        ({"epsilon": 0.1}, "epsilon: 0.0313725 for a.onnx, 0.1 for b.onnx"),
        ({"bounds": None}, "bounds: 0, 1 for a.onnx, none for b.onnx"),
        ({"boxes": True}, "boxes: no for a.onnx, yes for b.onnx"),
        ({"goal": "targeted:3"}, "goal: untargeted for a.onnx, targeted:3 for b.onnx"),
        ({"access": "score"}, "access: gradient for a.onnx, score for b.onnx"),
        ({"frozen_features": 2}, "frozen features: 0 for a.onnx, 2 for b.onnx"),
    ],
)
def test_what_differs_of_a_threat_is_named(change: dict[str, Any], said: str) -> None:
    assert threat_differences(plain(), plain(threat=threat_info(**change)), CALLED) == [said]


def test_words_are_no_part_of_a_threat_and_arrays_are() -> None:
    renamed = plain(threat=threat_info(name="mine", epsilon_text="0.0314"))
    assert threat_differences(plain(), renamed, CALLED) == []
    weighted = plain(plan={"seed": 0, "threat": {"weights": "ab12"}})
    assert threat_differences(plain(), weighted, CALLED) == ["weights: none for a.onnx, ab12 for b.onnx"]


def test_distances_of_one_norm_compare_at_any_epsilon() -> None:
    assert same_distance(plain(), plain(threat=threat_info(epsilon=0.5)))
    assert not same_distance(plain(), plain(threat=threat_info(norm="l2")))


def test_pairs_leave_out_what_is_unknown_and_count_it_once() -> None:
    found, left = pairs(record(outcomes("wuewbb")), record(outcomes("wwueeb")))
    assert [(mine.id, theirs.id) for mine, theirs in found] == [(0, 0), (5, 5)]
    assert left == {"unattacked": 1, "error": 3}


def test_pairs_are_by_id_not_by_place() -> None:
    turned = record(outcomes("wb")[::-1])
    found, _ = pairs(record(outcomes("ww")), turned)
    assert [(mine.id, str(theirs.status)) for mine, theirs in found] == [(0, "withstood"), (1, "broken")]


def test_nothing_to_note_of_one_plan() -> None:
    assert notes(plain(), plain(), CALLED) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plan": {"seed": 0, "suite": [1]}}, "b.onnx was attacked with another suite than a.onnx, so a difference"),
        ({"plan": {"seed": 3}}, "Other draws, which may flip a few samples; seed: 0 for a.onnx, 3 for b.onnx."),
        ({"plan": {"seed": 0, "certify": False}}, "Certifiers ran: none for a.onnx, no for b.onnx."),
        ({"plan": {"seed": 0, "new": 1}}, "Another new in the plan: none for a.onnx, 1 for b.onnx."),
        ({"tool": Tool(version="9", plugins=[])}, "a.onnx was scanned by advaudit 0, b.onnx by 9, so a difference may"),
        ({"trust": "doubtful"}, "The number of b.onnx is doubtful"),
        ({"trust": "unknown"}, "Whether the number of b.onnx can be believed is unknown"),
        ({"attacks": [attack_row(access="score")]}, "b.onnx was attacked without gradients"),
        ({"attacks": [attack_row(), attack_row("fab", status="error")]}, "On b.onnx attacks ended with an error: fab."),
        (
            {"attacks": [attack_row(), attack_row("nes", phase="answer")]},
            "After the same suite, doubts called for other attacks (nes only on b.onnx)",
        ),
        ({"class_names": ["x"]}, "The records name classes differently; the names are those of a.onnx."),
    ],
)
def test_what_else_differs_is_noted(change: dict[str, Any], said: str) -> None:
    (note,) = notes(plain(), plain(**change), CALLED)
    assert note.startswith(said)


def searched(*planned: Any, **changes: Any) -> Record:
    return plain(plan={"seed": 0, "hardness": list(planned)}, **changes)


CAT = [0, 2, 10.0]


@pytest.mark.parametrize(
    ("mine", "theirs", "said"),
    [
        ((True, False, "", []), (True, True, "", []), []),
        (
            (True, True, "", []),
            (False, False, "", []),
            ["The search for distances: played for a.onnx, left out for b.onnx."],
        ),
        (
            (True, False, "", []),
            (True, True, "fmn:steps=9", []),
            [
                "Distances were looked for by another attack: the one that fits the norm for a.onnx, fmn:steps=9 for "
                "b.onnx."
            ],
        ),
        ((False, False, "", []), (False, False, "fmn", []), []),
        (
            (True, False, "", [CAT, [1, None, 5.0]]),
            (True, False, "", []),
            [
                "Other confusions are protected: cat taken for 2 at cost 10, dog taken for any other at cost 5 for "
                "a.onnx, none for b.onnx."
            ],
        ),
        (
            (True, False, "", []),
            (True, False, "", [CAT] * 5),
            ["Other confusions are protected: none for a.onnx, " + "cat taken for 2 at cost 10, " * 3],
        ),
        ((True, False, "", [tuple(CAT)]), (True, False, "", [CAT]), []),
        (
            (True, False, "", [CAT]),
            (False, False, "fmn", []),
            [
                "The search for distances: played for a.onnx, left out for b.onnx.",
                "Other confusions are protected: cat taken for 2 at cost 10 for a.onnx, none for b.onnx.",
            ],
        ),
        (
            (True, False, "", []),
            (True, False, "", [["x", {}]]),
            ["The search for distances: played for a.onnx, unknown for b.onnx."],
        ),
    ],
)
def test_in_what_two_searches_for_distances_differ(mine: tuple[Any], theirs: tuple[Any], said: list[str]) -> None:
    names = ["cat", "dog"]
    told = notes(searched(*mine, class_names=names), searched(*theirs, class_names=names), CALLED)
    assert [note.replace(" and 2 more for b.onnx.", "").rstrip(", ") for note in told] == [s.rstrip(", ") for s in said]


def test_a_plan_without_a_search_is_unknown() -> None:
    (note,) = notes(plain(), searched(True, False, "", []), CALLED)
    assert note == "The search for distances: unknown for a.onnx, played for b.onnx."


def entry(folder: str, model: str) -> Entry:
    made = plain()
    return Entry(replace(made, model=replace(made.model, name=model)), Path(folder))


def test_names_are_the_models_then_the_folders_then_both() -> None:
    assert names([entry("/r/1", "a.onnx"), entry("/r/2", "b.onnx")]) == ["a.onnx", "b.onnx"]
    assert names([entry("/r/old", "a.onnx"), entry("/r/new", "a.onnx")]) == ["old", "new"]
    many = [entry("/r/1/x", "a"), entry("/r/2/x", "b"), entry("/r/3/y", "b")]
    assert names(many) == ["a in x", "b in x", "b in y"]
    assert names([entry("/r/1/x", "a"), entry("/r/2/x", "a")]) == ["a (1)", "a (2)"]


def test_a_long_name_is_cut() -> None:
    (name, _) = names([entry("/r/1", "x\n" * 5000), entry("/r/2", "b")])
    assert len(name) == LONGEST
    assert "\n" not in name


def test_records_are_read_once_and_whole(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        write_record(tmp_path / name, plain())
    assert [e.folder.name for e in read_entries([tmp_path / "a", tmp_path / "b" / "audit.json"])] == ["a", "b"]
    with pytest.raises(UsageError, match="two records or more, got 1"):
        read_entries([tmp_path / "a"])
    with pytest.raises(UsageError, match=r"given once, .* came twice"):
        read_entries([tmp_path / "a", tmp_path / "b" / ".." / "a" / "audit.json"])
    write_record(tmp_path / "b", plain(complete=False))
    with pytest.raises(RecordError, match="not complete"):
        read_entries([tmp_path / "a", tmp_path / "b"])

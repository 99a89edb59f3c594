"""The CSV tables: every number as the record has it, no row lost, and nothing in them that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from auditor.reports.tables import TABLES, cell, render, tables
from records import attack_row, finding, outcomes, record, threat_info

from auditor.entry import Entry
from auditor.hardness import ClassHardness, CurvePoint, Hardness, Pair, Protected, Runs
from auditor.judgement import Gate, RuleRow, Verdict
from auditor.protocols import TransferCounts
from auditor.record import AttackRow, ClassRow, Finding, FindingStatus, Metrics, Outcome, Record, Spent

NAMES = ["cat", "dog", "eel"]
EPSILON = 8 / 255
THIRD = 1 / 3
JUDGED: dict[str, Any] = {
    "metric": "robust_accuracy", "table": 2, "n": 30, "bound": "exact", "interval": (0.1, THIRD), "needed": 70,
    "reason": "too low, by far",
}  # fmt: skip
FULL = Hardness(
    pairs=[
        Pair(
            source=0, target=2, n=4, broken=1, interval=(0.05, 0.7), reached=3, distance=THIRD, mean_distance=0.3,
            hardness=0.2, adversarial_distance=None,
        )
    ],
    classes=[
        ClassHardness(
            label=1, n=2, distance=THIRD, nearest=1e-7, measured=2, margin=-0.5, jacobian=3.0, radius=0.01,
            curve=[CurvePoint(epsilon=EPSILON, robust_accuracy=0.5, certified=0.25)],
        )
    ],
    protected=[
        Protected(label=0, into=1, cost=9.5, n=3, clean=0, broken=1, tried=2, got_there=1, precision=THIRD),
        Protected(label=2, into=None, cost=2.0, n=3, clean=1, broken=1, tried=2, got_there=1, precision=None),
    ],
    runs=Runs(ids=[1, 0], targets=[2, 1], distances=[None, THIRD], saliency=[0.25, None]),
)  # fmt: skip


def made(**changes: Any) -> Record:
    """Six samples of three classes, one of every status, and something in every table."""
    found = outcomes("wbmcue", [0, 1, 2, 0, 1, 2], turned=2)
    found[1] = msgspec.structs.replace(found[1], nearest=THIRD, ranged=True, spent=Spent(forwards=7, queries=2))
    found[3] = msgspec.structs.replace(found[3], radius=EPSILON)
    fields: dict[str, Any] = {
        "names": NAMES,
        "certified": True,
        "hardness": FULL,
        "curve": [CurvePoint(epsilon=0.1, robust_accuracy=0.75, certified=0.5)],
        "gate": Gate(
            rules=[RuleRow(rule="r", value=THIRD, threshold=0.4, status=Verdict.FAILED, **JUDGED)]
        ),
        "verdict": Verdict.FAILED,
        "findings": [
            msgspec.structs.replace(
                finding("gradients", FindingStatus.RAISED), value=THIRD, threshold=0.1, masks=True, answers=["a", "b"],
                technique="AML.T1", source="house", explanation="Seen.", advice="Do.", spent=Spent(backwards=5),
            )
        ],
        "attacks": [
            attack_row(
                "pgd", reason="late", rejected={"off the grid": 2}, parameters={"steps": 40}, budget=Spent(forwards=41),
                because=["gradients", "steps"], phase="answer", seconds=1.25, share=0.5, rounds=2, most_rounds=3,
                distance=True, sample=9, source="stand-in", broken=1, forwards=3, backwards=2, queries=1,
                transfer=TransferCounts(
                    n=3, both_right=2, fooled_source=1, fooled_both=1, fooled_target=1, errors=0
                ),
            )
        ],
    }  # fmt: skip
    return record(found, **(fields | changes))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def table(name: str, found: Record | None = None) -> list[dict[str, str]]:
    return read(tables(Entry(found or made(), Path()))[f"{name}.csv"])


def parsed(row: dict[str, str], fields: Iterable[str]) -> dict[str, Any]:
    """Cells as a script would take them: JSON where they are, text otherwise, None where empty."""

    def value(text: str) -> Any:
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    return {name: value(row[name]) for name in fields}


def test_the_metrics_are_the_record_s() -> None:
    found = made()
    (row,) = table("metrics", found)
    m = found.metrics
    assert m.robust_accuracy_interval is not None
    assert parsed(row, row) == {
        "model": "model", "threat": "linf 8/255", "n": 6, "clean_accuracy": m.clean_accuracy,
        "robust_accuracy": m.robust_accuracy, "robust_low": m.robust_accuracy_interval[0],
        "robust_high": m.robust_accuracy_interval[1], "certified_accuracy": 1 / 6,
        "attack_success_rate": m.attack_success_rate, "median_distance": None, "masking": "none", "trust": "sound",
        "verdict": "failed",
    }  # fmt: skip
    assert row["certified_accuracy"] == "0.16666666666666666"


def test_classes_are_joined_with_their_hardness() -> None:
    rows = {row["name"]: parsed(row, row) for row in table("classes")}
    assert list(rows) == NAMES
    dog = rows["dog"]
    assert [dog[name] for name in ("label", "n", "clean_accuracy", "robust_accuracy")] == [1, 2, 1.0, 0.5]
    assert [dog["turns_into"], dog["turns_into_name"]] == [2, "eel"]
    hard = ("ranged", "distance", "nearest", "measured", "margin", "jacobian", "radius")
    assert [dog[name] for name in hard] == [2, THIRD, 1e-7, 2, -0.5, 3.0, 0.01]
    assert [rows["cat"][name] for name in hard] == [None] * 7
    counted = msgspec.structs.replace(
        made(), by_class=[ClassRow(label=1, name="dog", n=9, clean_accuracy=None, robust_accuracy=None, interval=None,
                                   misclassified=3, broken=4, certified=2)]
    )  # fmt: skip
    (row,) = table("classes", counted)
    assert [row[name] for name in ("n", "misclassified", "broken", "certified", "low")] == ["9", "3", "4", "2", ""]


def test_pairs_runs_and_protected_classes_have_their_names() -> None:
    (pair,) = table("pairs")
    assert parsed(pair, pair) == {
        "source": 0, "source_name": "cat", "target": 2, "target_name": "eel", "n": 4, "broken": 1, "low": 0.05,
        "high": 0.7, "reached": 3, "distance": THIRD, "mean_distance": 0.3, "hardness": 0.2,
        "adversarial_distance": None,
    }  # fmt: skip
    assert [tuple(row.values()) for row in table("runs")] == [
        ("1", "1", "2", "", "0.25"), ("0", "0", "1", "0.3333333333333333", ""),
    ]  # fmt: skip
    first, second = table("protected")
    assert [first["name"], first["into_name"], first["cost"], first["precision"]] == ["cat", "dog", "9.5", str(THIRD)]
    assert [first["tried"], first["got_there"], first["clean"], first["broken"]] == ["2", "1", "0", "1"]
    assert [second["into"], second["into_name"], second["precision"]] == ["", "", ""]


def test_every_sample_is_a_row_in_the_order_of_the_record() -> None:
    found = made()
    rows = table("samples", found)
    assert [(int(row["id"]), row["status"]) for row in rows] == [(o.id, o.status) for o in found.outcomes]
    broken, certified = rows[1], rows[3]
    assert [broken[name] for name in ("name", "attack", "distance", "adversarial_label", "nearest", "ranged")] == [
        "dog", "pgd", "0.25", "2", str(THIRD), "true",
    ]  # fmt: skip
    assert [broken[name] for name in ("forwards", "backwards", "queries", "target")] == ["7", "0", "2", ""]
    assert [certified["radius"], certified["ranged"]] == [repr(EPSILON), "false"]


def test_the_curve_has_both_ends_overall_and_by_class() -> None:
    assert [tuple(row.values()) for row in table("curve")] == [
        ("", "", "0.1", "0.75", "0.5"), ("1", "dog", repr(EPSILON), "0.5", "0.25"),
    ]  # fmt: skip


def test_stages_findings_and_rules() -> None:
    (stage,) = table("stages")
    shown = parsed(stage, stage)
    assert [shown[name] for name in ("name", "phase", "because", "reason", "seconds", "share", "sample")] == [
        "pgd", "answer", "gradients steps", "late", 1.25, 0.5, 9,
    ]  # fmt: skip
    assert [shown["rejected"], shown["parameters"], shown["budget_forwards"]] == [
        {"off the grid": 2},
        {"steps": 40},
        41,
    ]
    assert shown["transfer"]["fooled_both"] == 1
    assert [shown[name] for name in ("distance", "rounds", "most_rounds", "broken", "entered")] == [True, 2, 3, 1, 10]
    (found,) = table("findings")
    assert [found[name] for name in ("id", "status", "severity", "value", "threshold", "masks", "answers")] == [
        "gradients", "raised", "warning", str(THIRD), "0.1", "true", "a b",
    ]  # fmt: skip
    assert [found[name] for name in ("technique", "explanation", "advice", "backwards")] == [
        "AML.T1",
        "Seen.",
        "Do.",
        "5",
    ]
    (rule,) = table("rules")
    assert [rule[name] for name in ("rule", "value", "threshold", "status", "reason")] == [
        "r",
        str(THIRD),
        "0.4",
        "failed",
        "too low, by far",
    ]
    assert [rule[name] for name in ("metric", "table", "n", "bound", "low", "high", "needed")] == [
        "robust_accuracy",
        "2",
        "30",
        "exact",
        "0.1",
        str(THIRD),
        "70",
    ]


@pytest.mark.parametrize(
    ("name", "kind", "elsewhere"),
    [
        ("metrics", Metrics, {"robust_accuracy_interval", "statuses"}),
        ("classes", ClassRow, {"interval"}),
        ("classes", ClassHardness, {"curve"}),
        ("pairs", Pair, {"interval"}),
        ("samples", Outcome, {"spent"}),
        ("curve", CurvePoint, set()),
        ("stages", AttackRow, {"budget"}),
        ("findings", Finding, {"spent"}),
        ("rules", RuleRow, {"interval"}),
        ("protected", Protected, set()),
    ],
)
def test_no_member_of_the_record_is_left_out(name: str, kind: type[msgspec.Struct], elsewhere: set[str]) -> None:
    wanted = {field.name for field in msgspec.structs.fields(kind)} - elsewhere
    assert wanted <= set(TABLES[name].columns)


@pytest.mark.parametrize(
    "text",
    [
        "=HYPERLINK(\"http://x\",1)", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1+1", "\u3000=1", "＝1",
        "a;=1;=2", "dog;=cmd|'/C calc'!A0", "a; @b", "\x00=1", "\u202e=1",
    ],
)  # fmt: skip
def test_nothing_from_elsewhere_is_a_formula(text: str) -> None:
    """In either of the world's two kinds of CSV, and however the reader trims."""
    found = made(names=[text, "dog", "eel"], trust=text, attacks=[attack_row(reason=text, parameters={"loss": text})])
    found = msgspec.structs.replace(found, model=msgspec.structs.replace(found.model, name=text))
    for content in tables(Entry(found, Path())).values():
        for separator in (",", ";"):
            for row in csv.reader(io.StringIO(content, newline=""), delimiter=separator):
                for shown in row:
                    begins = shown.strip()[:1]
                    assert begins not in "=+@＝＋－＠" or not begins, shown
                    assert begins != "-" or float(shown) < 0


def test_text_keeps_its_words_and_hides_nothing() -> None:
    assert cell("dog, the 'best'") == "dog, the 'best'"
    assert cell("-1") == "'-1"
    assert cell("a-b=c") == "a-b=c"
    assert cell("two\nlines\tand\ra\x00bell\u202e") == "two\\u000alines\\u0009and\\u000da\\u0000bell\\u202e"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (float("nan"), ""), (float("inf"), ""), (-0.5, "-0.5"), (-3, "-3"),
        (0.1 + 0.2, "0.30000000000000004"), (1e-7, "1e-07"), (True, "true"), (False, "false"),
        (Verdict.PASSED, "passed"), (12345678, "12345678"),
    ],
)  # fmt: skip
def test_numbers_stay_numbers(value: Any, text: str) -> None:
    assert cell(value) == text


def test_it_is_rfc_4180_with_a_row_a_line() -> None:
    found = made(names=['two "quoted", ones', "a\nb", "eel"])
    for name, content in tables(Entry(found, Path())).items():
        lines = content.split("\r\n")
        assert lines[-1] == ""
        assert "\n" not in content.replace("\r\n", "")
        assert len(read(content)) == len(lines) - 2, name
    assert '"two ""quoted"", ones"' in tables(Entry(found, Path()))["classes.csv"]


def test_a_bare_record_has_every_file_with_its_columns() -> None:
    bare = record([], attacks=[])
    found = tables(Entry(bare, Path()))
    assert set(found) == {f"{name}.csv" for name in TABLES}
    for name, content in found.items():
        assert content.splitlines()[0].split(",") == list(TABLES[name.removesuffix(".csv")].columns)
        assert len(content.splitlines()) == (2 if name == "metrics.csv" else 1)


def test_several_records_share_the_files_and_every_row_says_whose_it_is() -> None:
    ours = [
        made(), made(threat=threat_info(name="l2 0.5"), hardness=None), made(threat=threat_info(name="=1"), names=None),
        made(),
    ]  # fmt: skip
    found = render([Entry(own, Path()) for own in ours])
    whose = ["model linf 8/255", "model l2 0.5", "model =1", "model linf 8/255 (2)"]
    assert [row["record"] for row in read(found["metrics.csv"])] == whose
    for name, content in found.items():
        rows = read(content)
        assert content.startswith("record,")
        for key, own in zip(whose, ours, strict=True):
            alone = read(tables(Entry(own, Path()))[name])
            assert [{k: v for k, v in row.items() if k != "record"} for row in rows if row["record"] == key] == alone


def test_a_single_record_needs_no_name() -> None:
    entry = Entry(made(), Path())
    assert render([entry]) == tables(entry)

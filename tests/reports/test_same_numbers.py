"""Page, Markdown and tables say the numbers of `audit.json`: each is parsed, and read against the record's JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports import markdown
from auditor.reports.html import render
from auditor.reports.tables import tables

from auditor.entry import Entry

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
CLEAR = str.maketrans({"\u202f": " ", "\xa0": " ", "\u2060": "", "−": "-", ",": ""})
NAMES = ["ant", "bee", "cat", "dog", "elk"]
BEYOND, MISSING = "beyond reach", "not computed"


def number(text: str) -> tuple[float, int]:
    """The first number in a text, and its decimals."""
    found = re.search(r"-?\d*\.(\d+)|-?\d+", text.translate(CLEAR))
    assert found, text
    return float(found[0]), len(found[1] or "")


def says(text: str, value: float | None, scale: float = 1.0) -> bool:
    """Whether the text is this value, rounded to the digits that it shows; words stand for what is not there."""
    if value is None:
        return text in (BEYOND, MISSING)
    shown, decimals = number(text)
    return abs(shown - value * scale) <= 0.5 * 10**-decimals * (1 + 1e-9)


def between(text: str, span: list[float]) -> bool:
    """Whether the text is this interval, in percent."""
    low, high = re.findall(r"[\d.]+", text.translate(CLEAR))
    return says(low, span[0], 100) and says(high, span[1], 100)


def lines(text: str, first: str) -> list[list[str]]:
    """The rows of the Markdown table whose head begins so."""
    block = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block[2:]]


@pytest.fixture(params=[{"n": 450, "classes": 5, "names": NAMES}, {"n": 90, "classes": 3, "names": NAMES[:3]}])
def made(request: pytest.FixtureRequest, entry: Make) -> Entry:
    return entry(hardness={}, **request.param)


@pytest.fixture
def record(made: Entry) -> dict[str, Any]:
    """The record as its file has it."""
    return json.loads(msgspec.json.encode(made.record))  # type: ignore[no-any-return]


def outputs(made: Entry, parse: Parse) -> tuple[Any, str, dict[str, list[dict[str, str]]]]:
    """The page taken apart, the Markdown, and the tables by their file."""
    sheets = {name: list(csv.DictReader(io.StringIO(text))) for name, text in tables(made).items()}
    return parse(render([made])), markdown.render([made]), sheets


def test_the_headline(made: Entry, record: dict[str, Any], parse: Parse) -> None:
    page, text, sheets = outputs(made, parse)
    m = record["metrics"]
    figures = {row[0]: row for row in lines(text, "Figure")}
    for name, key, scale in (
        ("Robust accuracy", "robust_accuracy", 100),
        ("Clean accuracy", "clean_accuracy", 100),
        ("Median distance", "median_distance", 1),
    ):
        assert says(figures[name][1], m[key], scale)
        assert page.figures[name][0].translate(CLEAR) == figures[name][1].translate(CLEAR)
        assert float(sheets["metrics.csv"][0][key]) == m[key]
    low, high = m["robust_accuracy_interval"]
    span = re.search(r"interval ([\d.]+–[\d.]+)", page.figures["Robust accuracy"][1].translate(CLEAR))
    assert span
    assert between(span[1], [low, high])
    assert span[1] in figures["Robust accuracy"][2].translate(CLEAR)
    for row, other in zip(page.table("What happened"), lines(text, "Status"), strict=True):
        assert int(row[1]) == m["statuses"][row[0]] == int(other[1])
        assert row[:3] == other


def test_every_class(made: Entry, record: dict[str, Any], parse: Parse) -> None:
    page, text, sheets = outputs(made, parse)
    heads, rows = page.heads("By class"), {row[0]: row for row in page.table("By class")}
    short = {row[0]: row for row in lines(text, "Class")}
    sheet = {row["name"]: row for row in sheets["classes.csv"]}
    hard = {row["label"]: row for row in record["hardness"]["classes"]}
    assert len(rows) == len(short) == len(sheet) == len(record["by_class"])
    for own in record["by_class"]:
        row = dict(zip(heads, rows[own["name"]], strict=True))
        assert says(row["Robust"], own["robust_accuracy"], 100)
        assert between(row["Interval"], own["interval"])
        assert says(row["Clean"], own["clean_accuracy"], 100)
        assert [row["n"], row["Natural errors"], row["Boundary errors"]] == [
            str(own[key]) for key in ("n", "misclassified", "broken")
        ]
        assert says(row["Median distance"], hard[own["label"]]["distance"])
        assert row["Most often becomes"].split(" (")[0] == NAMES[own["turns_into"]]
        assert short[own["name"]] == rows[own["name"]][0:1] + rows[own["name"]][2:]
        assert float(sheet[own["name"]]["robust_accuracy"]) == own["robust_accuracy"]
        assert float(sheet[own["name"]]["distance"]) == hard[own["label"]]["distance"]


def test_every_pair(made: Entry, record: dict[str, Any], parse: Parse) -> None:
    page, text, sheets = outputs(made, parse)
    own = {(NAMES[p["source"]], NAMES[p["target"]]): p for p in record["hardness"]["pairs"]}
    caption = "All pairs" if len(record["by_class"]) > 3 else "Pairs"
    rows = page.table(caption)
    assert {(row[0], row[1]) for row in rows} == set(own)
    for row in rows:
        pair = own[row[0], row[1]]
        assert row[2] == f"{pair['broken']} of {pair['n']}"
        assert says(row[3], pair["broken"] / pair["n"], 100)
        assert between(row[4], pair["interval"])
        assert row[6] == str(pair["reached"])
        for cell, key in ((5, "distance"), (7, "mean_distance"), (8, "hardness"), (9, "adversarial_distance")):
            assert says(row[cell], pair[key])
    best = lines(text, "From")
    assert best == [[*row[:3], *row[4:6]] for row in rows[: len(best)]]
    for line in sheets["pairs.csv"]:
        assert float(line["distance"] or "nan") == pytest.approx(
            own[line["source_name"], line["target_name"]]["distance"] or float("nan"), nan_ok=True
        )
    if len(record["by_class"]) > 3:
        for title, key in (("Success rate.", None), ("Median distance.", "distance")):
            for line in page.table(title):
                for target, shown in zip(page.heads(title)[1:], line[1:], strict=True):
                    if target != line[0]:
                        pair = own[line[0], target]
                        value = pair[key] if key else pair["broken"] / pair["n"]
                        assert shown == "–" if value is None else says(shown, value, 1 if key else 100)


def test_every_distance_and_both_ends_of_the_curve(made: Entry, record: dict[str, Any], parse: Parse) -> None:
    page, text, sheets = outputs(made, parse)
    points = {f"{p['epsilon']:.3g}": p for p in record["curve"]}
    rows = page.table("Robust accuracy in percent")
    assert [row[0] for row in rows] == list(points)
    for row in rows:
        assert says(row[1], points[row[0]]["robust_accuracy"], 100)
        assert says(row[2], points[row[0]]["certified"], 100)
    whole = [line for line in sheets["curve.csv"] if line["label"] == ""]
    assert [float(line["robust_accuracy"]) for line in whole] == [p["robust_accuracy"] for p in record["curve"]]
    hard = {NAMES[row["label"]]: row for row in record["hardness"]["classes"]}
    for row in page.table("Distance of the nearest"):
        assert says(row[2], hard[row[0]]["nearest"])
        assert says(row[3], hard[row[0]]["distance"])
    assert says(
        text[text.index("adversarial example within ") :].split("within ")[1], record["metrics"]["median_distance"]
    )


def test_every_stage(made: Entry, record: dict[str, Any], parse: Parse) -> None:
    page, text, sheets = outputs(made, parse)
    heads, rows = page.heads("Stage by stage"), page.table("Stage by stage")
    rows = [row for row in rows if len(row) == len(heads)]
    short = lines(text, "Stage")
    for place, own in enumerate(record["attacks"]):
        row = dict(zip(heads, rows[place], strict=True))
        for head, key in (
            ("Entered", "entered"), ("Broke", "broken"), ("Forwards", "forwards"), ("Backwards", "backwards"),
            ("Queries", "queries"),
        ):  # fmt: skip
            assert int(row[head]) == own[key] == int(sheets["stages.csv"][place][key])
        assert short[place][3:] == rows[place][4:]
    left = [row[3] for row in rows if row[3]]
    assert says(left[-1], record["metrics"]["robust_accuracy"], 100)


def test_every_step(made: Entry, record: dict[str, Any], parse: Parse) -> None:
    page, text, _ = outputs(made, parse)
    for number_, step in enumerate(record["next_steps"], 1):
        assert f"{number_}. **{step['what']}** {step['why']}" in text
        for part in (step["what"], step["why"], step["command"]):
            assert part in page.text

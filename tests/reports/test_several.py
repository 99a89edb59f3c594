"""Several audits in one page: a line for each, and their classes beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from auditor.reports.html import render
from auditor.reports.summary import CLASSES

from auditor.entry import Entry

Make = Callable[..., Entry]
Parse = Callable[[str], Any]


def test_the_classes_of_all_audits_stand_side_by_side(entry: Make, parse: Parse) -> None:
    names = ["ant", "bee", "cat"]
    made = [entry(n=90, names=names), entry(n=150, names=names, seed=3)]
    rows = parse(render(made)).table("Robust accuracy by class and audit")
    tables = [{row.name: row for row in one.record.by_class} for one in made]
    for row in rows:
        for shown, table in zip(row[1:], tables, strict=True):
            assert shown == f"≤ {(table[row[0]].robust_accuracy or 0) * 100:.0f} %"
    worst = [min(table[name].robust_accuracy or 0 for table in tables) for name in (row[0] for row in rows)]
    assert worst == sorted(worst)
    assert sorted(row[0] for row in rows) == names


def test_only_shared_classes_are_compared_and_the_rest_is_counted(entry: Make, parse: Parse) -> None:
    page = parse(render([entry(n=90, classes=3), entry(n=90, classes=5)]))
    assert len(page.table("Robust accuracy by class and audit")) == 3
    assert "2 classes that not all audits share" in page.text
    many = parse(render([entry(n=400, classes=40, evidence=False)] * 2))
    assert len(many.table("Robust accuracy by class and audit")) == CLASSES
    assert "10 classes that" in many.text


def test_audits_of_one_name_are_numbered_unless_their_threats_differ(entry: Make, parse: Parse) -> None:
    one, two = entry(n=30), entry(n=30, seed=2)
    assert [row[0] for row in parse(render([one, two])).table("Robust accuracy is")] == [
        "robust.onnx (1)", "robust.onnx (2)"
    ]  # fmt: skip
    other = msgspec.structs.replace(two.record, threat=msgspec.structs.replace(two.record.threat, name="l2 0.5"))
    page = parse(render([one, Entry(other, two.folder)]))
    assert [row[:2] for row in page.table("Robust accuracy is")] == [
        ["robust.onnx", "linf 8/255"], ["robust.onnx", "l2 0.5"]
    ]  # fmt: skip
    assert {"Sections of robust.onnx, linf 8/255", "Sections of robust.onnx, l2 0.5"} <= set(page.values("aria-label"))

"""Matrices: a number in every cell, a shade that says the same, and in its title what the number is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from auditor.reports.html import render
from auditor.reports.matrix import distances, success

from auditor.entry import Entry
from auditor.hardness import Pair
from auditor.metrics import wilson

Make = Callable[..., Entry]
Parse = Callable[[str], Any]


def pair(source: int, target: int, broken: int, n: int, distance: float | None = 0.02) -> Pair:
    return Pair(
        source=source, target=target, n=n, broken=broken, interval=wilson(broken, n), reached=n, distance=distance,
        mean_distance=distance, hardness=0.1, adversarial_distance=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "text", "shade"), [(0, "0", "s0"), (1, "5", "s1"), (4, "20", "s1"), (5, "25", "s2"), (20, "100", "s5")]
)
def test_a_success_rate_is_a_number_a_shade_and_a_title(entry: Make, broken: int, text: str, shade: str) -> None:
    shown = success(entry(n=30, evidence=False).record, [pair(0, 1, broken, 20)], [0, 1])
    cell = shown.rows[0].cells[1]
    assert (cell.text, cell.shade) == (text, shade)
    assert f"0 to 1: {broken} of 20 within epsilon, interval" in cell.title
    assert shown.rows[0].cells[0].text == ""
    assert shown.rows[1].cells[0].title == "no sample was attacked towards it"


def test_cells_of_few_runs_are_flagged_beside_others_of_many(entry: Make) -> None:
    record = entry(n=30, evidence=False).record
    shown = success(record, [pair(0, 1, 1, 20), pair(1, 0, 3, 9)], [0, 1])
    assert (shown.rows[0].cells[1].text, shown.rows[1].cells[0].text) == ("5", "33*")
    assert "* fewer than 10 runs" in shown.caption
    alone = success(record, [pair(1, 0, 3, 9)], [0, 1])
    assert alone.rows[1].cells[0].text == "33"
    assert "*" not in alone.caption


def test_the_nearest_has_the_full_colour_and_the_farthest_none(entry: Make) -> None:
    far = [pair(0, 1, 0, 20, 0.01), pair(0, 2, 0, 20, 0.02), pair(1, 0, 0, 20, 0.03), pair(1, 2, 0, 20, None)]
    shown = distances(entry(n=30, evidence=False).record, far, [0, 1, 2])
    assert [cell.shade for cell in shown.rows[0].cells] == ["", "s5", "s2"]
    assert [cell.text for cell in shown.rows[1].cells] == [".03", "", "–"]
    assert shown.rows[1].cells[0].shade == "s0"
    assert "20 of 20 got there at any distance" in shown.rows[1].cells[2].title
    assert "0.96\xa0×\xa0epsilon" in shown.rows[1].cells[0].title


def test_the_page_has_both_with_heads_and_titles(entry: Make, parse: Parse) -> None:
    made = entry(n=200, classes=5, names=["ant", "bee", "cat", "dog", "elk"], hardness={})
    page = parse(render([made]))
    for caption in ("Success rate.", "Median distance."):
        assert page.heads(caption) == ["from, to", "ant", "bee", "cat", "dog", "elk"]
        rows = page.table(caption)
        assert [row[0] for row in rows] == ["ant", "bee", "cat", "dog", "elk"]
        assert all(row[place] == "" for place, row in enumerate(rows, 1))
        assert all(cell for place, row in enumerate(rows, 1) for at, cell in enumerate(row) if at != place)
    titles = [value for tag, name, value in page.attributes if (tag, name) == ("td", "title")]
    assert len(titles) == 2 * 5 * 4

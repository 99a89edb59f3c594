"""The pull request's version: the same numbers, and words that no renderer takes for markup."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest
from auditor.reports.markdown import code, plain, render

from auditor.entry import Entry

Make = Callable[..., Entry]


def test_numbers_and_reasons_are_the_record_s(entry: Make) -> None:
    made = entry(n=450, names=["cat", "dog", "fox"])
    record, text = made.record, render([made]).replace("\u202f", " ").replace("\u2060", "").replace("\xa0", " ")
    assert record.summary in text
    assert f"| withstood | {record.metrics.statuses['withstood']} |" in text
    for row in record.by_class:
        assert row.robust_accuracy is not None
        assert f"| {row.name} | ≤ {row.robust_accuracy * 100:.1f} % |" in text
    assert "- strange: ValueError: lost" in text
    assert "- apgd dlr ×3: 13 candidates refused, outside the ball" in text
    assert record.command in text


def test_every_table_has_as_many_cells_in_each_row(entry: Make) -> None:
    made = entry(names=["a|b", "c\nd", "`e`"])
    for block in re.findall(r"(?:^\|.*\n)+", render([made]), re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>|`x`", "&lt;b&gt;\\|\\`x\\`"),
        ("[a](https://example.org)", "\\[a\\](https&#58;//example.org)"),
        ("@team www.example.org", "&#64;team www&#46;example.org"),
        ("two\nlines", "two lines"),
        ("- item", "\\- item"),
        ("a\x00\u202eb", "a\\\\u0000\\\\u202eb"),
    ],
)
def test_words_stay_words(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_command_can_not_end_its_block(entry: Make) -> None:
    assert code("echo ````").splitlines()[0] == "`````sh"
    made = entry()
    record = msgspec.structs.replace(made.record, command="run ```\n# not a heading")
    assert render([Entry(record, made.folder)]).count("\n````sh\nrun ```") == 1


def test_it_keeps_the_order_of_the_page_and_stays_short(entry: Make) -> None:
    text = render([entry(n=600, classes=20, hardness={}, evidence=False)])
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads == [
        "Did it pass?", "Can it be believed?", "Where is it weak?", "What was tried?", "What to do next",
        "How to get this again",
    ]  # fmt: skip
    assert len(text) < 12_000
    assert "The 10 weakest classes are shown." in text


def test_pairs_distances_and_steps_are_told(entry: Make) -> None:
    made = entry(n=200, classes=5, names=["ant", "bee", "cat", "dog", "elk"], hardness={})
    text = render([made])
    assert "| From | To | Within epsilon | Interval | Median distance |" in text
    assert "Half of the correctly classified samples have an adversarial example within" in text
    assert "1. **Harden the weakest class first.** It loses the most." in text
    assert "```sh\nadvaudit harden robust.onnx\n```" in text


def test_clear_checks_are_counted_and_open_ones_named(entry: Make) -> None:
    text = render([entry()])
    assert "1 check is clear.\n" in text
    assert "1 check could not be made here: Title of randomised." in text

"""The pull request's version: the same numbers, and words that no renderer takes for markup."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest
from auditor.reports.markdown import code, plain, render

from auditor.record import Entry

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

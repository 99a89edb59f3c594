"""What must not happen: the confusions that were named, how often they do, and what errors cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditor.reports import markdown
from auditor.reports.html import render
from auditor.reports.protected import protected

from auditor.entry import Entry
from auditor.hardness import Protected, Risk

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
ANY = Protected(label=0, into=None, cost=10, n=40, clean=1, broken=30, tried=39, got_there=30, precision=0.9)
ONE = Protected(label=1, into=2, cost=100, n=40, clean=0, broken=2, tried=0, got_there=0, precision=None)


def test_what_was_named_is_shown_with_its_counts(entry: Make, parse: Parse) -> None:
    made = entry(n=120, names=["stop", "give way", "yield"], hardness={"protected": [ANY, ONE]})
    rows = parse(render([made])).table("Confusions that must not happen")
    assert rows == [
        ["stop", "any other", "40", "1", "30", "30 of 39", "90 %", "10"],
        ["give way", "yield", "40", "0", "2", "not tried", "not computed", "100"],
    ]
    assert "| give way | yield | 40 | 0 | 2 | not tried |" in markdown.render([made])


def test_who_named_nothing_reads_nothing_of_it(entry: Make, parse: Parse) -> None:
    for made in (entry(n=60), entry(n=60, hardness={})):
        assert protected(made.record) is None
        assert "What must not happen" not in parse(render([made])).text


def test_what_was_found_is_a_lower_bound_and_what_could_be_picked_an_estimate(entry: Make) -> None:
    made = entry(n=60, hardness={"protected": [ANY], "risk": Risk(clean=0.1, found=2.5, costliest=7.9, n=55)})
    shown = protected(made.record)
    assert shown is not None
    for part in (
        ": 0.1 without an attack",
        "at least 2.5",
        "about 7.9 for an attacker who picks",
        "estimated from 55 samples",
    ):
        assert part in shown.risk
    made = entry(n=60, hardness={"protected": [ANY], "risk": Risk(clean=0.1, found=2.5, costliest=None, n=0)})
    shown = protected(made.record)
    assert shown is not None
    assert "estimated" not in shown.risk

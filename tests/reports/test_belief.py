"""What a reader learns of the twin: what stood in for derivatives, how far it agrees, and why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from auditor.reports import markdown
from auditor.reports.html import render
from auditor.reports.words import OTHER_SURROGATE, SURROGATES, surrogate

from auditor.entry import Entry
from auditor.host import Host

Make = Callable[..., Entry]
Parse = Callable[[str], Any]
replace = msgspec.structs.replace


def with_model(made: Entry, **changes: Any) -> Entry:
    record = made.record
    return Entry(replace(record, model=replace(record.model, **changes)), made.folder)


def test_each_stand_in_is_shown_with_its_operator_and_what_it_does(entry: Make, parse: Parse) -> None:
    made = with_model(entry(), surrogates=["Floor: straight-through", "Greater: fast sigmoid", "Acme: secret"])
    rows = parse(render([made])).table("Stand-in derivatives")
    assert [row[:2] for row in rows] == [
        ["Floor", "straight-through"],
        ["Greater", "fast sigmoid"],
        ["Acme", "secret"],
    ]
    assert [row[2] for row in rows[:2]] == [SURROGATES["straight-through"], SURROGATES["fast sigmoid"]]
    assert rows[2][2] == OTHER_SURROGATE
    text = markdown.render([made])
    assert "| Floor | straight-through | Forwards the step is taken" in text


def test_an_exact_twin_has_no_table_of_stand_ins(entry: Make, parse: Parse) -> None:
    made = with_model(entry(), twin="exact", surrogates=[])
    assert "Stand-in derivatives" not in " ".join(parse(render([made])).tables)
    assert "every operator's own derivative" in markdown.render([made])


def test_agreement_is_shown_on_clean_and_on_adversarial_samples(entry: Make, parse: Parse) -> None:
    rows = parse(render([entry()])).table("How well the twin agrees")
    assert rows == [
        ["Clean samples", "120", "99.2 %", "0.00213"],
        ["Verified adversarial examples", "40", "90 %", "0.0457"],
    ]
    text = markdown.render([entry()])
    assert "| Clean samples | 120 | 99.2 % | 0.00213 |" in text
    assert "| Verified adversarial examples | 40 | 90 % | 0.0457 |" in text


def test_a_twin_that_is_missing_says_why_and_what_to_do(entry: Make, parse: Parse) -> None:
    reason = "The twin has no operator com.acme::Odd (opset 1, node 'n')."
    made = with_model(entry(fidelity=None), twin="none", twin_reason=reason, surrogates=[])
    for text in (parse(render([made])).text, re.sub(r"\\", "", markdown.render([made]))):
        assert "com.acme::Odd (opset 1, node 'n')" in text
        assert "advaudit doctor" in text
        assert "register_operators" in text
        assert "there is no twin to compare" in text


def test_who_grants_no_gradients_is_not_told_to_supply_any(entry: Make, parse: Parse) -> None:
    made = with_model(
        entry(fidelity=None), twin="none", twin_reason="the audit grants score access only", surrogates=[]
    )
    made = Entry(replace(made.record, threat=replace(made.record.threat, access="score")), made.folder)
    text = parse(render([made])).text
    assert "the audit grants score access only" in text
    assert "register_operators" not in text


def test_every_surrogate_that_ships_is_explained() -> None:
    operators = Host.load(installed=False).operators
    assert operators is not None
    names = {entry.surrogate for entries in operators.table.values() for entry in entries}
    for name in names:
        if isinstance(name, str):
            assert surrogate(name) != OTHER_SURROGATE, name


@pytest.mark.parametrize("floor", [0.95, 0.9999])
def test_a_twin_below_the_floor_is_said_to_be(floor: float, entry: Make, parse: Parse) -> None:
    made = entry()
    made = Entry(replace(made.record, fidelity=replace(made.record.fidelity, floor=floor)), made.folder)
    assert ("this twin is below it" in parse(render([made])).text) == (floor > 0.992)

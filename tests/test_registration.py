"""A class that registers is what its kind has to be, or is told in a sentence what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from auditor import (
    Access,
    Attack,
    Certifier,
    Check,
    Defense,
    LibraryAttack,
    Norm,
    Problem,
    Reply,
    Rows,
    Severity,
)
from auditor.registration import fault


@dataclass(frozen=True, kw_only=True)
class Stranger(Attack):
    """Stays where it is."""

    name: ClassVar[str] = "stranger"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.inputs)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return rows


def altered(**attributes: Any) -> type[Stranger]:
    return dataclass(frozen=True, kw_only=True)(type("Altered", (Stranger,), attributes))


@pytest.mark.parametrize(
    ("thing", "error"),
    [
        (Stranger, None),
        (Stranger(), "Stranger(steps=1) is registered as attack, but is no subclass of Attack or LibraryAttack"),
        (int, "<class 'int'> is registered as attack, but is no subclass of Attack or LibraryAttack"),
        (type("Bare", (Stranger,), {}), "Bare should be a frozen dataclass; decorate it with @dataclass(frozen=True"),
        (LibraryAttack, "LibraryAttack does not define run_on; every attack does."),
        (altered(name="two words"), "Altered should have a class attribute `name` of letters"),
        (altered(name=None), "Altered should have a class attribute `name` of letters"),
        (altered(access="gradient"), "Altered should have a class attribute `access`, an Access, such as"),
        (altered(norms={Norm.LINF}), "Altered should have a class attribute `norms`, a frozenset of Norm"),
        (altered(norms=frozenset({"linf"})), "Altered should have a class attribute `norms`, a frozenset of Norm"),
        (altered(norms=frozenset()), "Altered should have a class attribute `norms`, a frozenset of Norm"),
    ],
    ids=str,
)
def test_an_attack_that_is_not_what_it_should_be(thing: Any, error: str | None) -> None:
    found = fault("attack", thing)
    assert found == error or (error is not None and found is not None and found.startswith(error))


def other(base: type, **attributes: Any) -> type:
    methods = {name: lambda self, *_: None for name in base.__abstractmethods__}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(type("Other", (base,), methods | {"name": "other"} | attributes))


@pytest.mark.parametrize(
    ("kind", "thing", "error"),
    [
        ("check", other(Check, title="t", source="s", severity=Severity.INFO), None),
        ("check", other(Check, title="t", source="s", severity="info"), "`severity`, a Severity, such as"),
        ("check", other(Check, source="s", severity=Severity.INFO), "`title`, one line of text; it is None."),
        ("check", Stranger, "is registered as check, but is no subclass of Check; register the class."),
        ("certifier", other(Certifier, norms=frozenset({Norm.L2})), None),
        ("certifier", other(Certifier), "`norms`, a frozenset of Norm"),
        ("certifier", Certifier, "Certifier does not define certify; every certifier does."),
        ("defence", other(Defense, gradient="exact"), None),
        ("defence", other(Defense, gradient="smooth"), "one of exact, bpda, random; it is 'smooth'."),
    ],
)
def test_other_classes_that_are_not_what_they_should_be(kind: str, thing: Any, error: str | None) -> None:
    found = fault(kind, thing)
    assert found == error or (error is not None and found is not None and error in found)

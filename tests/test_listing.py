from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pluggy
import pytest

from auditor import Access, Norm
from auditor.host import BUNDLED, Host
from auditor.listing import lines, sentence
from auditor.record import Plugin


@pytest.fixture(scope="module")
def text() -> list[str]:
    return list(lines(Host.load(installed=False)))


def test_it_fits_80_columns(text: list[str]) -> None:
    assert max(map(len, text)) <= 80


def test_everything_that_is_loaded_is_listed(text: list[str]) -> None:
    host = Host.load(installed=False)
    first = {line.split()[0] for line in text if line.startswith("  ") and not line.startswith("   ")}
    assert {*host.attacks, *host.checks, *host.certifiers, *host.defenses, *host.reporters} <= first
    assert text[0] == "Attacks"
    assert [line for line in text if line and line[0] != " "] == [
        "Attacks", "Checks", "Certifiers", "Defences", "Report formats", "Operators", "Plugins",
    ]  # fmt: skip


def test_an_attack_says_what_it_needs_and_takes(text: list[str]) -> None:
    at = next(i for i, line in enumerate(text) if line.startswith("  pgd "))
    assert text[at] == "  pgd           gradient access; l1 l2 linf"
    assert text[at + 1].strip().startswith("Climb the loss in fixed steepest-ascent steps")
    assert "steps=40 rel_step=0.075 loss=ce random_start=True kappa=50.0" in [line.strip() for line in text]


def test_bundled_modules_are_one_line_and_strangers_one_each() -> None:
    host = Host(pluggy.PluginManager("advaudit"))
    host.plugins += [
        Plugin(name=BUNDLED[0], version="1.2", sha256=""),
        Plugin(name=BUNDLED[1], version="1.2", sha256=""),
        Plugin(name=BUNDLED[2], version="1.2", sha256="", error="ImportError: no such thing"),
        Plugin(name="stranger", version="0.3", sha256=""),
        Plugin(name="odd", version="local", sha256="", error="SyntaxError: " + "very " * 30 + "invalid"),
    ]
    shown = list(lines(host))
    plugins = shown[shown.index("Plugins") + 1 :]
    assert plugins[0] == "  bundled       2 modules of advaudit 1.2"
    assert plugins[1:4] == [
        f"  {BUNDLED[2]}", "                1.2", "                can't be used: ImportError: no such thing",
    ]  # fmt: skip
    assert plugins[4] == "  stranger      0.3"
    assert plugins[5] == "  odd           local"
    assert "invalid" in plugins[8]
    assert max(map(len, shown)) <= 80
    assert shown[:3] == ["Attacks", "  none", ""]


def test_a_signature_is_no_docstring() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Silent:
        name: ClassVar[str] = "silent"
        access: ClassVar[Access] = Access.SCORE
        norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})

        given: int = 3
        made: list[int] = field(default_factory=list)

    assert sentence(Silent) == ""
    host = Host(pluggy.PluginManager("advaudit"), attacks={"silent": Silent})  # type: ignore[dict-item]
    assert list(lines(host))[:4] == ["Attacks", "  silent        score access; l2", "                given=3 made", ""]

"""Suites as data: what a table may say, and that the bundled ones can be played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from auditor.access import Access
from auditor.attack import Attack, Reply, Rows
from auditor.errors import UsageError
from auditor.host import Host
from auditor.problem import Problem
from auditor.suite import Stage, bundled_suites, find_suite, make_stage, parse_attack
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class Still(Attack):
    """Stays where it is."""

    name: ClassVar[str] = "still"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    steps: int = 5
    speed: float = 0.5
    loss: str = "ce"
    random: bool = False
    losses: ClassVar[tuple[str, ...]] = ("ce", "margin")

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.inputs)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        return rows


ATTACKS = {"still": Still}


@pytest.fixture(scope="module")
def bundled() -> dict[str, Any]:
    return Host.load(installed=False).attacks


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("pgd", {"name": "pgd"}),
        ("pgd:", {"name": "pgd"}),
        ("pgd:steps=100", {"name": "pgd", "steps": "100"}),
        (" pgd : steps = 100, loss=margin ", {"name": "pgd", "steps": "100", "loss": "margin"}),
    ],
)
def test_an_attack_on_the_command_line(text: str, table: dict[str, str]) -> None:
    assert parse_attack(text) == table


@pytest.mark.parametrize("text", ["pgd:steps", "pgd:=3", "pgd:100"])
def test_options_have_a_name_and_a_value(text: str) -> None:
    with pytest.raises(UsageError, match="NAME:option=value"):
        parse_attack(text)


def test_a_stage_from_text_or_toml() -> None:
    from_text = make_stage(parse_attack("still:steps=7,speed=0.25,random=true,restarts=3,share=0.5"), ATTACKS)
    from_toml = make_stage(
        {"name": "still", "steps": 7, "speed": 0.25, "random": True, "restarts": 3, "share": 0.5}, ATTACKS
    )
    assert from_text == from_toml
    assert from_text.attack == Still(steps=7, speed=0.25, random=True)
    assert (from_text.restarts, from_text.share) == (3, 0.5)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "pdg"}, "There is no attack 'pdg'.*still"),
        ({}, "There is no attack ''"),
        (
            {"name": "still", "step": 3},
            "still has no option 'step'; it takes steps, speed, loss, random, restarts, share",
        ),
        ({"name": "still", "steps": "many"}, "still: .*steps=5"),
        ({"name": "still", "steps": 2.5}, "still: "),
        ({"name": "still", "steps": 0}, "steps is at least 1, got 0"),
        ({"name": "still", "loss": "hinge"}, "still: loss is one of ce, margin, got 'hinge'"),
        ({"name": "still", "restarts": 0}, "restarts of still is at least 1, got 0"),
        ({"name": "still", "share": 0}, "share of still is above 0 and at most 1"),
        ({"name": "still", "share": 1.5}, "share of still is above 0 and at most 1"),
        ({"name": "still", "share": float("nan")}, "share of still"),
    ],
)
def test_what_a_table_may_not_say(table: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_stage(table, ATTACKS)


@pytest.mark.parametrize(
    ("table", "title"),
    [
        ({"name": "still"}, "still"),
        ({"name": "still", "loss": "margin"}, "still margin"),
        ({"name": "still", "restarts": 5}, "still ×5"),
        ({"name": "still", "title": "as a baseline"}, "as a baseline"),
    ],
)
def test_titles(table: dict[str, Any], title: str) -> None:
    assert make_stage(table, ATTACKS).title == title


def test_a_stage_spells_out_every_option() -> None:
    table = Stage(attack=Still(steps=9), restarts=2, share=0.5).table()
    assert table == {
        "name": "still",
        "restarts": 2,
        "share": 0.5,
        "rounds": 1,
        "distance": False,
        "steps": 9,
        "speed": 0.5,
        "loss": "ce",
        "random": False,
    }
    assert make_stage(table, ATTACKS).attack == Still(steps=9)


def test_the_bundled_suites_can_be_played(bundled: dict[str, Any]) -> None:
    assert list(bundled_suites()) == ["quick", "standard", "thorough"]
    for name, tables in bundled_suites().items():
        stages = find_suite(name, bundled)
        assert [stage.attack.name for stage in stages] == [table["name"] for table in tables]
        assert {stage.attack.access for stage in stages} > {Access.GRADIENT}, "a second opinion without gradients"


def test_a_longer_suite_spends_more(bundled: dict[str, Any]) -> None:
    def passes(name: str) -> float:
        return sum(s.share * s.restarts * s.attack.steps for s in find_suite(name, bundled))

    assert passes("quick") < passes("standard") / 3 < passes("thorough") / 9


def test_an_unknown_suite_is_named(bundled: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="quick, standard, thorough, got 'slow'"):
        find_suite("slow", bundled)

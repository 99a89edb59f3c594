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
from auditor.suite import Stage, bundled_suites, find_suite, for_norm, make_stage, parse_attack
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
        ({"name": "still", "restarts": 0}, "restarts of still is from 1 to 100000, got 0"),
        ({"name": "still", "share": 0}, "share of still is above 0 and at most 1"),
        ({"name": "still", "share": 1.5}, "share of still is above 0 and at most 1"),
        ({"name": "still", "share": float("nan")}, "share of still"),
        ({"name": "still", "near": 0}, "near of still is above 0 and at most 1, got 0"),
        ({"name": "still", "near": 1.01}, "near of still is above 0 and at most 1, got 1.01"),
        ({"name": "still", "near": float("nan")}, "near of still"),
        ({"name": "still", "near": "close"}, "still: .*near"),
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
        "source": "twin",
        "sample": 0,
        "steps": 9,
        "speed": 0.5,
        "loss": "ce",
        "random": False,
    }
    assert make_stage(table, ATTACKS).attack == Still(steps=9)


def test_near_is_in_the_plan_where_it_leaves_somebody_out() -> None:
    """So the digest of a plan without it is what it was before there was a near."""
    assert make_stage(parse_attack("still:near=0.4"), ATTACKS).near == 0.4
    table = Stage(attack=Still(), near=0.4).table()
    assert table["near"] == 0.4
    assert make_stage(table, ATTACKS).table() == table
    assert "near" not in Stage(attack=Still(), near=1.0).table()


def test_looking_for_distances_leaves_nobody_out(bundled: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"same budget \(distance\): no share, no near, no rounds"):
        make_stage({"name": "fmn", "distance": True, "near": 0.5}, bundled)


def test_the_bundled_suites_can_be_played(bundled: dict[str, Any]) -> None:
    assert list(bundled_suites()) == [
        *("quick", "standard", "thorough", "autoattack", "score", "decision", "distance", "spatial"),
    ]
    for name, tables in bundled_suites().items():
        stages = find_suite(name, bundled)
        assert [stage.attack.name for stage in stages] == [table["name"] for table in tables]
        for norm in {norm for stage in stages for norm in stage.norms}:
            for stage in for_norm(stages, norm):
                assert norm in stage.attack.norms, f"{name}: {stage.attack.name} is skipped in {norm}"


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("name", ["quick", "standard", "thorough", "autoattack"])
def test_a_suite_has_a_second_opinion_without_gradients(bundled: dict[str, Any], name: str, norm: Norm) -> None:
    assert Access.SCORE in {stage.attack.access for stage in for_norm(find_suite(name, bundled), norm)}


def spent(name: str, norm: Norm, bundled: dict[str, Any]) -> float:
    """Forward-equivalents that a suite spends on a survivor of ten classes, on average; a backward counts two."""
    stages = for_norm(find_suite(name, bundled), norm)
    budgets = [(stage.share, stage.budget(10)) for stage in stages]
    return sum(share * (forwards + 2 * backwards + queries) for share, (forwards, backwards, queries) in budgets)


def test_autoattack_costs_what_it_costs(bundled: dict[str, Any]) -> None:
    """Per survivor 101 + 909 + 9 + 1,800 + 5,000 forwards and 101 + 909 + 900 backwards, within 2 %."""
    stages = for_norm(find_suite("autoattack", bundled), Norm.LINF)
    forwards, backwards, queries = (sum(stage.budget(10)[kind] for stage in stages) for kind in range(3))
    assert forwards + queries == pytest.approx(7810, rel=0.02)
    assert backwards == pytest.approx(1910, rel=0.02)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize(("name", "share"), [("quick", 50), ("standard", 8), ("thorough", 2)])
def test_what_a_suite_costs_against_autoattack(bundled: dict[str, Any], name: str, share: int, norm: Norm) -> None:
    assert spent(name, norm, bundled) <= spent("autoattack", norm, bundled) / share


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1, Norm.L0])
def test_a_longer_suite_spends_more(bundled: dict[str, Any], norm: Norm) -> None:
    quick, standard, thorough = (spent(name, norm, bundled) for name in ("quick", "standard", "thorough"))
    assert quick < standard / 3 < thorough / 6


@pytest.mark.parametrize("norm", [norm for norm in Norm if norm is not Norm.SPATIAL])
def test_stages_are_for_their_norms(bundled: dict[str, Any], norm: Norm) -> None:
    suite = [make_stage({"name": "still", "norms": [norm]}, ATTACKS), make_stage({"name": "still"}, ATTACKS)]
    assert for_norm(suite, norm) == suite
    assert for_norm(suite, Norm.SPATIAL) == suite[1:]
    with pytest.raises(UsageError, match="No stage of the suite is meant for spatial"):
        for_norm(suite[:1], Norm.SPATIAL)


def test_an_unknown_suite_is_named(bundled: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"quick, standard, thorough, .*, got 'slow'"):
        find_suite("slow", bundled)

"""Answers are data: every name in them is an attack that is there, and every check asks for one that is there."""

from __future__ import annotations

import pytest

from auditor.answers import CONFIRMATION, answers, fitting
from auditor.bench import linear_bench
from auditor.host import Host
from auditor.sources import RESERVED
from auditor.suite import make_stage

HOST = Host.load(installed=False)


@pytest.mark.parametrize("name", list(answers()))
def test_every_stage_of_an_answer_can_be_made(name: str) -> None:
    stages = [make_stage(table, HOST.attacks) for table in answers()[name]]
    assert stages
    assert {stage.source for stage in stages} <= RESERVED


@pytest.mark.parametrize("name", sorted(HOST.checks))
def test_every_check_asks_for_answers_that_are_there(name: str) -> None:
    assert set(HOST.checks[name].answers) <= set(answers()) - {CONFIRMATION}


def test_every_answer_is_asked_for() -> None:
    asked = {answer for kind in HOST.checks.values() for answer in kind.answers}
    assert asked == set(answers()) - {CONFIRMATION}


def test_what_can_not_be_played_is_left_out(tmp_path: object) -> None:
    from pathlib import Path

    search = linear_bench().at(0.1).search(Path(str(tmp_path)))
    played = fitting("smooth", HOST.attacks, search)
    assert played
    assert {stage.source for stage in played} == {"twin"}  # a linear model has nothing to soften
    assert fitting("expected", HOST.attacks, search) == []
    assert fitting("margin", {}, search) == []


def test_the_confirmation_shares_no_attack_with_the_answers() -> None:
    """Under linf and l2, where there are enough kinds."""
    stages = [(name, t["name"], set(t.get("norms", []))) for name, tables in answers().items() for t in tables]
    for name, attack, norms in stages:
        for last, other, where in stages:
            if name != CONFIRMATION and last == CONFIRMATION and attack == other and name != "smooth":
                assert not norms & where & {"linf", "l2"}, f"{attack} answers {name} and confirms it"

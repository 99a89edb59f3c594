"""Frozen stages: a threshold in place of every share, and a clear word where there can be none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from auditor.plugins.attacks.fmn import FMN
from auditor.plugins.attacks.noise import Noise
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.rays import RayS
from auditor.plugins.attacks.square import Square
from torch import Tensor

from auditor.access import Access
from auditor.attack import LibraryAttack
from auditor.errors import UsageError
from auditor.frozen import NEARS, SHARES, frozen, near_of
from auditor.host import Host
from auditor.suite import Stage, bundled_suites, find_suite
from auditor.threat import Norm


class Whole(LibraryAttack):
    """Gets all samples at once, and gives them back."""

    name: ClassVar[str] = "whole"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})

    def run_on(self, model: Callable[..., Tensor], x: Tensor, *_: Any) -> Tensor:
        return x


def stage(**options: Any) -> Stage:
    return Stage(**{"attack": PGD(steps=7), "title": "the stage"} | options)


def test_a_share_becomes_a_threshold_and_nothing_else_changes() -> None:
    ranked = stage(restarts=12, share=0.2, rounds=3)
    assert frozen(ranked) == replace(ranked, share=1.0, near=near_of(0.2))
    assert frozen(frozen(ranked)) == frozen(ranked)


@pytest.mark.parametrize("options", [{"attack": Square()}, {"attack": RayS()}, {"source": "smooth"}])
def test_what_does_not_follow_the_twin_meets_everybody(options: dict[str, Any]) -> None:
    """It is a second opinion: where gradients are masked, the margins that they led to say that nobody is near."""
    assert frozen(stage(share=0.2, **options)) == stage(**options)
    assert frozen(stage(share=0.2, near=0.3, **options)) == stage(near=0.3, **options), "which the user asked for"


@pytest.mark.parametrize("options", [{}, {"near": 0.3}, {"attack": FMN(), "distance": True}, {"attack": Noise()}])
def test_who_has_no_share_stays_as_it_is(options: dict[str, Any]) -> None:
    assert frozen(stage(**options)) == stage(**options)


def test_the_stricter_of_two_thresholds_holds() -> None:
    assert frozen(stage(share=0.2, near=0.01)).near == 0.01
    assert frozen(stage(share=0.2, near=0.9)).near == near_of(0.2)


def test_a_larger_share_has_a_larger_threshold() -> None:
    values = [near_of(share) for share in np.linspace(0.001, 1, 400)]
    assert (np.diff(values) > 0).all()
    assert (values[0] > 0, values[-1]) == (True, 1.0)
    assert [near_of(share) for share in SHARES] == list(NEARS)


@pytest.mark.parametrize("share", [0.001, 0.15, 0.5, 0.999])
def test_every_share_has_a_threshold_that_a_stage_may_have(share: float) -> None:
    assert 0 < frozen(stage(share=share)).near < 1


@pytest.mark.parametrize("name", list(bundled_suites()))
def test_every_bundled_suite_can_be_frozen(name: str) -> None:
    suite = find_suite(name, Host.load(installed=False).attacks)
    for before, after in zip(suite, map(frozen, suite), strict=True):
        assert after.share == 1
        assert (after.near < 1) == (before.share < 1 and before.attack.access is Access.GRADIENT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample": 9}, r"^the stage meets 9 samples drawn from all \(sample\): it can't be frozen\.$"),
        ({"sample": 9, "share": 0.2}, "drawn from all"),
        ({"attack": Whole()}, r"^the stage plays on all samples at once in a loop of its own: it can't be frozen\.$"),
    ],
)
def test_what_hangs_on_the_others_can_not_be_frozen(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        frozen(stage(**options))

"""Attacks that know less win only where the suite's were led astray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.checks.opinions import HardLabelGap, Opinion, RandomGap, TransferGap, WeakSuite
from bent import bent, nowhere
from records import attack_row

from auditor.bench import linear_bench
from auditor.check import Evidence
from auditor.record import FindingStatus
from auditor.sources import DISTILLATE, SMOOTH, Sources
from auditor.testing import check_check, evidence

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE


def misled(epsilon: float) -> Evidence:
    """After PGD without gradients, on a linear model of which all samples are at the distance 0.1."""
    made = bent(linear_bench(n=24, distance=0.1).at(epsilon), nowhere)
    return evidence(made, PGD(steps=2), deep=False)


def with_source(seen: Evidence, name: str) -> Evidence:
    plain = linear_bench(n=24, distance=0.1).target.twin()
    search = replace(seen.lab.search, sources=Sources({name: lambda: plain}))
    return replace(seen, lab=replace(seen.lab, search=search))


def test_random_points_break_what_blind_gradients_left() -> None:
    seen = misled(0.5)
    found = RandomGap().look(seen)
    assert found.status is RAISED
    assert found.value is not None
    assert found.value > 0.3
    assert RandomGap.masks
    assert seen.lab.handed  # what they broke is handed in


def test_labels_alone_break_what_blind_gradients_left() -> None:
    found = HardLabelGap().look(misled(0.12))
    assert found.status is RAISED
    assert found.value is not None
    assert found.value > 0.8


def test_a_stand_in_leads_where_the_twin_does_not() -> None:
    seen = misled(0.12)
    assert TransferGap().look(seen).status is INCONCLUSIVE  # there is none
    found = TransferGap().look(with_source(seen, SMOOTH))
    assert (found.status, found.value) == (RAISED, 1.0)


def test_what_costs_much_is_asked_of_deep_scans_alone() -> None:
    seen = with_source(misled(0.12), DISTILLATE)
    assert seen.lab.stand_ins() == []
    assert replace(seen.lab, deep=True).stand_ins() == [DISTILLATE]


@pytest.mark.parametrize("check", [RandomGap(), HardLabelGap(), TransferGap()])
def test_below_the_distance_nobody_wins(check: Opinion) -> None:
    seen = with_source(misled(0.09), SMOOTH)
    found = check.look(seen)
    assert (found.status, found.value) == (CLEAR, 0.0)
    check_check(check, PGD())


@pytest.mark.parametrize("check", [RandomGap(), HardLabelGap(), TransferGap()])
def test_nobody_left_is_nobody_missed(check: Opinion) -> None:
    found = check.look(evidence(linear_bench(n=8, distance=0.1).at(0.12), PGD()))
    assert (found.status, found.value) == (CLEAR, 0.0)
    assert check.look(evidence(linear_bench(n=8))).status is INCONCLUSIVE  # no white-box attack ran


def test_one_sample_is_no_evidence() -> None:
    seen = misled(0.12)
    seen.ledger.broken[1:] = True
    assert HardLabelGap().look(seen).status is CLEAR
    assert np.flatnonzero(~seen.ledger.broken).tolist() == [0]


def test_experiments_that_break_what_the_suite_left() -> None:
    seen = evidence(linear_bench(n=24, distance=0.1).at(0.09), PGD())
    assert WeakSuite().look(seen).status is CLEAR
    rows = [*seen.attacks, attack_row("rays", phase="check", broken=1)]
    assert WeakSuite().look(replace(seen, attacks=rows)).status is CLEAR  # one is no evidence
    found = WeakSuite().look(replace(seen, attacks=[*rows, attack_row("mi", phase="check", broken=2)]))
    assert (found.status, found.value) == (RAISED, 3 / 24)
    assert "(mi, rays)" in found.explanation
    check_check(WeakSuite(), PGD())

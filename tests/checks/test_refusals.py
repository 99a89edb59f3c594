"""Claims that the deployed model does not confirm: a model that answers NaN or ties off its data is not robust."""

from __future__ import annotations

import numpy as np
import pytest
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.square import Square
from auditor.plugins.checks.refusals import Refusals
from records import attack_row

from auditor.access import Access
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.record import AttackRow, FindingStatus
from auditor.suite import Stage
from auditor.testing import evidence
from auditor.threat import ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE


def status(*rows: AttackRow) -> FindingStatus:
    found = evidence(linear_bench(n=20))
    object.__setattr__(found, "attacks", list(rows))
    return Refusals().look(found).status


@pytest.mark.parametrize(
    ("rejected", "broken", "wanted"),
    [
        ({}, 10, CLEAR),
        ({"not misclassified": 4}, 0, CLEAR),
        ({"not misclassified": 5}, 0, RAISED),
        ({"not misclassified": 5}, 100, CLEAR),
        ({"tie at the top": 3, "no answer but NaN": 3}, 10, RAISED),
        ({"unchanged input": 50}, 0, CLEAR),
    ],
)
def test_refusals_against_breaks(rejected: dict[str, int], broken: int, wanted: FindingStatus) -> None:
    assert status(attack_row("pgd", broken=broken, entered=100, rejected=rejected)) is wanted


def test_without_attacks_nothing_is_known() -> None:
    assert status(attack_row("pgd", entered=0)) is INCONCLUSIVE


class Mute(LinearTarget):
    """Answers its own clean samples, and NaN to everything else."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        scores = super()._run(x)
        known = {row.tobytes() for row in self.known}
        scores[[row.tobytes() not in known for row in x]] = np.nan
        return scores

    known: np.ndarray


def test_a_model_that_answers_nan_is_refused_and_not_broken() -> None:
    plain = linear_bench(n=20, distance=0.1)
    target = Mute(plain.target.weight, plain.target.bias)  # type: ignore[attr-defined]
    target.known = plain.samples.inputs
    made = Bench(target=target, samples=plain.samples, threat=ThreatModel(epsilon=0.2))
    trial = made.play(PGD(steps=10))
    assert not trial.broken.any()
    assert trial.row.rejected["no answer but NaN"] >= 20
    assert status(trial.row) is RAISED


def test_a_share_means_nothing_where_no_attack_measured_a_margin() -> None:
    made = linear_bench(n=20, distance=0.1).at(1e-3)
    stages = [
        Stage(attack=PGD(steps=2), title="pgd"),
        Stage(attack=Square(steps=3), share=0.2, title="square"),
        Stage(attack=Square(steps=3), share=0.2, title="square again"),
    ]
    rows = Bench(target=made.target, samples=made.samples, threat=made.threat, access=Access.SCORE).play_suite(stages)[
        1
    ]
    assert [row.entered for row in rows] == [0, 20, 4]


def test_what_is_refused_far_away_is_no_claim_about_the_threat() -> None:
    far = attack_row(
        "bisection", entered=50, rejected={"not misclassified": 500, "tie at the top": 9}, phase="hardness"
    )
    near = attack_row("pgd", entered=50, broken=20)
    seen = evidence(linear_bench(n=4))
    object.__setattr__(seen, "attacks", [near, far])
    assert Refusals().look(seen).value == 0

"""Examples on the levels of eight bits survive rounding to them; those that lie between may not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from auditor.plugins.checks.rounding import Rounding

from auditor.bench import Bench, LinearTarget
from auditor.record import FindingStatus, Severity
from auditor.samples import Samples
from auditor.testing import check_check, evidence
from auditor.threat import ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
EDGE = (100 + 0.3) / 255
"""Above it the one feature is of class 1; rounding takes what lies closely above it back to level 100."""


def stepped(*points: float) -> Bench:
    target = LinearTarget(np.array([[0.0], [1.0]]), np.array([EDGE, 0.0]), (1,))
    inputs = np.full((len(points), 1), 99 / 255, np.float32)
    samples = Samples(inputs=inputs, labels=np.zeros(len(points), np.int64), ids=np.arange(len(points)), pixels=True)
    return Bench(target=target, samples=samples, threat=ThreatModel(epsilon=0.1, bounds=(0.0, 1.0)))


def test_what_lies_between_the_levels_is_lost() -> None:
    levels = (100.4, 101.0, 100.6, 103.2)
    seen = evidence(stepped(*levels))
    seen.ledger.adversarial.update({i: np.array([level / 255], np.float32) for i, level in enumerate(levels)})
    found = Rounding().look(seen)
    assert (found.status, found.value, found.severity) == (RAISED, 0.25, Severity.INFO)
    del seen.ledger.adversarial[0]
    assert Rounding().look(seen).status is CLEAR


def test_a_grid_leaves_nothing_to_round_and_what_is_no_picture_has_no_levels() -> None:
    seen = evidence(stepped(1.0))
    assert Rounding().look(seen).status is INCONCLUSIVE  # nothing was found
    assert Rounding().look(replace(seen, threat=replace(seen.threat, grid=1 / 255))).status is CLEAR
    assert Rounding().look(replace(seen, samples=replace(seen.samples, pixels=False))).status is INCONCLUSIVE
    check_check(Rounding())

"""The stationarity condition has closed forms; attacks that stopped half-way are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.attacks.square import Square
from auditor.plugins.checks.fosc import Stationarity, stationarity
from nets import mlp, net_bench

from auditor.access import Access
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.record import FindingStatus
from auditor.samples import Samples
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
CHECK = Stationarity()


def one(weight: list[list[float]], bias: list[float], x: list[float], threat: ThreatModel) -> Bench:
    target = LinearTarget(np.array(weight), np.array(bias))
    inputs = np.array([x], np.float32)
    samples = Samples(inputs=inputs, labels=np.zeros(1, np.int64), ids=np.arange(1))
    return Bench(target=target, samples=samples, threat=threat)


WEIGHT = [[1.0, -2.0, 0.0, 1.0], [0.0, 1.0, 1.0, -1.0], [-1.0, 0.0, 2.0, 0.0]]


@pytest.mark.parametrize(
    ("point", "want"), [((0.9, 0.2, 0.4, 0.8), 0.1944315), ((0.8, 0.3, 0.5, 0.7), 0.0)]
)  # the clean input, and what FGSM makes of it
def test_the_cross_entropy_of_three_classes(point: tuple[float, ...], want: float) -> None:
    seen = evidence(one(WEIGHT, [0.1, 0.0, -0.2], [0.9, 0.2, 0.4, 0.8], ThreatModel(epsilon=0.1, bounds=(0.0, 1.0))))
    index, points = np.arange(1), np.array([point])
    here = seen.lab.slopes(points, index, "ce")
    if not want:  # the gradient at the clean input is that of the linearised loss
        here = replace(here, gradient=seen.lab.slopes(seen.samples.inputs, index, "ce").gradient)
    condition, _ = stationarity(seen, index, points, here)
    assert condition == pytest.approx([want], abs=1e-6)


@pytest.mark.parametrize(("bounds", "want"), [((0.0, 1.0), 0.1), (None, 0.2)])
def test_the_box_cuts_off_what_can_not_be_reached(bounds: tuple[float, float] | None, want: float) -> None:
    """One pixel at 0.95 with a gradient of 2, epsilon 0.1."""
    seen = evidence(one([[-1.0], [1.0]], [5.0, 0.0], [0.95], ThreatModel(epsilon=0.1, bounds=bounds)))
    index = np.arange(1)
    x = seen.samples.inputs.astype(np.float64)
    condition, whole = stationarity(seen, index, x, seen.lab.slopes(x, index))
    assert condition == pytest.approx([want], abs=1e-6)
    assert whole == pytest.approx([want], abs=1e-6)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_the_whole_is_epsilon_times_the_dual_norm(norm: Norm) -> None:
    made = linear_bench(n=10, threat=ThreatModel(norm=norm, epsilon=0.1))
    seen = evidence(made)
    index, x = np.arange(10), made.samples.inputs.astype(np.float64)
    here = seen.lab.slopes(x, index)
    _, whole = stationarity(seen, index, x, here)
    order = {Norm.LINF: 1, Norm.L2: 2, Norm.L1: np.inf}[norm]
    assert whole == pytest.approx(0.1 * np.linalg.norm(here.gradient, ord=order, axis=1), rel=1e-3)


def test_where_a_linear_model_was_climbed_to_its_top_nothing_is_left() -> None:
    made = linear_bench(n=20, distance=0.1, threat=ThreatModel(epsilon=0.09))
    found = CHECK.look(evidence(made, PGD(steps=40, loss="margin")))
    assert found.status is CLEAR
    assert found.value == pytest.approx(0.0, abs=1e-5)


def test_an_attack_that_has_just_begun_is_found() -> None:
    """Two steps of a hundredth of epsilon leave 98 % to go."""
    made = linear_bench(n=20, distance=0.1, threat=ThreatModel(epsilon=0.09))
    found = CHECK.look(evidence(made, PGD(steps=3, rel_step=0.01, random_start=False)))
    assert found.status is RAISED
    assert found.value == pytest.approx(0.98, abs=0.011)
    assert not CHECK.masks
    assert CHECK.again


def test_an_honest_net_is_clear() -> None:
    assert CHECK.look(evidence(net_bench(mlp(), epsilon=0.02), PGD(steps=40, loss="margin"))).status is CLEAR


def test_what_was_broken_to_the_last_sample_leaves_nothing_open() -> None:
    made = linear_bench(n=20, distance=0.1, threat=ThreatModel(epsilon=0.11))
    assert CHECK.look(evidence(made, PGD(steps=40, loss="margin"))).status is CLEAR


def test_missing_evidence_is_inconclusive() -> None:
    made = linear_bench(n=10, distance=0.1, threat=ThreatModel(epsilon=0.09))
    assert CHECK.look(evidence(made)).status is INCONCLUSIVE  # nothing was attacked
    assert CHECK.look(evidence(replace(made, access=Access.SCORE), Square(steps=5))).status is INCONCLUSIVE
    check_check(CHECK, PGD(steps=2))

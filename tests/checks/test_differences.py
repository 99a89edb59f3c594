"""A gradient that is not the slope of what is deployed is found, and whose fault it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditor.plugins.checks.differences import Differences
from nets import BOUNDS, Backwards, Front, Levels, mlp, net_bench
from torch import Tensor

from auditor.access import Access
from auditor.bench import LinearTarget, linear_bench
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
CHECK = Differences()


class Twice(Front):
    """The inputs as they are, with a gradient that is a factor off."""

    def __init__(self, net: Front, factor: float) -> None:
        super().__init__(net)
        self.factor = factor

    def front(self, x: Tensor) -> Tensor:
        return x.detach() + self.factor * (x - x.detach())


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_on_a_linear_model_both_are_the_same(norm: Norm) -> None:
    made = linear_bench(n=20, threat=ThreatModel(norm=norm, epsilon=0.1, bounds=BOUNDS))
    found = CHECK.look(evidence(made))
    assert (found.status, found.value) == (CLEAR, 0.0)


def test_boxes_of_the_samples_own_are_looked_across() -> None:
    made = linear_bench(n=20)
    lower, upper = made.samples.inputs - 0.1, made.samples.inputs + 0.1
    samples = replace(made.samples, lower=lower, upper=upper)
    found = CHECK.look(evidence(replace(made, samples=samples, threat=ThreatModel(boxes=True, epsilon=1.0))))
    assert (found.status, found.value) == (CLEAR, 0.0)


def test_too_few_samples_say_nothing_and_rounding_outweighs_a_short_way() -> None:
    assert CHECK.look(evidence(linear_bench(n=7).at(0.1))).status is INCONCLUSIVE
    made = linear_bench(n=20, threat=ThreatModel(epsilon=2 / 255, bounds=BOUNDS))
    assert CHECK.look(evidence(made)).status is CLEAR
    plain = made.target.twin()
    made.target.twin = lambda: replace(plain, surrogates=("QuantizeLinear: straight-through",))  # type: ignore[method-assign]
    assert CHECK.look(evidence(made)).status is INCONCLUSIVE


def test_an_honest_net_is_clear() -> None:
    assert CHECK.look(evidence(net_bench(mlp()))).status is CLEAR


def test_a_wrong_backward_pass_is_found() -> None:
    found = CHECK.look(evidence(net_bench(mlp(), twin=Backwards(mlp()))))
    assert (found.status, found.value) == (RAISED, 1.0)
    assert "backward pass is not its derivative" in found.explanation


@pytest.mark.parametrize(("factor", "status"), [(0.45, RAISED), (0.6, CLEAR), (1.6, CLEAR), (2.2, RAISED)])
def test_half_and_twice_the_slope_are_the_limits(factor: float, status: FindingStatus) -> None:
    made = linear_bench(n=20, threat=ThreatModel(epsilon=0.1))
    twin = made.target.twin()
    copy = replace(twin, module=Twice(twin.module, factor))
    made.target.twin = lambda: copy  # type: ignore[method-assign]
    assert CHECK.look(evidence(made)).status is status


def test_a_twin_that_is_another_model_is_found() -> None:
    made = linear_bench(n=20, threat=ThreatModel(epsilon=0.1))
    assert isinstance(made.target, LinearTarget)
    other = LinearTarget(-made.target.weight, made.target.bias).twin()
    made.target.twin = lambda: other  # type: ignore[method-assign]
    found = CHECK.look(evidence(made))
    assert (found.status, found.value) == (RAISED, 1.0)
    assert "scores are not the file's" in found.explanation


def test_where_the_file_stays_another_check_speaks() -> None:
    """With one feature and levels of 0.2 the file does not move over 0.02, or by a level at once."""
    made = net_bench(Levels(mlp(features=1)), features=1, n=60)
    inputs = np.full_like(made.samples.inputs, 0.4)
    labels = made.target.labels(inputs).astype(np.int64)
    found = CHECK.look(evidence(replace(made, samples=replace(made.samples, inputs=inputs, labels=labels))))
    assert found.status is INCONCLUSIVE


def test_missing_evidence_is_inconclusive() -> None:
    made = linear_bench(threat=ThreatModel(epsilon=0.1))
    assert CHECK.look(evidence(replace(made, access=Access.SCORE))).status is INCONCLUSIVE
    assert CHECK.look(evidence(made.at(0.0))).status is INCONCLUSIVE


def test_it_keeps_the_rules_of_checks() -> None:
    check_check(CHECK)

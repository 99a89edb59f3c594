"""Scores too far apart for float32 are found, and gradients that vanish; confident honest models stay clear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from auditor.plugins.checks.saturation import Saturation, Vanishing, naive_cross_entropy
from nets import BOUNDS, Front, mlp, net_bench
from torch import Tensor, nn

from auditor.access import Access, OutputKind
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
DISTANCE = 0.1


def gapped(gap: float) -> Bench:
    """A linear model with two classes whose logits are this far apart on every sample: the distance to the boundary
    times the l1 norm of the difference of its rows."""
    made = linear_bench(n=20, distance=DISTANCE, threat=ThreatModel(epsilon=0.05))
    target = made.target
    assert isinstance(target, LinearTarget)
    factor = gap / DISTANCE / np.abs(target.weight[1] - target.weight[0]).sum()
    return replace(made, target=LinearTarget(factor * target.weight, factor * target.bias))


@pytest.mark.parametrize(
    ("gap", "status"), [(1.0, CLEAR), (30.0, CLEAR), (85.0, CLEAR), (90.0, RAISED), (1000.0, RAISED)]
)
def test_float32_gives_up_at_a_gap_of_88(gap: float, status: FindingStatus) -> None:
    found = Saturation().look(evidence(gapped(gap)))
    assert (found.status, found.value) == (status, 1.0 if status is RAISED else 0.0)
    assert Saturation.masks


def test_a_few_samples_do_not_speak_for_a_model() -> None:
    """One of 200 is no more than one in a hundred; 2 of 100 are."""
    for n, status in ((128, CLEAR), (40, RAISED)):
        made = linear_bench(n=n, distance=DISTANCE, threat=ThreatModel(epsilon=0.05))
        target = made.target
        assert isinstance(target, LinearTarget)
        size = np.abs(target.weight[1] - target.weight[0]).sum() * DISTANCE
        weight, bias = 30 / size * target.weight, 30 / size * target.bias
        inputs = made.samples.inputs.copy()
        inputs[0] += (10 * DISTANCE * np.sign((weight[1] - weight[0]) * (2 * made.samples.labels[0] - 1))).astype(
            np.float32
        )
        changed = replace(made, target=LinearTarget(weight, bias), samples=replace(made.samples, inputs=inputs))
        found = Saturation().look(evidence(changed))
        assert (found.status, found.value) == (status, 1 / n)


def test_what_the_naive_cross_entropy_climbs() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [200.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0])
    value = naive_cross_entropy(logits, labels, torch.full_like(labels, -1)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    want = torch.tensor([2.0, 0.0, 1.0]).softmax(0) - torch.tensor([1.0, 0.0, 0.0])
    assert torch.allclose(gradient[0].float(), want)
    assert not gradient[1].any()


class Softmax(LinearTarget):
    """Probabilities in float32; `rounded` to multiples of 1/256 where asked."""

    rounded = False

    def _run(self, x: np.ndarray) -> np.ndarray:
        scores = torch.from_numpy(super()._run(x)).softmax(dim=1).numpy()
        return np.rint(256 * scores) / np.float32(256) if self.rounded else scores


@pytest.mark.parametrize(("gap", "rounded", "exact"), [(10.0, False, 0), (10.0, True, 0), (1000.0, False, 20)])
def test_probabilities_of_0_and_1_count_where_no_rounding_made_them(gap: float, rounded: bool, exact: int) -> None:
    made = gapped(gap)
    plain = made.target
    assert isinstance(plain, LinearTarget)
    target = Softmax(plain.weight, plain.bias)
    target.output, target.rounded = OutputKind.PROBABILITIES, rounded
    twin = replace(plain.twin(), output=OutputKind.PROBABILITIES, peeled="softmax")
    target.twin = lambda: twin  # type: ignore[method-assign]
    found = Saturation().look(evidence(replace(made, target=target)))
    assert found.status is (RAISED if exact else CLEAR)
    assert f"exactly 0 and 1 on {exact}." in found.explanation


class Steep(nn.Module):
    """A net behind sigmoids of a slope, so steep that they are nearly steps."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.first, self.last, self.slope = mlp(hidden=64)[0], mlp(features=64, hidden=8), slope
        self.first = nn.Linear(12, 64)
        with torch.no_grad():
            random = torch.Generator().manual_seed(1)
            self.first.weight.copy_(torch.randn(64, 12, generator=random) / 12**0.5)
            self.first.bias.copy_(-0.5 * self.first.weight.sum(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(torch.sigmoid(self.slope * self.first(x)))
        return scores


def test_gradients_vanish_through_steep_sigmoids_and_not_through_flat_ones() -> None:
    steep, flat = (Vanishing().look(evidence(net_bench(Steep(slope)))) for slope in (3000.0, 3.0))
    assert steep.status is RAISED
    assert steep.value is not None
    assert steep.value > 0.5
    assert (flat.status, flat.value) == (CLEAR, 0.0)


@pytest.mark.parametrize(("norm", "most"), [(Norm.LINF, 0.5), (Norm.L2, 0.5), (Norm.L1, 1.0)])
def test_a_linear_model_never_moves_further_than_promised(norm: Norm, most: float) -> None:
    """Half of the way moves it by half; in l1 one random feature may be nearly the best one."""
    made = linear_bench(n=20, threat=ThreatModel(norm=norm, epsilon=0.1, bounds=BOUNDS))
    found = Vanishing().look(evidence(made))
    assert (found.status, found.value) == (CLEAR, 0.0)
    assert 0.5 <= float(found.explanation.split("it moves ")[-1].split()[0]) <= most


class Shrunk(Front):
    """The inputs as they are, and a gradient that is a tenth of what it should be."""

    def front(self, x: Tensor) -> Tensor:
        return 0.9 * x.detach() + 0.1 * x


def test_a_gradient_ten_times_too_small_promises_too_little() -> None:
    """Half of the way to where it leads the model has moved five times as far as all of it allows, and a corner may
    move it further."""
    made = linear_bench(n=40, shape=(2,), threat=ThreatModel(epsilon=0.1))
    twin = made.target.twin()
    copy = replace(twin, module=Shrunk(twin.module))
    made.target.twin = lambda: copy  # type: ignore[method-assign]
    assert Vanishing().look(evidence(made)).status is RAISED


@pytest.mark.parametrize("check", [Saturation(), Vanishing()])
def test_missing_evidence_is_inconclusive(check: Saturation | Vanishing) -> None:
    made = linear_bench(threat=ThreatModel(epsilon=0.1))
    assert check.look(evidence(replace(made, access=Access.SCORE))).status is INCONCLUSIVE
    wrong = replace(made, samples=replace(made.samples, labels=1 - made.samples.labels))
    assert check.look(evidence(wrong)).status is INCONCLUSIVE
    check_check(check)

"""R+FGSM: the worked example, half of FGSM's gain on a linear loss, and a random step that nothing clips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.rfgsm import RFGSM
from walks import BIAS, WEIGHT, X, check_threats, fixture, walk

from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.draws import Draws
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel

PATTERNS = torch.tensor(list(product((-1.0, 1.0), repeat=4)))
SLOPE = WEIGHT[1] - WEIGHT[0]


@dataclass(frozen=True)
class Tabled(Draws):
    """Signs that are given."""

    table: torch.Tensor = PATTERNS

    def signs(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return self.table.to(dtype)


def tabled(bench: Bench, table: torch.Tensor) -> Problem:
    problem = bench.problem()
    draws = Tabled(0, 0, problem.ids, problem.restarts, problem.ages, table=table)
    return replace(problem, draws=draws)


def copies(n: int, norm: Norm = Norm.LINF) -> Bench:
    """The example's sample n times, with its first two classes only: the loss rises with SLOPE."""
    samples = Samples(inputs=np.repeat(X, n, axis=0), labels=np.zeros(n, np.int64), ids=np.arange(n))
    threat = ThreatModel(norm=norm, epsilon=0.1)
    return Bench(target=LinearTarget(WEIGHT[:2], BIAS[:2]), samples=samples, threat=threat)


def gain(bench: Bench, attack: FGSM | RFGSM, problem: Problem | None = None) -> np.ndarray:
    rows, _ = walk(bench, attack, problem)
    change: np.ndarray = rows[-1].x.double().numpy() - bench.samples.inputs
    return change @ SLOPE


def test_the_worked_example() -> None:
    problem = tabled(fixture(), torch.tensor([[1.0, 1, -1, -1]]))
    rows, _ = walk(fixture(), RFGSM(), problem)
    np.testing.assert_allclose(rows[0].x[0], [0.95, 0.25, 0.35, 0.75], atol=1e-6)
    np.testing.assert_allclose(rows[1].x[0], [0.9, 0.3, 0.4, 0.7], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 0.25])
def test_on_a_linear_loss_the_mean_gain_is_what_the_random_step_leaves(alpha: float) -> None:
    bench = copies(16)
    full = gain(bench, FGSM())
    np.testing.assert_allclose(full, 0.1 * np.abs(SLOPE).sum(), rtol=1e-5)
    part = gain(bench, RFGSM(alpha=alpha), tabled(bench, PATTERNS))
    assert part.mean() == pytest.approx((1 - alpha) * full[0], rel=1e-5)
    assert part.max() == pytest.approx(full[0], rel=1e-5)
    assert part.min() == pytest.approx((1 - 2 * alpha) * full[0], abs=1e-6)


def test_under_l2_the_random_step_is_a_normalised_gaussian() -> None:
    bench = copies(4000, Norm.L2)
    rows, _ = walk(bench, RFGSM(alpha=0.3))
    first = (rows[0].x - bench.problem().inputs).double()
    np.testing.assert_allclose(first.norm(dim=1), 0.03, rtol=1e-4)
    assert (first.mean(dim=0).abs() < 5 * 0.015 / 4000**0.5).all()
    np.testing.assert_allclose((first**2).mean(dim=0), 0.03**2 / 4, rtol=0.06)
    fourth = (first**4).mean() / 0.03**4
    assert float(fourth) == pytest.approx(3 / 24, rel=0.05)  # of a uniform direction; signs alone would give 1/16
    np.testing.assert_allclose(gain(bench, RFGSM(alpha=0.3)).mean(), 0.07 * np.linalg.norm(SLOPE), rtol=0.02)
    assert (bench.problem().size(rows[1].x) <= 0.1).all()


def test_weights_shape_the_random_step_and_frozen_features_stay() -> None:
    weights = np.array([1.0, 2, 0.5, 1], np.float32)
    for norm in (Norm.LINF, Norm.L2):
        threat = ThreatModel(norm=norm, epsilon=0.1, weights=weights, frozen=np.array([0, 0, 0, 1], bool))
        bench = replace(copies(4000, norm), threat=threat)
        start = walk(bench, RFGSM())[0][0].x - bench.problem().inputs
        assert (start[:, 3] == 0).all()
        spread = (start.double() / torch.from_numpy(weights)).square().mean(dim=0)[:3]
        np.testing.assert_allclose(spread, 0.05**2 if norm is Norm.LINF else 0.05**2 / 3, rtol=0.1)


def test_the_random_step_is_not_clipped_and_the_last_point_is() -> None:
    threat = ThreatModel(epsilon=0.1, bounds=(0.0, 1.0))
    samples = Samples(inputs=np.array([[0.02, 0.5]], np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    bench = Bench(target=LinearTarget(np.array([[0, 0], [1, 1]]), np.array([2, 0])), samples=samples, threat=threat)
    problem = tabled(bench, torch.tensor([[-1.0, 1.0]]))
    rows, _ = walk(bench, RFGSM(), problem)
    np.testing.assert_allclose(rows[0].x[0], [-0.03, 0.55], atol=1e-6)
    probes = RFGSM().query(problem, rows[0]).probes
    assert probes is not None
    assert probes.tolist() == [True]
    np.testing.assert_allclose(rows[1].x[0], [0.02, 0.6], atol=1e-6)  # clipping at once would end at .05
    problem = tabled(bench, torch.tensor([[1.0, 1.0]]))
    probes = RFGSM().query(problem, RFGSM().start(problem)).probes
    assert probes is not None
    assert probes.tolist() == [False]


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_without_a_random_step_it_is_fgsm(norm: Norm) -> None:
    made = linear_bench(classes=3, n=20, seed=1, threat=ThreatModel(norm=norm, epsilon=0.1))
    one, fgsm = made.play(RFGSM(alpha=0)).ledger, made.play(FGSM()).ledger
    assert one.best.tobytes() == fgsm.best.tobytes()


def test_restarts_draw_other_steps() -> None:
    made = linear_bench(n=30, distance=0.1).at(0.13)
    once, often = (made.play(RFGSM(), restarts=restarts).broken for restarts in (1, 8))
    assert once.sum() < often.sum()
    assert not (once & ~often).any()


@pytest.mark.parametrize(("options", "words"), [({"alpha": 1.0}, "alpha is a share"), ({"steps": 2}, "steps is 1")])
def test_what_it_does_not_take(options: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=f"rfgsm: {words}"):
        RFGSM(**options)  # type: ignore[arg-type]


def test_it_is_right() -> None:
    check_attack(RFGSM(), seeds=1, restarts=8, above=2)
    check_threats(RFGSM())

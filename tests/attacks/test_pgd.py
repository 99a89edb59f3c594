"""PGD: FGSM as its first step, the closed form as its last, and the margin where the cross-entropy is blind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.pgd import PGD

from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.execution import Execution
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel

EXACT = Execution(device="cpu", threads=1, precision="float64")


def bench(classes: int = 5, n: int = 30, **options: Any) -> Bench:
    threat = ThreatModel(**({"epsilon": 0.08} | options))
    return replace(linear_bench(classes=classes, n=n, seed=1, threat=threat), execution=EXACT)


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_one_full_step_from_the_clean_input_is_fgsm(norm: Norm) -> None:
    made = bench(norm=norm)
    one = made.play(PGD(steps=1, rel_step=1.0, random_start=False))
    fgsm = made.play(FGSM())
    np.testing.assert_array_equal(one.broken, fgsm.broken)
    assert one.ledger.best.tobytes() == fgsm.ledger.best.tobytes()
    assert one.ledger.spent.tolist() == fgsm.ledger.spent.tolist()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_on_two_classes_it_ends_at_the_worst_point(norm: Norm) -> None:
    made = bench(classes=2, norm=norm, epsilon=0.02)
    target = made.target
    assert isinstance(target, LinearTarget)
    slope = (target.weight[0] - target.weight[1]).astype(float)
    before = np.abs(made.samples.inputs.astype(float) @ slope + float(target.bias[0] - target.bias[1]))
    worst = before - 0.02 * np.linalg.norm(slope, ord=1 if norm is Norm.LINF else 2)
    trial = made.play(PGD(steps=100))
    standing = ~trial.broken
    assert standing.sum() > 10
    np.testing.assert_allclose(trial.ledger.margin[standing], worst[standing], atol=1e-3)
    assert (trial.ledger.margin[standing] >= worst[standing] - 1e-6).all()


def test_more_steps_and_more_restarts_never_break_less() -> None:
    made = bench(epsilon=0.1)
    few = made.play(PGD(steps=3)).broken
    many = made.play(PGD(steps=40)).broken
    assert few.sum() < many.sum()
    assert not (few & ~many).any()
    once = made.play(PGD(steps=2)).broken
    often = made.play(PGD(steps=2), restarts=6).broken
    assert once.sum() < often.sum()
    assert not (once & ~often).any()


def test_the_start_is_random_unless_told_otherwise() -> None:
    made = bench(epsilon=0.01)
    still = PGD(steps=1, rel_step=1e-9, random_start=False)
    clean = made.play(still).ledger
    np.testing.assert_array_equal(clean.best, made.samples.inputs)
    moved = made.play(PGD(steps=1, rel_step=1e-9)).ledger.best - made.samples.inputs
    assert (np.abs(moved).max(axis=1) > 0).all()
    assert np.abs(moved).max() <= 0.01


@pytest.mark.parametrize(("norm", "epsilon"), [(Norm.LINF, 2 / 255), (Norm.LINF, 8 / 255), (Norm.L2, 0.5)])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_steps_smaller_than_those_of_an_8_bit_input_add_up(norm: Norm, epsilon: float, share: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(2, 300))
    slope = weight[1] - weight[0]
    reach = epsilon * np.linalg.norm(slope, ord=1 if norm is Norm.LINF else 2)
    for x in rng.integers(30, 220, (5, 300)):
        pixels = (x.astype(np.float32) / np.float32(255))[None]
        bias = np.array(
            [0.0, -float(pixels[0].astype(float) @ slope) - share * reach]
        )  # falls at this share of epsilon
        samples = Samples(inputs=pixels, labels=np.zeros(1, np.int64), ids=np.arange(1))
        threat = ThreatModel(norm=norm, epsilon=epsilon, bounds=(0.0, 1.0), grid=1 / 255)
        trial = Bench(target=LinearTarget(weight, bias), samples=samples, threat=threat).play(PGD(steps=100))
        assert trial.broken.all()
        assert trial.row.rejected == {}


def saturated() -> Bench:
    """Margins of thousands: in float32 the cross-entropy and its gradient are 0."""
    made = linear_bench(n=20, distance=0.1, seed=3).at(0.11)
    target = made.target
    assert isinstance(target, LinearTarget)
    return replace(made, target=LinearTarget(1e4 * target.weight, 1e4 * target.bias))


def test_the_margin_sees_what_the_cross_entropy_does_not() -> None:
    blind = saturated().play(PGD(steps=20, rel_step=0.2, loss="ce", random_start=False))
    assert not blind.broken.any()
    assert saturated().play(PGD(steps=20, rel_step=0.2, loss="margin", random_start=False)).broken.all()


def test_an_unknown_loss_ends_the_stage_with_a_sentence() -> None:
    row = bench().play(PGD(loss="hinge")).row
    assert row.status == "error"
    assert row.reason == "A loss is one of ce, margin, dlr, got 'hinge'."


def test_it_is_right() -> None:
    check_attack(PGD(steps=100), seeds=2)
    check_attack(PGD(steps=100, loss="margin"), seeds=1)

"""PGD: FGSM as its first step, the closed form as its last, and what each of its losses climbs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.pgd import PGD, divergence
from walks import ask, check_threats, surveyed, walk

from auditor.attack import Query, Rows
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.samples import Samples
from auditor.suite import make_stage
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

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


@pytest.mark.parametrize("loss", ["ce", "margin", "cw"])
def test_saturated_probabilities_hide_nothing(loss: str) -> None:
    kappa = 1e5  # of cw, which ends a climb that is so much further than the boundary
    assert saturated().play(PGD(steps=20, rel_step=0.2, loss=loss, kappa=kappa, random_start=False)).broken.all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "hinge"}, "loss is one of ce, margin, dlr, cw, kl, got 'hinge'"),
        ({"rel_step": 0.0}, "rel_step is a share of epsilon"),
        ({"loss": "cw", "kappa": -1.0}, "kappa is a margin of at least 0"),
        ({"loss": "kl", "random_start": False}, "random_start is true for the loss kl"),
    ],
)
def test_what_it_does_not_take(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"pgd: {words}"):
        PGD(**options)


@pytest.mark.parametrize("loss", PGD.losses)
def test_a_suite_may_name_every_loss(loss: str) -> None:
    stage = make_stage({"name": "pgd", "loss": loss, "steps": "3"}, {"pgd": PGD})
    assert stage.attack == PGD(loss=loss, steps=3)


def climbed(attack: PGD, scores: torch.Tensor, label: int, target: int = -1) -> tuple[float, torch.Tensor]:
    """The objective at these scores, and its gradient there."""
    problem = linear_bench(classes=scores.shape[1], n=1).at(0.1).problem()
    problem = replace(problem, labels=torch.tensor([label]), targets=torch.tensor([target]))
    scores = scores.clone().requires_grad_()
    value = attack.objective(scores, problem, Rows(x=problem.inputs))
    (gradient,) = torch.autograd.grad(value.sum(), scores)
    return float(value.detach().sum()), gradient[0]


@pytest.mark.parametrize(
    ("kappa", "lead", "value"), [(50, -2.0, -52.0), (50, 49.0, -1.0), (50, 51.0, 0.0), (0, -2.0, -2.0), (0, 0.1, 0.0)]
)
def test_cw_is_the_margin_until_a_point_is_kappa_beyond_the_boundary(kappa: float, lead: float, value: float) -> None:
    """All scores are below 0, where a maximum over scores that were multiplied by a mask would be 0."""
    scores = torch.tensor([[-60.0, -60.0 + lead, -120.0]])
    found, gradient = climbed(PGD(loss="cw", kappa=kappa), scores, 0)
    assert found == pytest.approx(value, abs=1e-4)
    assert gradient.tolist() == ([-1, 1, 0] if value < 0 else [0, 0, 0])


def test_cw_heads_for_the_target() -> None:
    found, gradient = climbed(PGD(loss="cw"), torch.tensor([[-1.0, -2.0, -5.0]]), 0, 2)
    assert found == pytest.approx(-54)
    assert gradient.tolist() == [-1, 0, 1]


def test_a_large_kappa_climbs_as_the_margin_does_and_none_stops_at_the_boundary() -> None:
    made = bench(epsilon=0.2)
    margin, far, near = (
        walk(made, PGD(steps=10, rel_step=0.2, **options))[0][-1].x
        for options in ({"loss": "margin"}, {"loss": "cw", "kappa": 1e4}, {"loss": "cw", "kappa": 0.0})
    )
    assert torch.equal(margin, far)
    gaps = [made.problem().margin(torch.from_numpy(made.target.scores(x.numpy(), batch=64))) for x in (far, near)]
    fallen = gaps[0] < -0.5
    assert fallen.sum() > 10
    assert (gaps[1][fallen] > gaps[0][fallen] + 0.1).any()
    assert (gaps[1][fallen] <= 0).all()


def test_divergence_of_known_distributions() -> None:
    """KL(softmax(1, 0) | softmax(0, 1)) is tanh(1/2); the next two tell which argument comes first."""
    one, flat = torch.tensor([[1.0, 0.0]]).double(), torch.zeros(1, 2).double()
    assert float(divergence(one.log_softmax(1), one.flip(1))) == pytest.approx(0.4621172, abs=1e-7)
    assert float(divergence((2 * one).log_softmax(1), flat)) == pytest.approx(0.3278133, abs=1e-6)
    assert float(divergence(flat.log_softmax(1), 2 * one)) == pytest.approx(0.4337808, abs=1e-6)


def test_the_divergence_is_of_the_clean_prediction_from_the_new_one() -> None:
    problem = linear_bench(n=1).at(0.1).problem()
    problem = replace(problem, notes=torch.tensor([[2.0, 0.0]]).log_softmax(1))
    value = PGD(loss="kl").objective(torch.zeros(1, 2), problem, Rows(x=problem.inputs))
    assert float(value) == pytest.approx(0.3278133, abs=1e-6)


def test_divergence_where_a_probability_is_zero_or_has_underflowed() -> None:
    sure = torch.tensor([[0.0, -200.0, float("-inf")]], requires_grad=True)
    value = divergence(sure.detach().log_softmax(1), sure)
    assert float(value.detach()) == 0
    far = torch.tensor([[-300.0, 0.0, -1.0]], requires_grad=True)
    value = divergence(sure.detach().log_softmax(1), far)
    assert float(value.detach()) == pytest.approx(300 + np.log1p(np.exp(-1)))
    (gradient,) = torch.autograd.grad(value.sum(), far)
    np.testing.assert_allclose(gradient[0], [-1, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], atol=1e-6)


def test_the_divergence_is_flat_at_the_clean_input_and_nowhere_near() -> None:
    made = bench(n=30)
    problem = surveyed(made, PGD(loss="kl"))
    reply = ask(made, PGD(loss="kl"), Query(points=problem.inputs), problem, Rows(x=problem.inputs))
    assert reply.need_gradient().abs().max() < 1e-6
    rows, replies = walk(made, PGD(loss="kl", steps=1), problem)
    assert (replies[0].need_gradient().flatten(1).abs().amax(dim=1) > 1e-5).all()
    noise = (rows[0].x - problem.inputs).double()
    np.testing.assert_allclose(noise.std(), 0.001, rtol=0.1)
    assert float(noise.abs().max()) > 0.0025  # a Gaussian has tails


def test_the_divergence_knows_no_label() -> None:
    made, attack = bench(n=30, epsilon=0.1), PGD(loss="kl", steps=8, rel_step=0.2)
    problem = surveyed(made, attack)
    other = replace(problem, labels=(problem.labels + 1) % 5)
    assert torch.equal(walk(made, attack, problem)[0][-1].x, walk(made, attack, other)[0][-1].x)
    loss = torch.stack([reply.need_loss() for reply in walk(made, attack, problem)[1]])
    assert (loss[-1] > loss[0] + 0.01).all()


def test_the_divergence_gives_way_to_a_target() -> None:
    made = bench(goal=Goal(2), epsilon=0.1)
    attack = PGD(loss="kl")
    problem = surveyed(made, attack)
    scores = torch.randn(len(problem), 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attack.objective(scores, problem, Rows(x=problem.inputs)), problem.loss("ce", scores))
    assert made.play(attack).broken.any()


def test_the_divergence_leaves_the_clean_input_on_a_grid_too() -> None:
    """.001 of noise and the first small steps are less than a step of the grid, to which points are brought."""
    rng = np.random.default_rng(0)
    pixels = (rng.integers(30, 220, (8, 6)) / 255).astype(np.float32)
    target = LinearTarget(rng.normal(size=(3, 6)), np.zeros(3))
    samples = Samples(inputs=pixels, labels=target.labels(pixels, batch=1).astype(np.int64), ids=np.arange(8))
    threat = ThreatModel(epsilon=8 / 255, bounds=(0.0, 1.0), grid=1 / 255)
    attack = PGD(loss="kl", steps=60, rel_step=0.05)
    trial = Bench(target=target, samples=samples, threat=threat).play(attack, restarts=4)
    distance = np.abs(trial.ledger.best - pixels).max(axis=1)
    assert (distance[~trial.broken] > 4 / 255).all()
    assert (~trial.broken).sum() > 2


@pytest.mark.parametrize("loss", ["ce", "margin", "cw", "kl"])
def test_log_probabilities_do_as_well_as_logits(loss: str) -> None:
    scores = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)).double()
    problem = surveyed(bench(n=30), PGD(loss="kl"))
    assert problem.notes is not None
    problem = replace(problem, notes=problem.notes.double())
    attack, rows = PGD(loss=loss), Rows(x=problem.inputs)
    logits = attack.objective(scores, problem, rows)
    torch.testing.assert_close(attack.objective(scores.log_softmax(1), problem, rows), logits)


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_under_l1_it_ends_at_the_steepest_features(bounds: tuple[float, float] | None) -> None:
    """Two classes, so that the worst change is known: the steepest features in turn, each as far as it goes."""
    made = bench(classes=2, norm=Norm.L1, epsilon=0.5, bounds=bounds)
    target = made.target
    assert isinstance(target, LinearTarget)
    problem = made.problem()
    slope = torch.from_numpy(target.weight[1] - target.weight[0]) * (1 - 2 * problem.labels)[:, None]
    order = slope.abs().argsort(dim=1, descending=True)
    room = torch.where(slope > 0, problem.upper - problem.inputs, problem.inputs - problem.lower).gather(1, order)
    reach = room.clamp_max(0.5)
    spent = reach.cumsum(dim=1)
    worst = ((reach - (spent - 0.5).clamp_min(0)).clamp_min(0) * slope.abs().gather(1, order)).sum(dim=1)
    change = walk(made, PGD(steps=200, loss="margin"))[0][-1].x - problem.inputs
    np.testing.assert_allclose((change * slope).sum(dim=1), worst, rtol=2e-2)


def test_it_is_right() -> None:
    check_attack(PGD(steps=60), seeds=1)
    check_attack(PGD(steps=20, loss="kl"), seeds=1, restarts=8)
    check_threats(PGD(steps=3))
    check_threats(PGD(steps=3, loss="kl"))

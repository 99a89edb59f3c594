"""MI, and its siblings TI and SI: FGSM on a linear model, the published sum by hand, and what each adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.bim import BIM
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.mi import MI, SI, TI, MIRows, gaussian, smoothed
from torch import Tensor
from walks import ask, check_threats, fixture, walk

from auditor.attack import Query, Reply
from auditor.bench import Bench, linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel

NORMS = [Norm.LINF, Norm.L2]
SHAPE = (1, 8, 8)


def bench(norm: Norm = Norm.LINF, classes: int = 3, epsilon: float = 0.08, **options: Any) -> Bench:
    made = linear_bench(classes=classes, n=20, seed=1, threat=ThreatModel(norm=norm, epsilon=epsilon), **options)
    return replace(made, execution=Execution(device="cpu", threads=1, precision="float64"))


def steps_of(made: Bench, attack: MI) -> tuple[list[MIRows], list[Reply]]:
    """The rows before each reply and after the last, and the replies: nobody is dropped."""
    problem = made.problem()
    rows, replies = [attack.start(problem)], []
    for age in range(attack.replies):
        ages = torch.full_like(problem.ages, age)
        query = attack.query(problem.at(ages, 1), rows[-1])
        replies.append(ask(made, attack, query, problem, rows[-1]))
        rows.append(attack.step(problem.at(ages, 2), rows[-1], replies[-1]))
    return rows, replies


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_memory_it_is_bim(norm: Norm) -> None:
    for steps in (1, 4):
        one, other = (
            bench(norm).play(a).ledger for a in (MI(steps=steps, decay=0), BIM(steps=steps, rel_step=1 / steps))
        )
        np.testing.assert_allclose(one.best, other.best, atol=1e-7)
        assert one.spent.tolist() == other.spent.tolist()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [MI(), TI(), SI(), MI(steps=3, decay=0.5), MI(reach=2.5)])
def test_on_a_linear_model_with_two_classes_it_ends_where_fgsm_does(norm: Norm, attack: MI) -> None:
    made = bench(norm, classes=2)
    problem = made.problem()
    one = walk(made, FGSM())[0][-1].x
    np.testing.assert_allclose(steps_of(made, attack)[0][-1].x, one, atol=2e-6)
    half = steps_of(made, replace(attack, reach=0.5))[0][-1].x
    np.testing.assert_allclose(half - problem.inputs, (one - problem.inputs) / 2, atol=2e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_the_fixtures_velocity_and_steps_are_those_of_the_paper(norm: Norm) -> None:
    """g ← μ g + ∇/‖∇‖₁, x ← x + ε/T sign(g), or ε/T g/‖g‖₂: worked out here from the gradients, in float64."""
    rows, replies = steps_of(fixture(0.4, norm), MI(steps=4, decay=0.5))
    velocity, x = np.zeros(4), rows[0].x[0].double().numpy()
    for age, reply in enumerate(replies):
        gradient = reply.need_gradient()[0].double().numpy()
        velocity = 0.5 * velocity + gradient / np.abs(gradient).sum()
        np.testing.assert_allclose(rows[age + 1].velocity[0], velocity, atol=1e-6)
        x = x + 0.1 * (np.sign(velocity) if norm is Norm.LINF else velocity / np.linalg.norm(velocity))
        np.testing.assert_allclose(rows[age + 1].x[0], x, atol=1e-5)
    assert float(rows[1].velocity.abs().sum()) == pytest.approx(1, abs=1e-6)


def test_it_goes_on_where_the_gradient_turns_and_where_it_vanishes() -> None:
    attack, made = MI(), bench()
    problem = made.problem()
    ahead, back = torch.ones_like(problem.inputs), torch.full_like(problem.inputs, -0.5)
    rows = replace(attack.start(problem), velocity=ahead)
    for gradient in (back, 0 * ahead):  # of l1 size 1 once it is divided: less than the velocity
        reply = Reply(points=rows.x, owner=problem.ids, labels=problem.labels, gradient=gradient)
        moved = attack.step(problem, rows, reply)
        np.testing.assert_allclose(moved.x - rows.x, 0.008, rtol=1e-4)
        assert moved.velocity.isfinite().all()


@pytest.mark.parametrize("loss", MI.losses)
def test_its_loss_is_the_one_that_is_asked_for(loss: str) -> None:
    made = bench(classes=5)
    problem = made.problem()
    scores = torch.from_numpy(made.target.scores(made.samples.inputs, batch=64))
    attack = MI(loss=loss)
    assert torch.equal(attack.objective(scores, problem, attack.start(problem)), problem.loss(loss, scores))


# smoothed gradients


@pytest.mark.parametrize("side", [1, 3, 7, 15])
def test_the_kernel_sums_to_1_and_is_the_papers(side: int) -> None:
    kernel = gaussian(side, like=torch.zeros(1, dtype=torch.float64)).numpy()
    assert kernel.shape == (side, side)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    if side == 1:
        return
    k = (side - 1) // 2  # W ∝ exp(-(i² + j²) / 2σ²) with σ = k/√3
    i, j = np.mgrid[-k : k + 1, -k : k + 1]
    np.testing.assert_allclose(kernel / kernel[k, k], np.exp(-(i**2 + j**2) / (2 * k**2 / 3)), atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 9, 8), (9, 8, 3), (9, 8)])
def test_a_single_pixel_is_spread_within_its_channel(shape: tuple[int, ...]) -> None:
    gradient = torch.zeros(1, *shape, dtype=torch.float64)
    place: tuple[Any, ...] = {(3, 9, 8): (1, 4, 4), (9, 8, 3): (4, 4, 1), (9, 8): (4, 4)}[shape]
    gradient[(0, *place)] = 2
    smooth = smoothed(gradient, 5)[0]
    plane = {(3, 9, 8): smooth[1 % len(smooth)], (9, 8, 3): smooth[..., 1], (9, 8): smooth}[shape]
    np.testing.assert_allclose(plane[2:7, 2:7], 2 * gaussian(5, like=gradient), atol=1e-12)
    assert float(smooth.sum()) == pytest.approx(2, abs=1e-12)
    assert float(plane.sum()) == pytest.approx(2, abs=1e-12)


def test_its_steps_follow_the_smoothed_gradient() -> None:
    made = bench(shape=SHAPE)
    rows, replies = steps_of(made, TI(steps=1, kernel=3))
    gradient = smoothed(replies[0].need_gradient(), 3)
    assert torch.equal((rows[1].x - rows[0].x).sign(), gradient.sign().to(rows[1].x.dtype))
    assert not torch.equal(gradient.sign(), replies[0].need_gradient().sign())


@pytest.mark.parametrize("shape", [(12,), (1, 12, 1)])
def test_what_is_no_picture_is_not_smoothed(shape: tuple[int, ...]) -> None:
    made = bench(shape=shape)
    assert torch.equal(steps_of(made, TI())[0][-1].x, steps_of(made, MI())[0][-1].x)


# scaled copies


def test_one_scale_is_mi_and_judges_each_point() -> None:
    made = bench()
    one, other = (made.play(attack).ledger for attack in (SI(scales=1), MI()))
    assert one.best.tobytes() == other.best.tobytes()
    assert MI().query(made.problem(), MI().start(made.problem())).view is None


def test_a_step_sums_over_the_input_and_its_parts_by_the_chain_rule() -> None:
    """Σ 2⁻ⁱ ∇ℓ(2⁻ⁱ x), from gradients of the plain model at the scaled points."""
    made, attack = bench(), SI(steps=2, scales=3)
    rows, replies = steps_of(made, attack)
    assert [torch.equal(rows[age].x, rows[0].x) for age in range(6)] == [True] * 3 + [False] * 3
    problem = made.problem()
    wanted = torch.zeros_like(problem.inputs)
    for i in range(3):
        share = 0.5**i
        plain = ask(made, attack, Query(points=share * rows[0].x), problem, rows[0])
        np.testing.assert_allclose(replies[i].need_gradient(), share * plain.need_gradient(), atol=1e-7)
        wanted += share * plain.need_gradient()
    size = wanted.abs().sum(dim=1, keepdim=True)
    np.testing.assert_allclose(rows[3].velocity, wanted / size, atol=1e-6)
    assert not rows[3].gradient.any()


def test_rows_of_all_ages_in_one_batch_have_each_their_own_scale_and_turn() -> None:
    made, attack = bench(), SI(steps=4, scales=5)
    problem = made.problem()
    ages = torch.arange(20)
    rows = replace(attack.start(problem), gradient=torch.ones_like(problem.inputs))
    query = attack.query(problem.at(ages, 1), rows)
    view: Callable[[Tensor], Tensor] | None = query.view
    assert view is not None
    assert torch.equal(view(rows.x), rows.x * 0.5 ** (ages % 5)[:, None])
    reply = ask(made, attack, query, problem, rows)
    moved = (attack.step(problem.at(ages, 2), rows, reply).x != rows.x).any(dim=1)
    assert torch.equal(moved, ages % 5 == 4)


@pytest.mark.parametrize(
    ("attack", "cost"),
    [(MI(), (11, 10)), (TI(steps=5), (6, 5)), (SI(), (51, 50)), (SI(steps=2, scales=3, kernel=3), (7, 6))],
)
def test_what_a_row_costs(attack: MI, cost: tuple[int, int]) -> None:
    assert attack.cost(10) == cost
    ledger = bench(epsilon=1e-5).play(attack).ledger
    assert (ledger.spent[:, :2] == cost).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay": -0.1}, "decay is a factor"),
        ({"decay": float("nan")}, "decay is a factor"),
        ({"reach": 0}, "reach is a share of epsilon"),
        ({"scales": 0}, "scales is a number"),
        ({"kernel": 4}, "kernel is an odd number"),
        ({"kernel": -1}, "kernel is an odd number"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    for kind in (MI, TI, SI):
        with pytest.raises(UsageError, match=f"{kind.name}: {words}"):
            kind(**options)


@pytest.mark.parametrize("attack", [MI(), TI(steps=4), SI(steps=4, scales=3)])
def test_it_is_right(attack: MI) -> None:
    check_attack(attack, seeds=1)
    check_threats(attack)


def test_it_does_not_read_the_batch() -> None:
    made = bench()
    together = steps_of(made, MI())[0][-1].x
    alone = replace(made, samples=made.samples.take([7]))
    assert torch.equal(steps_of(alone, MI())[0][-1].x[0], together[7])

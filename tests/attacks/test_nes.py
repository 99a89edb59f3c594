"""NES: steps of one size up a running mean of estimated gradients, which halve on a plateau."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from auditor.plugins.attacks.nes import NES, NESRows
from rounded import rounded

from auditor.attack import Reply
from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel


def replied(problem: Problem, x: torch.Tensor, slope: torch.Tensor, size: float = 0.01) -> Reply:
    """The reply of a linear loss to pairs along each axis, whose estimate is the slope over the number of axes."""
    way = size * torch.eye(x.shape[1])[None]
    points = torch.cat([x[:, None], x[:, None] + way, x[:, None] - way], dim=1).flatten(0, 1)
    owner = torch.arange(len(points)) // (2 * x.shape[1] + 1)
    return Reply(points=points, owner=owner, labels=owner, loss=points @ slope)


@pytest.mark.parametrize("norm", NES.norms)
def test_a_step_goes_up_the_running_mean_by_its_share_of_epsilon(norm: Norm) -> None:
    problem = linear_bench(shape=(3,), n=2, threat=ThreatModel(norm=norm, epsilon=0.5)).problem()
    attack = NES(rel_step=0.2, momentum=0.75)
    first, second = torch.tensor([3.0, 0.0, -4.0]), torch.tensor([-1.0, 0.0, 8.0])
    rows = attack.step(problem, attack.start(problem), replied(problem, problem.inputs, first))
    way = first.sign() if norm is Norm.LINF else first / 5
    torch.testing.assert_close(rows.x, problem.inputs + 0.1 * way, rtol=0, atol=1e-4)
    again = attack.step(problem, rows, replied(problem, rows.x, second))
    mean = 0.75 * first + second  # 0.25 of each, the first of which is a step old
    way = mean.sign() if norm is Norm.LINF else mean / mean.norm()
    torch.testing.assert_close(again.x, rows.x + 0.1 * way, rtol=0, atol=2e-3)


def test_the_step_halves_after_so_many_without_a_larger_loss() -> None:
    problem = linear_bench(shape=(3,), n=2).at(0.5).problem()
    attack = NES(rel_step=0.2, plateau=3)
    rows, lengths = attack.start(problem), []
    for loss in (1.0, 2.0, 2.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0):
        reply = replied(problem, rows.x, torch.ones(3))
        reply = replace(reply, loss=torch.where(torch.arange(14) % 7 == 0, loss, reply.need_loss()))
        rows = attack.step(problem, rows, reply)
        lengths.append(rows.length[0].item())
    assert lengths == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05])
    never = replace(attack, plateau=0)
    for _ in range(5):
        rows = never.step(problem, rows, replied(problem, rows.x, torch.zeros(3)))
    assert rows.length[0].item() == pytest.approx(0.05)


def test_the_step_never_vanishes() -> None:
    problem = linear_bench(shape=(3,), n=2).at(0.5).problem()
    attack = NES(rel_step=0.2, plateau=1)
    rows: NESRows = attack.start(problem)
    for _ in range(12):
        rows = attack.step(problem, rows, replied(problem, problem.inputs, torch.zeros(3)))
    assert rows.length.tolist() == pytest.approx([0.002] * 2)


def test_it_climbs_what_is_rounded() -> None:
    assert rounded().at(0.13).play(NES(steps=60, sigma=0.3)).broken.all()


def test_its_cost_is_what_it_spends() -> None:
    attack = NES(steps=5, n=8)
    trial = linear_bench(seed=5, n=6, distance=0.1).at(0.09).play(attack)
    assert trial.row.rejected == {}
    assert trial.row.queries == 6 * attack.cost(2)[0] == 6 * (5 * 17 + 1)


@pytest.mark.parametrize("norm", NES.norms)
def test_a_goal_among_three_classes(norm: Norm) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.5 if norm is Norm.LINF else 2.0, bounds=(-0.5, 1.25), goal=Goal(2))
    made = linear_bench(classes=3, shape=(4, 4), n=12, seed=1, threat=threat)
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    trial = made.play(NES(steps=40))
    assert trial.broken.all()
    assert set(trial.ledger.label) == {2}


@pytest.mark.parametrize(
    ("field", "value"), [("n", 0), ("sigma", 0.0), ("rel_step", 11.0), ("momentum", 1.0), ("plateau", -1)]
)
def test_what_makes_no_sense_is_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"nes: {field} is"):
        NES(**{field: value})  # type: ignore[arg-type]


def test_it_is_right() -> None:
    check_attack(NES(steps=40), above=1.05, seeds=1)

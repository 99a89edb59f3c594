"""APGD: the published moves and schedule, steps that halve when nothing improves, l1, and the closed form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.apgd import APGD, APGDRows, checkpoint
from auditor.plugins.attacks.pgd import PGD
from reaches import check_reaches
from torch import Tensor
from walks import check_threats, walk

from auditor import sparse_ascent
from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.sparse_ascent import SparseRows, kth_largest
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

EXACT = Execution(device="cpu", threads=1, precision="float64")


@dataclass(frozen=True, kw_only=True)
class Watched(APGD):
    """Keeps every row that it returns."""

    log: list[APGDRows] = field(default_factory=list)

    def step(self, problem: Problem, rows: APGDRows, reply: Reply) -> APGDRows:
        self.log.append(super().step(problem, rows, reply))
        return self.log[-1]


def bench(n: int = 1, classes: int = 2, **options: Any) -> Bench:
    threat = ThreatModel(**({"epsilon": 0.01} | options))
    return replace(linear_bench(n=n, classes=classes, seed=1, threat=threat), execution=EXACT)


def test_checkpoints_are_the_published_ones() -> None:
    """p = 0, .22, then the distance shrinks by .03 to no less than .06 (Croce and Hein 2020, section 3.1)."""
    due, since = checkpoint(100, torch.arange(101))
    assert due.nonzero()[:, 0].tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert since[due].tolist() == [22, 19, 16, 13, 10, 7, 6, 6]


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 1000])
def test_checkpoints_of_any_number_of_steps(steps: int) -> None:
    due, since = checkpoint(steps, torch.arange(steps + 1))
    ages = due.nonzero()[:, 0].tolist()
    assert ages, "at least one"
    assert [b - a for a, b in zip([0, *ages], ages, strict=False)] == since[due].tolist()


def scripted(steps: int, n: int, features: int, seed: int) -> tuple[Tensor, Tensor]:
    """Made-up losses `[steps, n]` of four kinds, some negative all along, some rising mostly, some with ties, and
    gradients `[steps, n, features]`."""
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(steps, n)).cumsum(axis=0)
    losses[:, 0::4] = -rng.uniform(size=losses[:, 0::4].shape)
    losses[:, 1::4] = np.where(rng.uniform(size=losses[:, 1::4].shape) < 0.8, 1, -2).cumsum(axis=0) - 3
    losses[:, 2::4] = losses[:, 2::4].round()
    losses[0, 3::4] = 100  # never reached again
    losses[1:, 3] = np.linspace(-30, -20, steps - 1)  # rises all along, but not to where it began
    ups = np.repeat([1, -1], [16, 5])  # with the first step, as many as the first checkpoint asks for, or one less
    losses[1:23, 7], losses[1:23, 11] = (first + np.concatenate([[0], ups.cumsum()]) for first in (1, -50))
    return torch.from_numpy(losses), torch.from_numpy(rng.normal(size=(steps, n, features)))


def published(x0: np.ndarray, start: np.ndarray, losses: np.ndarray, gradients: np.ndarray, norm: Norm) -> list[tuple]:
    """One row of section 3 of the paper, epsilon .1 without bounds, step by step: points and step sizes."""
    n, epsilon = len(losses), 0.1

    def inside(z: np.ndarray) -> np.ndarray:
        change = z - x0
        if norm is Norm.LINF:
            return x0 + change.clip(-epsilon, epsilon)
        return x0 + change * min(1, epsilon / max(np.linalg.norm(change), 1e-12))

    def way(g: np.ndarray) -> np.ndarray:
        return np.sign(g) if norm is Norm.LINF else g / np.linalg.norm(g)

    checks, period = [0.0, 0.22], 0.22
    while checks[-1] < 1:
        period = max(period - 0.03, 0.06)
        checks.append(checks[-1] + period)
    checks = [round(100 * check) for check in checks]
    assert n == 100
    eta, x, before, best, passed = 2 * epsilon, start, start, 0, 0
    last_eta_same, last_best = False, losses[0]
    points = [(x, eta)]
    memory = [start]  # the points as they were asked about
    for k in range(n - 1):
        g = gradients[k]
        if k > 0 and losses[k] > losses[best]:
            best = k
        if k in checks[1:]:
            risen = [losses[i] > (losses[i - 1] if i > 1 else 0) for i in range(passed + 1, k + 1)]
            few = sum(risen) <= 0.75 * (k - passed)
            flat = last_eta_same and losses[best] <= last_best
            last_eta_same, last_best, passed = not (few or flat), losses[best], k
            if few or flat:
                eta, x, g = eta / 2, memory[best], gradients[best]
        ahead = inside(x + eta * way(g))
        moved = ahead if k == 0 else inside(x + 0.75 * (ahead - x) + 0.25 * (x - before))
        before, x = x, moved
        memory.append(x)
        points.append((x, eta))
    return points


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_it_moves_as_published(norm: Norm) -> None:
    n, features = 24, 12
    made = replace(bench(n=n, epsilon=0.1, norm=norm), execution=EXACT)
    problem = made.problem()
    exact = {name: getattr(problem, name).double() for name in ("inputs", "lower", "upper", "epsilon", "found")}
    problem = replace(problem, **exact)
    attack, (losses, gradients) = APGD(), scripted(100, n, features, seed=3)
    rows = attack.start(problem)
    ours = [(rows.x, torch.full((n,), 0.2))]
    for age in range(99):
        reply = Reply(points=rows.x, owner=problem.slots, labels=problem.labels, loss=losses[age])
        reply = replace(reply, gradient=gradients[age])
        rows = attack.step(problem.at(torch.full_like(problem.ages, age), 2), rows, reply)
        ours.append((rows.x, 0.1 * rows.length))
    halvings = set()
    for row in range(n):
        start = ours[0][0][row].numpy()
        given = losses[:, row].numpy(), gradients[:, row].numpy()
        theirs = published(problem.inputs[row].numpy(), start, *given, norm)
        for age, (point, eta) in enumerate(theirs):
            assert ours[age][1][row] == pytest.approx(eta), (row, age)
            np.testing.assert_allclose(ours[age][0][row], point, atol=2e-6, err_msg=f"{row} {age}")
        halvings.add(theirs[-1][1])
    assert len(halvings) > 3


def test_the_step_starts_at_two_epsilon_and_halves_when_nothing_improves() -> None:
    made = bench()
    target = made.target
    assert isinstance(target, LinearTarget)
    made = replace(made, target=LinearTarget(0 * target.weight, np.array([1.0, 0.0])))
    made = replace(made, samples=replace(made.samples, labels=np.zeros(1, np.int64)))
    attack = Watched(steps=100)
    assert not made.play(attack).broken.any()
    lengths = [float(rows.length[0]) for rows in attack.log]
    changes = {age: length for age, length in enumerate(lengths) if age and length != lengths[age - 1]}
    assert lengths[0] == 2.0
    assert changes == {22: 1.0, 41: 0.5, 57: 0.25, 70: 0.125, 80: 2**-4, 87: 2**-5, 93: 2**-6, 99: 2**-7}


def test_the_loss_kept_never_falls_and_belongs_to_the_point_kept() -> None:
    made = bench(classes=5, epsilon=0.05)
    attack = Watched(steps=60, loss="margin")
    made.play(attack)
    best = [float(rows.best_loss[0]) for rows in attack.log]
    assert best == sorted(best)
    target = made.target
    assert isinstance(target, LinearTarget)
    for rows in attack.log:
        scores = target.weight.astype(float) @ rows.best[0].numpy() + target.bias
        label = int(made.samples.labels[0])
        assert float(rows.best_loss[0]) == pytest.approx(np.delete(scores, label).max() - scores[label], abs=1e-6)


@dataclass(frozen=True, kw_only=True)
class Bumpy(APGD):
    """Climbs the margin at even ages and falls at odd ones; keeps what it was told and what it kept."""

    log: list[tuple[torch.Tensor, float, torch.Tensor, float]] = field(default_factory=list)

    def objective(self, scores: torch.Tensor, problem: Problem, rows: APGDRows) -> torch.Tensor:
        return problem.loss("margin", scores) * torch.where(problem.ages % 2 == 0, 1, 5)

    def step(self, problem: Problem, rows: APGDRows, reply: Reply) -> APGDRows:
        after = super().step(problem, rows, reply)
        self.log.append((rows.x, float(reply.need_loss()[0]), after.best, float(after.best_loss[0])))
        return after


def test_a_loss_that_falls_does_not_replace_the_best_point() -> None:
    attack = Bumpy(steps=30)
    assert not bench().play(attack).broken.any()
    losses = [loss for _, loss, _, _ in attack.log]
    assert losses != sorted(losses)
    for age, (_, _, best, best_loss) in enumerate(attack.log):
        first = int(np.argmax(losses[: age + 1]))
        assert best_loss == losses[first]
        assert torch.equal(best, attack.log[first][0])


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_on_two_classes_it_ends_at_the_worst_point(norm: Norm, loss: str) -> None:
    made = bench(n=10, norm=norm)
    target = made.target
    assert isinstance(target, LinearTarget)
    slope = (target.weight[0] - target.weight[1]).astype(float)
    before = np.abs(made.samples.inputs.astype(float) @ slope + float(target.bias[0] - target.bias[1]))
    worst = before - 0.01 * np.linalg.norm(slope, ord=1 if norm is Norm.LINF else 2)
    trial = made.play(APGD(loss=loss))
    standing = ~trial.broken
    assert standing.sum() > 5
    np.testing.assert_allclose(trial.ledger.margin[standing], worst[standing], atol=1e-4)


def test_it_is_at_least_as_strong_as_pgd_at_equal_cost() -> None:
    made = bench(n=60, classes=8, epsilon=0.06)
    apgd, pgd = made.play(APGD(steps=20, loss="margin")), made.play(PGD(steps=20, loss="margin"))
    assert apgd.broken.sum() >= pgd.broken.sum() > 10
    assert apgd.ledger.spent[~apgd.broken][0, :2].tolist() == [21, 20]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_start_is_on_the_edge_in_a_random_direction(weighted: bool) -> None:
    weights = np.linspace(0.5, 2, 12) if weighted else None
    for norm in (Norm.LINF, Norm.L2):
        attack = Watched(steps=1)
        starts: list[torch.Tensor] = []
        made = bench(n=20, norm=norm, weights=weights)

        class Starting(Watched):
            def start(self, problem: Problem) -> APGDRows:
                rows = super().start(problem)
                change = (rows.x - problem.inputs) / (1 if problem.weights is None else problem.weights)
                starts.append(change)  # noqa: B023 - read in this turn of the loop
                return rows

        made.play(Starting(steps=attack.steps))
        sizes = starts[0].abs().amax(dim=1) if norm is Norm.LINF else starts[0].norm(dim=1)
        np.testing.assert_allclose(sizes, 0.01, rtol=1e-3)
        assert len(starts[0].unique(dim=0)) == 20


def test_l1_comes_down_in_three_phases() -> None:
    """30, 30 and 40 % of the steps at 3, 2 and 1 epsilon; the last point is always within epsilon."""
    at = sparse_ascent.phase(100, torch.tensor([0, 29, 30, 59, 60, 99, 100]))
    assert at.began.tolist() == [0, 0, 30, 30, 60, 60, 60]
    assert at.radius.tolist() == [3, 3, 2, 2, 1, 1, 1]
    assert at.every.tolist() == [1] * 7
    assert sparse_ascent.phase(1000, torch.tensor([0, 300, 600])).every.tolist() == [12, 12, 16]
    for steps in range(1, 40):
        assert sparse_ascent.phase(steps, torch.tensor([steps])).radius.tolist() == [1]


def test_l1_carries_the_best_point_into_the_next_ball() -> None:
    made = bench(n=6, classes=4, norm=Norm.L1, epsilon=0.02, bounds=(0.0, 1.0))
    problem = made.problem()
    rows, replies = walk(made, APGD(loss="margin"), problem)
    sizes = torch.stack([problem.size(row.x) for row in rows])
    for age, radius in enumerate([3] * 30 + [2] * 30 + [1] * 41):
        assert (sizes[age] <= radius * 0.02 * (1 + 1e-6)).all(), age
    assert (sizes[29] > 0.03).all()
    for age, radius in ((30, 2.0), (60, 1.0)):
        losses = torch.stack([reply.need_loss() for reply in replies[age - 30 : age]])
        first = losses.argmax(dim=0)
        best = torch.stack([row.x for row in rows[age - 30 : age]])[first, torch.arange(6)]
        expected = replace(problem, epsilon=radius * problem.epsilon, projected=[]).project(best)
        assert torch.equal(rows[age].x, expected)


def test_l1_asks_about_what_lies_outside_as_probes() -> None:
    made = bench(n=6, norm=Norm.L1, epsilon=0.02)
    problem = made.problem()
    attack = APGD()
    rows = attack.start(problem)
    probes = attack.query(problem, rows).probes
    assert probes is not None
    assert probes.all()
    probes = attack.query(problem, replace(rows, x=problem.inputs)).probes
    assert probes is not None
    assert not probes.any()


def test_l1_steps_along_the_largest_gradients_that_the_bounds_leave_free() -> None:
    problem = bench(n=1, norm=Norm.L1, epsilon=0.1, bounds=(0.0, 1.0)).problem()
    gradient = torch.tensor([[5.0, -4, 3, -2, 1, 0, 0, 0, 0, 0, 0, 0]])
    upper = problem.upper.clone()
    upper[0, 0] = problem.inputs[0, 0]
    problem = replace(problem, upper=upper)
    for features, expected in ((2.9, [0, -0.5, 0.5]), (0.3, [0, -1, 0]), (3, [0, -1 / 3, 1 / 3, -1 / 3])):
        found = sparse_ascent.sparse_direction(problem, problem.inputs, gradient, torch.tensor([features]))
        np.testing.assert_allclose(found[0, : len(expected)], expected, rtol=1e-6)
        assert not found[0, len(expected) :].any()


def test_l1_follows_the_support_of_its_best_point() -> None:
    """Checkpoints after every step: 1.5 times fewer features than the best point has changed; the step shrinks by 1.5,
    to no less than a tenth, or begins anew at the best point, where that has become sparser by a twentieth."""
    problem = bench(n=4, norm=Norm.L1, epsilon=0.1).problem()
    change = torch.zeros(4, 12)
    for row, count in enumerate((6, 6, 12, 10)):
        change[row, :count] = 0.005
    x = problem.inputs + change
    gradient = torch.linspace(1, 2, 12).expand(4, 12)
    best_loss = torch.tensor([0.0, 9, 0, 0])  # the second row has been higher elsewhere
    other = torch.where(torch.arange(12) == 3, problem.inputs + 0.05, problem.inputs)
    rows = SparseRows(
        x=x,
        best=other,
        best_loss=best_loss,
        best_gradient=-gradient,
        length=torch.tensor([1, 1, 0.12, 0.12]),
        features=torch.full((4,), 12.0),
        support=torch.tensor([12.0, 12, 12, 10.5]),
    )
    reply = Reply(points=x, owner=problem.slots, labels=problem.labels, loss=torch.ones(4), gradient=gradient)
    after = sparse_ascent.step(problem.at(torch.full_like(problem.ages, 70), 2), rows, reply, 100)
    assert after.support.tolist() == [6, 1, 12, 10]
    np.testing.assert_allclose(after.features, [4, 2 / 3, 8, 20 / 3], rtol=1e-6)
    np.testing.assert_allclose(after.length, [1, 1, 0.1, 0.1], rtol=1e-6)
    assert torch.equal(after.best[1], other[1])
    assert after.x[1, 11] < problem.inputs[1, 11], "from its best point, by the gradient there"
    assert after.x[0, 11] > x[0, 11]
    fresh = sparse_ascent.step(problem.at(torch.full_like(problem.ages, 60), 2), rows, reply, 100)
    assert fresh.length.tolist() == [1, 1, 1, 1]
    assert fresh.best_loss.tolist() == [1, 1, 1, 1], "a phase begins with nothing to remember"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kth_largest_is_exact(dtype: torch.dtype) -> None:
    values = torch.from_numpy(np.random.default_rng(0).exponential(size=(50, 40))).to(dtype)
    values[:20] = values[:20].round()
    k = torch.arange(50) % 40 + 1
    assert torch.equal(
        kth_largest(values, k), values.sort(dim=1, descending=True).values.gather(1, k[:, None] - 1)[:, 0]
    )


WEIGHTS = np.linspace(0.5, 2, 12).astype(np.float32)
FROZEN = np.arange(12) % 4 == 0


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
@pytest.mark.parametrize(
    ("classes", "options"),
    [
        (2, {"bounds": (0.0, 1.0)}),
        (3, {}),
        (6, {"bounds": (-1.0, 0.9), "weights": WEIGHTS}),
        (3, {"bounds": (0.0, 1.0), "frozen": FROZEN, "weights": WEIGHTS}),
        (2, {"bounds": (0.0, 1.0), "goal": Goal(1)}),
    ],
)
def test_it_reaches_the_closed_form(norm: Norm, classes: int, options: dict[str, Any]) -> None:
    made = linear_bench(n=2, classes=classes, seed=6, threat=ThreatModel(norm=norm, **options))
    check_reaches(made, APGD(loss="margin"), restarts=1 if classes == 2 else 5)


def test_where_epsilon_covers_the_box_l1_reaches_its_corner() -> None:
    made = bench(n=6, norm=Norm.L1, epsilon=12.0, bounds=(0.0, 1.0))
    target = made.target
    assert isinstance(target, LinearTarget)
    far = LinearTarget(target.weight, target.bias * 0 + np.array([100.0, 0]))
    made = replace(made, target=far, samples=replace(made.samples, labels=np.zeros(6, np.int64)))
    slope = (far.weight[0] - far.weight[1]).astype(float)
    corner = np.minimum(slope, 0).sum() + 100
    np.testing.assert_allclose(made.play(APGD(loss="margin")).ledger.margin, corner, atol=0.01 * abs(corner - 100))


def test_threats_of_every_kind() -> None:
    check_threats(APGD(steps=12))


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="loss is one of ce, margin, dlr, got 'cw'"):
        APGD(loss="cw")
    with pytest.raises(UsageError, match="momentum is above 0"):
        APGD(momentum=0)


def test_it_is_right() -> None:
    check_attack(APGD(loss="dlr"), seeds=1)

"""APGD-T: which class each restart heads for, the targeted losses, and the closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.apgd_t import APGDT, aims
from reaches import check_reaches
from walks import ask, check_threats

from auditor.attack import Rows
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.problem import Problem
from auditor.samples import Samples
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

WEIGHTS = np.linspace(0.5, 2, 12).astype(np.float32)
FROZEN = np.arange(12) % 4 == 0
INFINITE = float("inf")


def one(weight: np.ndarray, bias: list[float], epsilon: float = 0.55, norm: Norm = Norm.LINF, **options: Any) -> Bench:
    """A sample at the origin, of label 0."""
    features = weight.shape[1]
    samples = Samples(inputs=np.zeros((1, features), np.float32), labels=np.zeros(1, np.int64), ids=np.arange(1))
    threat = ThreatModel(epsilon=epsilon, norm=norm, **options)
    return Bench(target=LinearTarget(weight, np.array(bias)), samples=samples, threat=threat)


def ranking(bench: Bench, attack: APGDT, scores: torch.Tensor | None = None) -> list[list[int]]:
    """What the attack learns; from these scores instead of the model's, where they are given."""
    problem = bench.problem()
    query = attack.survey(problem)
    assert query is not None
    reply = ask(bench, attack, query, problem, Rows(x=problem.inputs))
    reply = reply if scores is None else replace(reply, scores=scores)
    return attack.learn(problem, reply).tolist()


def headings(notes: list[int], restarts: int, target: int = -1) -> list[int]:
    """The class that each restart heads for."""
    bench = linear_bench(classes=4, n=1)
    problem = bench.problem().take(torch.zeros(restarts, dtype=torch.int64))
    problem = replace(problem, restarts=torch.arange(restarts), notes=torch.tensor([notes]).expand(restarts, -1))
    return aims(replace(problem, targets=torch.full((restarts,), target))).tolist()


FAR = np.array([[0.0, 0.0], [0.0, 0.1], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
"""Class 1 has the second score but is far away in input space; class 2 has the third score and is near."""


def test_the_restart_is_the_rank_of_the_target() -> None:
    bench = one(FAR, [1.0, 0.9, 0.5, -9.0, -9.0])
    first, second = (bench.play(APGDT(), restarts=restarts) for restarts in (1, 2))
    assert not first.broken.any()
    assert second.broken.all()
    assert second.ledger.label.tolist() == [2]


def test_malt_heads_for_the_nearest_class_first() -> None:
    bench = one(FAR, [1.0, 0.9, 0.5, -9.0, -9.0])
    assert bench.play(APGDT(rank="malt")).ledger.label.tolist() == [2]
    assert ranking(bench, APGDT(rank="malt")) == [[2, 1, 3, 4]]


@pytest.mark.parametrize(
    ("norm", "order"),
    [(Norm.LINF, [1, 2]), (Norm.L2, [2, 1]), (Norm.L1, [2, 1])],
)
def test_malt_measures_in_the_dual_norm(norm: Norm, order: list[int]) -> None:
    """Gap 1 to both; slopes (1, 1, 1) and (0, 2, 0): 3 and 2 in l1, 1.73 and 2 in l2, 1 and 2 in linf."""
    weight = np.array([[0.0, 0, 0], [1, 1, 1], [0, 2, 0]])
    assert ranking(one(weight, [1.0, 0, 0], norm=norm), APGDT(rank="malt")) == [order]
    weights = np.array([1, 0.25, 1], np.float32)
    assert ranking(one(weight, [1.0, 0, 0], norm=norm, weights=weights), APGDT(rank="malt")) == [[1, 2]]
    frozen = np.array([True, False, True])
    assert ranking(one(weight, [1.0, 0, 0], norm=norm, frozen=frozen), APGDT(rank="malt")) == [[2, 1]]


def test_malt_ranks_the_candidates_alone_and_restarts_cycle_through_them() -> None:
    bench = one(FAR, [1.0, 0.9, 0.5, -9.0, -9.0])
    assert ranking(bench, APGDT(rank="malt", candidates=1)) == [[1, 1, 1, 1]]
    assert ranking(bench, APGDT(rank="malt", candidates=2)) == [[2, 1, 2, 1]]
    assert headings([2, 1, 3], 5) == [2, 1, 3, 2, 1]
    assert headings([2, 1, 3], 3, target=3) == [3, 3, 3]


@pytest.mark.parametrize("rank", ["scores", "malt"])
def test_ties_and_classes_that_are_ruled_out(rank: str) -> None:
    weight = np.zeros((5, 2))
    bench, attack = one(weight, [1.0, 0.5, 0.5, 0.7, 0.5]), APGDT(rank=rank)
    assert ranking(bench, attack) == [[3, 1, 2, 4]]
    out = torch.tensor([[1.0, -INFINITE, 0.5, -INFINITE, 0.7]])
    assert ranking(bench, attack, out) == [[4, 2, 4, 2]]
    assert ranking(bench, attack, torch.tensor([[1.0] + [-INFINITE] * 4])) == [[1, 1, 1, 1]]


def test_two_classes_leave_one_target() -> None:
    bench = linear_bench(n=3, seed=1)
    assert ranking(bench, APGDT()) == [[1 - int(label)] for label in bench.samples.labels]


def climbed(scores: list[list[float]], attack: APGDT, **columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The objective of rows that head for class 1 from label 0, and its gradient."""
    given = torch.tensor(scores, requires_grad=True)
    problem = linear_bench(classes=given.shape[1], n=len(scores)).problem()
    named = {name: torch.full_like(problem.labels, value) for name, value in columns.items()}
    notes = torch.ones(len(scores), given.shape[1] - 1, dtype=torch.int64)
    problem = replace(problem, labels=0 * problem.labels, notes=notes, **named)
    loss = attack.objective(given, problem, Rows(x=problem.inputs))
    (gradient,) = torch.autograd.grad(loss.sum(), given)
    return loss.detach(), gradient


def test_the_losses_are_the_published_ones() -> None:
    scores = [[4.0, 1, 3, 2, 0]]
    assert climbed(scores, APGDT(loss="margin"))[0].tolist() == [-3]
    assert climbed(scores, APGDT())[0].tolist() == pytest.approx([-3 / (4 - (2 + 1) / 2)])
    assert climbed([[4.0, 1, 3]], APGDT())[0].tolist() == [-3]
    assert climbed([[4.0, 1]], APGDT())[0].tolist() == [-3]
    leading = [[2.0, 1, 4, 3, 0]]
    assert climbed(leading, APGDT(loss="margin"), targets=3)[0].tolist() == [-1], "the goal has to beat every class"


def test_a_class_that_is_ruled_out_does_no_harm() -> None:
    scores = [[4.0, 1, 3, -INFINITE, -INFINITE], [4.0, 1, 3, 2, -INFINITE]]
    for attack in (APGDT(), APGDT(loss="margin")):
        loss, gradient = climbed(scores, attack)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
        assert (gradient[:, 1] > 0).all()


@pytest.mark.parametrize(("rank", "backwards"), [("scores", 0), ("malt", 5)])
def test_what_it_costs(rank: str, backwards: int) -> None:
    attack = APGDT(steps=11, rank=rank)
    trial = linear_bench(classes=6, seed=2, n=3).at(1e-4).play(attack, restarts=5)
    assert attack.survey_cost(6) == (1, backwards)
    assert trial.row.forwards == 3 * (5 * 12 + 1)
    assert trial.row.backwards == 3 * (5 * 11 + backwards)


@dataclass(frozen=True, kw_only=True)
class Starting(APGDT):
    """Keeps the points that rows begin at."""

    def start(self, problem: Problem) -> Rows:
        rows = super().start(problem)
        STARTS.append(rows.x)
        return rows


STARTS: list[torch.Tensor] = []


def test_restarts_begin_at_points_of_their_own() -> None:
    STARTS.clear()
    linear_bench(classes=3, n=2).at(1e-3).play(Starting(steps=1), restarts=4)
    starts = torch.cat(STARTS)
    assert len(starts.unique(dim=0)) == len(starts) == 8


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
@pytest.mark.parametrize(
    ("classes", "options"),
    [
        (2, {"bounds": (0.0, 1.0), "goal": Goal(1)}),
        (3, {"bounds": (0.0, 1.0), "frozen": FROZEN, "weights": WEIGHTS}),
        (6, {}),
    ],
)
def test_it_reaches_the_closed_form(norm: Norm, classes: int, options: dict[str, Any]) -> None:
    bench = linear_bench(n=2, classes=classes, seed=6, threat=ThreatModel(norm=norm, **options))
    check_reaches(bench, APGDT(), restarts=classes - 1)


def test_malt_reaches_the_closed_form_with_one_restart() -> None:
    bench = linear_bench(n=4, classes=6, seed=2, shape=(3, 2, 2), threat=ThreatModel(norm=Norm.L2))
    check_reaches(bench, APGDT(rank="malt", loss="margin"))


def test_a_goal_needs_no_ranking() -> None:
    bench = linear_bench(n=4, classes=4, threat=ThreatModel(epsilon=0.4, goal=Goal(2)))
    assert APGDT().survey(bench.problem()) is None
    trial = bench.play(APGDT(), restarts=2)
    assert trial.row.status == "ran"
    assert trial.broken.any()
    assert set(trial.ledger.label[trial.broken]) == {2}


def test_threats_of_every_kind() -> None:
    check_threats(APGDT(steps=12))


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="apgd-t: loss is one of dlr, margin, got 'ce'"):
        APGDT(loss="ce")
    with pytest.raises(UsageError, match="rank is one of scores, malt"):
        APGDT(rank="random")
    with pytest.raises(UsageError, match="candidates is at least 1"):
        APGDT(candidates=0)


def test_it_is_right() -> None:
    check_attack(APGDT(), seeds=1)

"""SignHunter: chunks in the published order, and exactly the gradient's signs on linear models, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.signhunter import SignHunter, SignRows, chunk

from auditor.access import Access
from auditor.attack import Reply
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.problem import Problem
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

D = 12
PASS = 1 + 2 + 4 + 6 + 12
"""Flips of 12 features: chunks of 12, 6, 3, 2 and 1."""


@dataclass(frozen=True, kw_only=True)
class Watched(SignHunter):
    """Keeps the signs kept, those proposed, and the proposal, of every step."""

    log: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def step(self, problem: Problem, rows: SignRows, reply: Reply) -> SignRows:
        after = super().step(problem, rows, reply)
        self.log.append((after.best, after.signs, after.x))
        return after


def weight(made: Bench) -> np.ndarray:
    assert isinstance(made.target, LinearTarget)
    return made.target.weight[1] - made.target.weight[0]


def slopes(made: Bench) -> np.ndarray:
    """Away from each sample's label, `[n, d]`."""
    slope: np.ndarray = np.where(made.samples.labels == 0, 1, -1)[:, None] * weight(made)
    return slope


def test_chunks_halve_down_to_single_features_and_begin_anew() -> None:
    turns = torch.arange(14)
    first, last = chunk(torch.full((14,), 5), turns)
    chunks = [(0, 5), (0, 3), (3, 5), (0, 2), (2, 4), (4, 5), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == [*chunks, *chunks[:3]]


def test_rows_of_other_numbers_of_features_have_chunks_of_their_own() -> None:
    features, turns = torch.tensor([1, 2, 5, 0, 12, 1000]), torch.tensor([7, 4, 5, 3, PASS - 1, 0])
    first, last = chunk(features, turns)
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == [
        (0, 1),
        (0, 1),
        (4, 5),
        (0, 1),
        (11, 12),
        (0, 1000),
    ]
    alone = [chunk(features[i : i + 1], turns[i : i + 1]) for i in range(6)]
    assert [(int(a), int(b)) for a, b in alone] == list(zip(first.tolist(), last.tolist(), strict=True))


def test_the_first_point_has_every_feature_at_its_upper_end_and_further_restarts_have_not() -> None:
    made = linear_bench(n=4).at(0.1)
    problem = made.problem()
    rows = SignHunter().start(problem)
    assert torch.equal(rows.x, problem.upper)
    later = replace(problem, restarts=problem.restarts + 1)
    assert 0.2 < float((SignHunter().start(later).signs > 0).float().mean()) < 0.8


@pytest.mark.parametrize("norm", SignHunter.norms)
def test_a_pass_finds_the_signs_of_a_linear_models_gradient(norm: Norm) -> None:
    made = linear_bench(shape=(D,), n=20, threat=ThreatModel(norm=norm, epsilon=1e-4))
    attack = Watched(steps=PASS + 1)
    assert not made.play(attack).broken.any()
    np.testing.assert_array_equal(attack.log[-1][0].numpy(), np.sign(slopes(made)))
    early = [np.array_equal(best.numpy(), np.sign(slopes(made))) for best, _, _ in attack.log]
    assert early[: PASS - D].count(True) == 0, "before single features are flipped not all of 20 samples are there"


def test_linf_breaks_at_the_distance_and_l2_at_that_of_the_signs() -> None:
    """The corner of the signs moves the margin by ε ‖w‖₁, and the point of this direction in l2 by ε ‖w‖₁ / √d."""
    attack = SignHunter(steps=PASS)
    for norm in SignHunter.norms:
        made = linear_bench(shape=(D,), n=8, seed=4, distance=0.1, threat=ThreatModel(norm=norm))
        norms = np.linalg.norm(weight(made)), np.abs(weight(made)).sum() / D**0.5
        factor = 1.0 if norm is Norm.LINF else float(norms[0] / norms[1])
        assert made.at(0.1 * factor * 1.001).play(attack).broken.all()
        assert not made.at(0.1 * factor * 0.999).play(attack).broken.any()


def test_only_what_raises_the_loss_is_kept() -> None:
    problem = linear_bench(shape=(4,), n=2).at(0.1).problem()
    attack, rows = SignHunter(), SignHunter().start(problem)

    def replied(*loss: float) -> Reply:
        owner = torch.arange(2)
        return Reply(points=rows.x, owner=owner, labels=owner, loss=torch.tensor(loss))

    rows = attack.step(problem, rows, replied(1.0, 1.0))
    assert (rows.signs == -1).all(), "first all of them"
    rows = attack.step(replace(problem, ages=problem.ages + 1), rows, replied(2.0, 1.0))
    assert rows.best.tolist() == [[-1] * 4, [1] * 4], "one is better, the other as good"
    assert rows.signs.tolist() == [[1, 1, -1, -1], [-1, -1, 1, 1]]
    assert rows.best_loss.tolist() == [2, 1]


def test_frozen_features_cost_no_query_and_weights_scale() -> None:
    frozen, weights = np.arange(D) % 3 == 0, np.linspace(0.5, 2, D)
    made = linear_bench(shape=(D,), n=5, threat=ThreatModel(epsilon=0.01, frozen=frozen, weights=weights))
    attack = Watched(steps=1 + (1 + 2 + 4 + 8) + 1)
    assert made.play(attack).row.rejected == {}
    assert not made.play(attack).broken.any()
    best, _, x = attack.log[-1]
    free = ~frozen
    np.testing.assert_array_equal(best.numpy()[:, free], np.sign(slopes(made))[:, free])
    change = x.numpy() - made.samples.inputs
    np.testing.assert_allclose(np.abs(change), np.broadcast_to(0.01 * weights * free, change.shape), rtol=1e-3)
    flips = [set(np.flatnonzero((best != signs)[0].numpy()) % 3) for best, signs, _ in attack.log]
    assert all(flip & {1, 2} for flip in flips)


def test_what_the_bounds_cut_off_in_l2_is_spent_on_the_others() -> None:
    made = linear_bench(shape=(16,), n=3, threat=ThreatModel(norm=Norm.L2, epsilon=0.8, bounds=(0.0, 1.0)))
    made = replace(made, samples=replace(made.samples, inputs=np.full((3, 16), 0.05, np.float32)))
    problem = made.problem()
    signs = torch.ones(3, 16)
    signs[:, 8:] = -1
    rows = SignHunter().start(problem)
    owner = torch.arange(3)
    reply = Reply(points=rows.x, owner=owner, labels=owner, loss=torch.ones(3))
    after = SignHunter().step(problem, replace(rows, signs=-signs, best=-signs), reply)
    change = after.x - problem.inputs
    assert (after.signs == signs).all()
    torch.testing.assert_close(change.norm(dim=1), torch.full((3,), 0.8), rtol=1e-2, atol=0)
    assert (change[:, 8:] >= -0.0501).all()


@pytest.mark.parametrize("norm", SignHunter.norms)
def test_a_goal_among_three_classes(norm: Norm) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.5 if norm is Norm.LINF else 2.0, bounds=(-0.5, 1.25), goal=Goal(2))
    made = linear_bench(classes=3, shape=(4, 4), n=12, seed=1, threat=threat)
    made = replace(made, samples=made.samples.take(made.samples.labels != 2))
    trial = made.play(SignHunter(steps=300))
    assert trial.broken.all()
    assert set(trial.ledger.label) == {2}


def test_it_needs_scores_and_one_query_a_step() -> None:
    made: Any = replace(linear_bench(n=6, distance=0.05).at(0.04), access=Access.SCORE)
    trial = made.play(SignHunter(steps=9))
    assert trial.ledger.spent.tolist() == [[0, 0, 10]] * 6
    assert SignHunter(steps=9).cost(2) == (10, 0)


def test_it_is_right() -> None:
    """l2 has a sharper test above: its point is not the nearest one."""
    check_attack(SignHunter(steps=2 * PASS), seeds=2, above=1.6)

"""ODI: random combinations of the scores first, then the margin, in A3's steps, and A3's biased directions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.noise import Noise
from auditor.plugins.attacks.odi import JITTER, ODI, ranks
from phases import phases, restarted
from torch import Tensor
from walks import BIAS, WEIGHT, ask, check_threats, fixture, surveyed

from auditor.attack import Rows
from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.problem import Problem
from auditor.suite import Stage
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel


def bench(classes: int = 10, n: int = 20, width: int = 64, **options: Any) -> Bench:
    made = linear_bench(classes=classes, n=n, seed=1, threat=ThreatModel(**({"epsilon": 0.03} | options)))
    return replace(made, execution=Execution(device="cpu", threads=1, precision="float64", width=width))


def weight_of(made: Bench) -> Tensor:
    assert isinstance(made.target, LinearTarget)
    return torch.from_numpy(made.target.weight)


def test_the_first_steps_go_to_the_corner_where_a_random_combination_of_scores_is_largest() -> None:
    made = bench()
    rows, _ = phases(made, ODI(steps=3, directions=2), made.problem())
    towards = (rows[0].direction @ weight_of(made)).sign()  # type: ignore[attr-defined]
    np.testing.assert_allclose(rows[2].x - made.problem().inputs, 0.03 * towards, atol=1e-6)
    assert not torch.equal(rows[1].x, rows[2].x)  # a step is epsilon long: it takes two to cross the ball


def test_in_l2_the_first_steps_turn_towards_it() -> None:
    made = bench(norm=Norm.L2, epsilon=0.3)
    rows, _ = phases(made, ODI(steps=8, directions=7), made.problem())
    towards = rows[0].direction @ weight_of(made)  # type: ignore[attr-defined]
    change = rows[7].x - made.problem().inputs
    np.testing.assert_allclose(change.norm(dim=1), 0.3, rtol=1e-4)
    assert (torch.cosine_similarity(change, towards) > 0.99).all()


def test_directions_are_uniform_and_new_in_each_restart() -> None:
    problem = bench(n=500).problem()
    first, second = (ODI().start(restarted(problem, r)).direction for r in (0, 1))
    assert not torch.equal(first, second)
    for w in (first, second):
        assert w.shape == (500, 10)
        assert w.abs().max() <= 1
        assert abs(float(w.mean())) < 0.03
        assert abs(float(w.square().mean()) - 1 / 3) < 0.02


@pytest.mark.parametrize("directions", [0, 2])
def test_the_reply_that_ends_the_first_phase_is_the_first_of_the_margin(directions: int) -> None:
    rows, replies = phases(fixture(), ODI(steps=4, directions=directions), fixture().problem())
    weight = torch.tensor(WEIGHT, dtype=torch.float32)
    for age, reply in enumerate(replies):
        if age < directions:
            wanted = (rows[0].direction @ weight)[0]  # type: ignore[attr-defined]
        else:
            rival = int(reply.need_scores()[0, 1:].argmax()) + 1
            wanted = weight[rival] - weight[0]
        np.testing.assert_allclose(reply.need_gradient()[0], wanted, atol=1e-6)


@pytest.mark.parametrize("loss", ODI.losses)
def test_rows_of_all_ages_in_one_batch_have_each_their_own_objective_and_step(loss: str) -> None:
    attack = ODI(steps=20, directions=7, loss=loss)
    problem = bench().problem()
    rows = attack.start(problem)
    mixed = problem.at(torch.arange(20), 3)
    scores = rows.x @ weight_of(bench()).T
    climbed = attack.objective(scores, mixed, rows)
    np.testing.assert_allclose(climbed[:7], (rows.direction * scores).sum(dim=1)[:7])
    np.testing.assert_allclose(climbed[7:], problem.loss(loss, scores)[7:])
    reply = ask(bench(), attack, attack.query(mixed, rows), mixed, rows)
    together = attack.step(problem.at(torch.arange(20), 2), rows, reply).x
    for age in range(20):
        moved = attack.step(problem.at(torch.full((20,), age), 2), rows, reply).x
        assert torch.equal(moved[age], together[age])


def test_steps_shrink_as_in_a3() -> None:
    """min + (max - min) (1 + cos(pi s / (n + 1))) / 2 for s = 0 … n - 1."""
    share = ODI(steps=20, directions=7, last=0.001, rel_step=0.8).share(torch.arange(20)).tolist()
    assert share[:7] == pytest.approx([0.8] * 7)
    assert share[7] == pytest.approx(1.0)
    assert share[14] == pytest.approx((1 + 0.001) / 2)
    assert share[19] == pytest.approx(0.001 + 0.999 * (1 - np.cos(np.pi / 7)) / 2)
    assert share[7:] == sorted(share[7:], reverse=True)
    few = ODI(steps=10, directions=0, first=2.0, last=0.1).share(torch.arange(10)).tolist()
    assert few[0] == pytest.approx(2.0)
    assert sum(few[2:]) == pytest.approx(8 * 1.05)  # the cosine is odd about s = 5.5


def test_starts_are_further_apart_in_scores_than_random_points() -> None:
    made = bench(classes=5)
    attack = ODI(steps=3, directions=2)

    def spread(age: int) -> float:
        scores = []
        for restart in range(6):
            rows, _ = phases(made, attack, restarted(made.problem(), restart))
            scores.append(rows[age].x @ weight_of(made).T)
        return float(torch.stack(scores).std(dim=0).mean())

    assert spread(2) > 1.5 * spread(0)


# the bias


@pytest.mark.parametrize(("classes", "wanted"), [(2, 1), (3, 2), (10, 9), (100, 14), (1000, 20)])
def test_as_many_classes_take_turns_as_in_a3(classes: int, wanted: int) -> None:
    assert ranks(classes) == wanted


def biased(made: Bench, restarts: int) -> tuple[Tensor, Tensor, Problem]:
    """Directions with and without the bias of each restart, `[restarts, n, classes]`."""
    problem = surveyed(made, ODI(bias="a3"))
    both = []
    for attack in (ODI(), ODI(bias="a3")):
        both.append(torch.stack([attack.start(restarted(problem, r)).direction for r in range(restarts)]))
    return both[0], both[1], problem


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_each_restart_has_another_class_and_takes_turns_with_the_signs(classes: int) -> None:
    made = bench(classes=classes)
    others, scale = classes - 1, classes / 10
    plain, set_, problem = biased(made, 2 * others)
    scores = problem.inputs @ weight_of(made).T + torch.from_numpy(made.target.bias)  # type: ignore[attr-defined]
    seen: set[tuple[int, int]] = set()
    for restart in range(2 * others):
        for i, label in enumerate(problem.labels.tolist()):
            order = [c for c in scores[i].argsort(descending=True).tolist() if c != label]
            other, w = order[restart % others], set_[restart, i] / scale
            sign = 1 if float(w[other]) > 0 else -1
            assert float(w[other]) == pytest.approx(0.8 * sign)
            assert -0.5 - 1e-6 <= sign * float(w[label]) <= 0.1 + 1e-6
            rest = [c for c in range(classes) if c not in (label, other)]
            assert torch.equal(set_[restart, i, rest], plain[restart, i, rest])
        seen.add((restart % others, sign))
    assert len(seen) == 2 * others


def test_the_first_restart_goes_away_from_the_label_to_the_likeliest_other_class() -> None:
    _, set_, _ = biased(fixture(), 1)
    assert float(set_[0, 0, 1]) == pytest.approx(0.8 * 3 / 10)
    assert set_[0, 0, 0] < 0.1 * 3 / 10
    assert (WEIGHT @ [0.9, 0.2, 0.4, 0.8] + BIAS).argsort().tolist() == [2, 1, 0]


def test_with_a_target_the_other_class_is_the_target() -> None:
    _, set_, problem = biased(bench(goal=Goal(3)), 18)
    free = problem.labels != 3
    assert free.sum() > 10
    np.testing.assert_allclose(set_[:, free, 3].abs(), 0.8)


# the warm start


def test_warm_rows_begin_near_the_best_point_there_was_before_the_stage() -> None:
    attack = ODI(warm=True)
    made = bench()
    problem = made.problem()
    best = problem.project(problem.inputs + 0.03)
    problem = replace(problem, found=best)
    query = attack.survey(problem)
    assert query is not None
    reply = ask(made, attack, query, problem, Rows(x=problem.inputs))
    problem = replace(problem, notes=attack.learn(problem, reply), found=torch.zeros_like(best))
    away = (attack.start(problem).x - best).abs().amax(dim=1)
    assert (away > 0.5 * JITTER * 0.03).all()
    assert (away <= JITTER * 0.03 + 1e-6).all()
    assert not torch.equal(attack.start(restarted(problem, 1)).x, attack.start(problem).x)


def test_warm_rows_are_the_same_in_any_company() -> None:
    """Rows that begin later must not begin where the rows before them got to."""
    suite = [Stage(attack=Noise(), title="noise"), Stage(attack=ODI(warm=True), restarts=5, title="odi")]
    narrow, wide = (bench(epsilon=0.02, width=width).play_suite(suite)[0] for width in (1, 64))
    assert 0 < narrow.broken.sum() < 20
    np.testing.assert_array_equal(narrow.broken, wide.broken)
    np.testing.assert_allclose(narrow.margin[~narrow.broken], wide.margin[~wide.broken], rtol=0, atol=1e-9)


# the whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"directions": 20}, "odi: directions is at least 0 and less than steps, got 20."),
        ({"directions": -1}, "odi: directions is at least 0 and less than steps, got -1."),
        ({"last": 0.0}, "odi: last is a share of epsilon above 0 and at most 10, got 0.0."),
        ({"bias": "a4"}, "odi: bias is one of none, a3, got 'a4'."),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        ODI(**options)
    assert str(refusal.value) == words


def test_restarts_break_what_one_row_does_not() -> None:
    made = bench(classes=8, n=60, epsilon=0.02)
    radii = made.target.radii(made.samples, made.threat)  # type: ignore[attr-defined]
    for bias in ("none", "a3"):
        broken = [made.play(ODI(bias=bias), restarts=restarts).broken for restarts in (1, 14)]
        assert not (broken[0] & ~broken[1]).any()
        assert not (broken[1] & (radii > 0.02)).any()
        assert broken[1].sum() >= 0.95 * (radii < 0.0199).sum() > 10


@pytest.mark.parametrize("options", [{}, {"bias": "a3"}, {"warm": True, "directions": 1}], ids=str)
def test_it_keeps_to_every_threat_and_to_its_cost(options: dict[str, Any]) -> None:
    check_threats(ODI(**({"steps": 6, "directions": 2, "last": 0.1} | options)))


@pytest.mark.parametrize("options", [{}, {"bias": "a3"}, {"warm": True, "directions": 1}], ids=str)
def test_it_is_right(options: dict[str, Any]) -> None:
    check_attack(ODI(**options), seeds=1, restarts=2)

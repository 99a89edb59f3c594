"""iter-l.l.: one class, chosen on the clean input and kept, and the limits of its two relatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.bim import BIM
from auditor.plugins.attacks.iter_ll import IterLL
from auditor.plugins.attacks.step_ll import StepLL
from walks import check_threats, fixture, surveyed, walk

from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

NORMS = [Norm.LINF, Norm.L2]


@pytest.mark.parametrize("norm", NORMS)
def test_the_class_is_that_of_the_clean_input_to_the_end(norm: Norm) -> None:
    made = fixture(2.0, norm)
    rows, replies = walk(made, IterLL())
    scores = torch.cat([reply.need_scores() for reply in replies])
    loss = torch.cat([reply.need_loss() for reply in replies])
    assert scores[0].argmin() == 2
    assert scores[-1].argmin() != 2
    np.testing.assert_allclose(loss, scores.log_softmax(dim=1)[:, 2], atol=1e-5)
    assert loss[-1] > -0.1
    assert made.target.labels(rows[-1].x.numpy(), batch=1).tolist() == [2]


@pytest.mark.parametrize("norm", NORMS)
def test_one_full_step_is_step_ll(norm: Norm) -> None:
    made = linear_bench(classes=5, n=30, seed=1, threat=ThreatModel(norm=norm, epsilon=0.08))
    one, step = made.play(IterLL(steps=1, rel_step=1.0)).ledger, made.play(StepLL()).ledger
    assert one.best.tobytes() == step.best.tobytes()
    assert one.spent.tolist() == step.spent.tolist()


def test_with_two_classes_it_is_bim() -> None:
    made = linear_bench(n=30, seed=1, threat=ThreatModel(epsilon=0.05))
    one, bim = made.play(IterLL()).ledger, made.play(BIM()).ledger
    assert one.best.tobytes() == bim.best.tobytes()


@pytest.mark.parametrize("norm", NORMS)
def test_under_a_targeted_goal_it_is_bim(norm: Norm) -> None:
    made = linear_bench(classes=5, n=30, seed=3, threat=ThreatModel(norm=norm, epsilon=0.1, goal=Goal(2)))
    one, bim = made.play(IterLL()), made.play(BIM())
    assert one.ledger.best.tobytes() == bim.ledger.best.tobytes()
    assert one.broken.any()


def test_it_stays_in_the_ball_when_its_steps_could_leave_it() -> None:
    made = linear_bench(classes=4, n=20, seed=3).at(0.05)
    problem = surveyed(made, IterLL())
    rows, _ = walk(made, IterLL(steps=20, rel_step=0.3), problem)
    size = torch.stack([problem.size(row.x) for row in rows])
    assert (size <= 0.05).all()
    np.testing.assert_allclose(size[-1], 0.05, rtol=1e-5)


def test_the_survey_is_paid_once_for_all_restarts() -> None:
    made = linear_bench(classes=4, n=5, seed=3).at(1e-3)
    assert made.play(IterLL(steps=4), restarts=3).ledger.spent[:, :2].tolist() == [[3 * 5 + 1, 3 * 4]] * 5


def test_options_are_those_of_bim() -> None:
    with pytest.raises(UsageError, match="iter-ll: rel_step is a share of epsilon"):
        IterLL(rel_step=0)
    assert IterLL().parameters() == BIM().parameters()
    assert replace(IterLL(), steps=3).steps == 3


def test_it_is_right() -> None:
    check_attack(IterLL(steps=20), seeds=1)
    check_threats(IterLL(steps=4))

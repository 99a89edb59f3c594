"""BIM: FGSM in one step and, on a linear model, in many; and the published number of steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.bim import BIM
from auditor.plugins.attacks.fgsm import FGSM
from torch.nn.functional import cross_entropy
from walks import check_threats, walk

from auditor.bench import Bench, linear_bench
from auditor.errors import UsageError
from auditor.execution import Execution
from auditor.testing import check_attack
from auditor.threat import Norm, ThreatModel

NORMS = [Norm.LINF, Norm.L2]


def bench(norm: Norm = Norm.LINF, classes: int = 3, epsilon: float = 0.08) -> Bench:
    made = linear_bench(classes=classes, n=30, seed=1, threat=ThreatModel(norm=norm, epsilon=epsilon))
    return replace(made, execution=Execution(device="cpu", threads=1, precision="float64"))


@pytest.mark.parametrize("norm", NORMS)
def test_one_full_step_is_fgsm(norm: Norm) -> None:
    one, fgsm = (bench(norm).play(attack).ledger for attack in (BIM(steps=1, rel_step=1.0), FGSM()))
    assert one.best.tobytes() == fgsm.best.tobytes()
    assert one.spent.tolist() == fgsm.spent.tolist()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("steps", "share"), [(4, 0.5), (8, 1.0), (10, 1.0), (25, 1.0)])
def test_on_a_linear_model_it_ends_where_fgsm_does_once_it_can_get_there(norm: Norm, steps: int, share: float) -> None:
    made = bench(norm, classes=2)
    problem = made.problem()
    many, one = (walk(made, attack)[0][-1].x - problem.inputs for attack in (BIM(steps=steps), FGSM()))
    np.testing.assert_allclose(many, share * one, atol=2e-6)


def test_the_published_number_of_steps() -> None:
    assert [BIM.published_steps(levels) for levels in (2, 4, 8, 16, 32)] == [3, 5, 10, 20, 36]
    default = BIM()
    assert default.steps == BIM.published_steps(8)
    assert default.rel_step == (1 / 255) / (8 / 255)


@pytest.mark.parametrize("norm", NORMS)
def test_it_starts_at_the_clean_input_and_draws_nothing(norm: Norm) -> None:
    rows, _ = walk(bench(norm), BIM())
    assert (rows[0].x == bench(norm).problem().inputs).all()
    once, often = (bench(norm).play(BIM(), restarts=restarts).ledger for restarts in (1, 3))
    assert once.best.tobytes() == often.best.tobytes()


def test_small_steps_turn_where_one_step_does_not() -> None:
    """Under l2 the steepest way bends as the likelihoods change, and a convex loss is climbed to its end."""
    made = bench(Norm.L2, classes=5, epsilon=0.15)
    losses = []
    for attack in (FGSM(), BIM(steps=20)):
        x = walk(made, attack)[0][-1].x
        scores = torch.from_numpy(made.target.scores(x.numpy(), batch=64))
        losses.append(cross_entropy(scores, made.problem().labels, reduction="none"))
    assert (losses[1] > losses[0] - 1e-3).all()
    assert (losses[1] > losses[0] + 1e-3).any()


@pytest.mark.parametrize("share", [0.0, -1.0, 11.0, float("nan")])
def test_a_step_that_is_no_share_of_epsilon(share: float) -> None:
    with pytest.raises(UsageError, match="bim: rel_step is a share of epsilon"):
        BIM(rel_step=share)


def test_it_is_right() -> None:
    check_attack(BIM(steps=20), seeds=1)
    check_threats(BIM(steps=4))

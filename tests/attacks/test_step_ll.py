"""step-l.l. and step-rnd.: which class is chosen, FGSM where there is no choice, and the worked example."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.step_ll import AimedRows, StepLL, least_likely
from walks import check_threats, fixture, surveyed, walk

from auditor.bench import linear_bench
from auditor.errors import UsageError
from auditor.testing import check_attack
from auditor.threat import Goal, Norm, ThreatModel

NORMS = [Norm.LINF, Norm.L2]


def test_the_worked_example() -> None:
    made = fixture()
    problem = surveyed(made, StepLL())
    assert problem.notes is not None
    assert problem.notes.tolist() == [2]
    rows, replies = walk(made, StepLL())
    np.testing.assert_allclose(rows[1].x[0], [0.8, 0.3, 0.5, 0.7], atol=1e-6)
    scores = np.array([1.4, -0.2, -0.3])
    assert float(replies[0].need_loss()[0]) == pytest.approx(-0.3 - np.log(np.exp(scores).sum()), abs=1e-6)
    trial = made.play(StepLL())
    np.testing.assert_allclose(trial.ledger.best[0], [0.8, 0.3, 0.5, 0.7], atol=1e-6)
    assert trial.ledger.spent[0].tolist() == [3, 1, 1]


def test_the_worked_example_after_a_random_step() -> None:
    """Scores are linear and the signs do not turn, so that half the step is random and half is the example's."""
    problem = surveyed(fixture(), StepLL(alpha=0.5))
    rows, _ = walk(fixture(), StepLL(alpha=0.5), problem)
    noise = rows[0].x - problem.inputs
    np.testing.assert_allclose(noise.abs(), 0.05, atol=1e-6)
    change = rows[1].x - problem.inputs - noise
    np.testing.assert_allclose(change[0], [-0.05, 0.05, 0.05, -0.05], atol=1e-6)


@pytest.mark.parametrize("aim", ["least", "random"])
def test_with_two_classes_it_is_fgsm(aim: str) -> None:
    made = linear_bench(n=30, seed=2, threat=ThreatModel(epsilon=0.1))
    one, fgsm = made.play(StepLL(aim=aim)).ledger, made.play(FGSM()).ledger
    assert one.best.tobytes() == fgsm.best.tobytes()
    made = linear_bench(n=30, seed=2, threat=ThreatModel(norm=Norm.L2, epsilon=0.1))
    one, fgsm = made.play(StepLL(aim=aim)).ledger, made.play(FGSM()).ledger
    np.testing.assert_allclose(one.best, fgsm.best, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("aim", ["least", "random"])
def test_a_targeted_goal_leaves_no_choice(norm: Norm, aim: str) -> None:
    made = linear_bench(classes=5, n=30, seed=3, threat=ThreatModel(norm=norm, epsilon=0.1, goal=Goal(2)))
    one, fgsm = made.play(StepLL(aim=aim)).ledger, made.play(FGSM()).ledger
    assert one.best.tobytes() == fgsm.best.tobytes()
    assert made.play(StepLL(aim=aim)).broken.any()


def test_the_least_likely_class_is_neither_the_label_nor_the_prediction() -> None:
    made = linear_bench(classes=4, n=200, seed=5)
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(4, size=200)
    problem = replace(made.problem(), labels=torch.from_numpy(labels))
    found = least_likely(problem, torch.from_numpy(scores)).numpy()
    for row, label, aim in zip(scores, labels, found, strict=True):
        assert aim == min((k for k in range(4) if k != label), key=lambda k: row[k])
    assert (found != scores.argmax(axis=1)).all()
    assert (labels == scores.argmin(axis=1)).any()  # where the label is the least likely, the next is taken


def test_random_classes_are_uniform_without_the_label_and_new_at_each_restart() -> None:
    problem = linear_bench(classes=4, n=1000, seed=5).at(0.1).problem()
    attack = StepLL(aim="random")
    assert attack.survey(problem) is None
    aims = torch.stack(
        [
            attack.start(replace(problem, draws=replace(problem.draws, restarts=problem.restarts + r))).aim
            for r in range(3)
        ]
    )
    assert (aims != problem.labels).all()
    for label in problem.labels.unique():
        own = aims[:, problem.labels == label].flatten()
        share = torch.bincount(own, minlength=4) / len(own)
        assert (share[torch.arange(4) != label] - 1 / 3).abs().max() < 5 * (2 / 9 / len(own)) ** 0.5
    assert ((aims[0] != aims[1]).double().mean() - 2 / 3).abs() < 0.08


def test_a_row_climbs_the_likelihood_of_its_own_class() -> None:
    made = linear_bench(classes=5, n=40, seed=3).at(0.01)
    for attack in (StepLL(), StepLL(aim="random")):
        rows, replies = walk(made, attack)
        assert isinstance(rows[0], AimedRows)
        aim = rows[0].aim[:, None]
        logits = made.target.scores(rows[1].x.numpy(), batch=64)
        before = replies[0].need_scores().log_softmax(dim=1).gather(1, aim)
        after = torch.from_numpy(logits).log_softmax(dim=1).gather(1, aim)
        assert (after > before).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aim": "most"}, "aim is one of least, random, got 'most'"),
        ({"alpha": -0.1}, "alpha is a share"),
        ({"steps": 3}, "steps is 1"),
    ],
)
def test_what_it_does_not_take(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=f"step-ll: {words}"):
        StepLL(**options)  # type: ignore[arg-type]


def test_it_is_right() -> None:
    check_attack(StepLL(), seeds=1)
    check_threats(StepLL())
    check_threats(StepLL(aim="random", alpha=0.5))

"""Experiments: counted, repeatable, and what they break inside the threat model is handed in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.attacks.square import Square

from auditor.access import Access
from auditor.bench import linear_bench
from auditor.errors import ModelError
from auditor.lab import seeded
from auditor.testing import evidence
from auditor.threat import ThreatModel


def test_an_attack_plays_at_the_threat_s_epsilon_or_another_one() -> None:
    lab = evidence(linear_bench(n=20, distance=0.1).at(0.12)).lab
    index = np.arange(5, 15)
    assert lab.play(FGSM(), index).broken.all()
    assert not lab.play(FGSM(), index, epsilon=0.09).broken.any()
    assert lab.play(FGSM(), index, epsilon=0.11).broken.all()
    assert lab.spent.tolist()[:2] == [2 * 30, 30]
    assert [stage.attack.name for stage, _ in lab.handed] == ["fgsm"]  # the other two were under another threat


def test_the_same_experiment_is_made_once() -> None:
    lab = evidence(linear_bench(n=8, distance=0.1).at(0.12)).lab
    first = lab.play(FGSM(), np.arange(8))
    spent = lab.spent.copy()
    assert lab.play(FGSM(), np.arange(8)) is first
    assert np.array_equal(lab.spent, spent)
    assert lab.play(FGSM(), np.arange(7)) is not first


def test_random_numbers_depend_on_the_experiment_and_the_seed() -> None:
    def points(seed: int, steps: int) -> np.ndarray:
        bench = replace(linear_bench(n=8, distance=0.1).at(0.05), seed=seed)
        return evidence(bench).lab.play(Square(steps=steps), np.arange(8)).best

    assert np.array_equal(points(0, 4), points(0, 4))
    assert not np.array_equal(points(0, 4), points(1, 4))


def test_what_can_not_be_played_says_so() -> None:
    blind = evidence(replace(linear_bench(n=4), access=Access.SCORE)).lab
    played = blind.play(FGSM(), np.arange(4))
    assert not played.broken.any()
    assert played.why_not is not None
    assert "access" in played.why_not
    with pytest.raises(ModelError, match="no twin"):
        blind.slopes(np.zeros((1, 12), np.float32), np.arange(1))


def test_slopes_of_a_linear_model() -> None:
    bench = linear_bench(classes=3, n=6)
    lab = evidence(bench).lab
    x, index = bench.samples.inputs, np.arange(6)
    slopes = lab.slopes(x, index)
    margins = lab.margins(x, index)
    assert np.allclose(slopes.loss, -margins, atol=1e-5)
    weight = bench.target.weight.astype(float)  # type: ignore[attr-defined]
    scores = bench.target.scores(x)
    for i, label in enumerate(bench.samples.labels):
        scores[i, label] = -np.inf
        assert np.allclose(slopes.gradient[i], weight[scores[i].argmax()] - weight[label], atol=1e-5)
    assert lab.spent.tolist() == [6, 6, 6]


def test_margins_follow_the_goal_and_the_kind_of_output() -> None:
    from auditor.access import OutputKind
    from auditor.threat import Goal

    bench = linear_bench(classes=3, n=4, threat=ThreatModel(goal=Goal(target=2)))
    lab = evidence(bench).lab
    scores = bench.target.scores(bench.samples.inputs).astype(float)
    assert np.allclose(lab.margins(bench.samples.inputs, np.arange(4)), scores[:, :2].max(1) - scores[:, 2], atol=1e-6)
    bench.target.output = OutputKind.PROBABILITIES
    bench.target._run = lambda x: np.tile(np.array([[0.5, 0.5, 0.0]], np.float32), (len(x), 1))  # type: ignore[method-assign]
    certain = lab.margins(bench.samples.inputs, np.arange(4))
    assert np.isfinite(certain).all()
    assert (certain > 80).all()


def test_samples_are_drawn_uniformly_by_the_seed() -> None:
    rows = np.arange(100, 200)
    few = seeded(rows, 10, 0)
    assert len(np.unique(few)) == 10
    assert set(few) <= set(rows)
    assert np.array_equal(few, np.sort(few))
    assert np.array_equal(few, seeded(rows, 10, 0))
    assert not np.array_equal(few, seeded(rows, 10, 1))
    assert np.array_equal(seeded(rows, 100, 0), rows)
    counts = np.bincount(np.concatenate([seeded(rows, 10, seed) for seed in range(400)]), minlength=200)[100:]
    assert counts.min() > 15
    assert counts.max() < 75
